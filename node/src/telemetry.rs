//! Logs and metrics: how the node tells what it does.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use skyclaw_http_compat::MetricWriter;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Config, LogFormat};
use crate::engine::{Shared, Status};
use crate::{time, traces};

/// What libp2p says of its own means nothing to users below these levels.
const QUIET: &str = "libp2p_kad=error,libp2p_swarm=warn,libp2p_mdns=warn,libp2p_gossipsub=error";

/// Sends logs to stderr, as the settings say; stdout is for what users and scripts read. And traces to
/// where they say, in builds that can. Returns what is to be warned of: a filter that does not
/// parse (`info` holds then), or what makes no sense about traces.
pub fn init(config: &Config) -> Vec<String> {
    let log = &config.log;
    let mut warnings = Vec::new();
    let filter = filter(&quiet(&log.filter)).unwrap_or_else(|reason| {
        warnings.push(format!("SKYCLAW_LOG is no filter ({reason}); `info` is used"));
        EnvFilter::new(quiet("info"))
    });
    let layer = traces::layer(config, &mut warnings);
    // Set before or by a test: the first subscriber stays.
    let _ = match layer {
        Some(layer) => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            let both = tracing_subscriber::registry().with(layer);
            // The filter is about logs alone: what is traced does not hang on it.
            match log.format {
                LogFormat::Json => both.with(lines.json().with_filter(filter)).try_init(),
                LogFormat::Text => {
                    both.with(lines.with_target(false).with_filter(filter)).try_init()
                }
            }
        }
        None => {
            let lines = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            // As `try_init` of its own, whose error is of another kind.
            match log.format {
                LogFormat::Json => lines.json().finish().try_init(),
                LogFormat::Text => lines.with_target(false).finish().try_init(),
            }
        }
    };
    warnings
}

/// A level for all is meant for our own words; whoever names modules knows what he wants.
fn quiet(text: &str) -> String {
    let level = text.trim().to_ascii_lowercase();
    if ["warn", "info", "debug"].contains(&level.as_str()) {
        format!("{QUIET},{level}")
    } else {
        text.to_owned()
    }
}

/// Reads a filter more strictly than `tracing` does. To that any text is the name of a module, and
/// a filter of nothing but a module that does not exist turns everything off in silence.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let mut parts = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let name = part.split(['=', '[']).next().unwrap_or_default();
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '-');
        if !name.chars().all(is_name) {
            return Err(format!("`{part}` does not begin with a level or a module"));
        }
        let is_level = !name.is_empty() && name.parse::<LevelFilter>().is_ok();
        if name == part && !is_level && !name.starts_with("skyclaw") {
            return Err(format!("`{part}` is no level; for a module write `{part}=debug`"));
        }
        if name != part && is_level {
            return Err(format!("`{part}`: `{name}` is a level and no module"));
        }
        part.parse::<Directive>().map_err(|error| format!("`{part}`: {error}"))?;
        parts.push(part);
    }
    if parts.is_empty() {
        return Err("it is blank".to_owned());
    }
    EnvFilter::try_new(parts.join(",")).map_err(|error| error.to_string())
}

/// All metrics of the node.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Metrics {
    /// Metrics that other parts add theirs to with `register`.
    pub fn new<T>(register: impl FnOnce(&mut Registry) -> T) -> (Arc<Self>, T) {
        let mut registry = Registry::with_prefix("skyclaw");
        let registered = register(&mut registry);
        (Arc::new(Self { registry: Mutex::new(registry) }), registered)
    }

    /// Adds the engine's numbers, read when the metrics are.
    pub fn watch(&self, shared: Arc<Shared>) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(EngineNumbers(shared)));
    }

    /// Adds numbers of another part, read when the metrics are.
    pub fn add(&self, numbers: Box<dyn Collector>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(numbers);
    }

    /// All of them as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string fails only if a metric's own encoder does.
        if text::encode(&mut out, &registry).is_err() {
            out.clear();
        }
        out
    }
}

#[derive(Debug)]
struct EngineNumbers(Arc<Shared>);

impl Collector for EngineNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let mut gauge =
            |name: &str, help: &str, value: usize| metrics.gauge(name, help, value as u64);
        let gauges = self.0.gauges();
        gauge("jobs_queued", "Jobs that wait for a host", gauges.queued)?;
        let waited = gauges.oldest.map_or(0, |oldest| time::wall().0.saturating_sub(oldest.ms));
        let waited = usize::try_from(waited / 1000).unwrap_or(usize::MAX);
        gauge("jobs_queued_seconds", "Age of the job that waits for a host longest", waited)?;
        gauge("jobs_leased", "Jobs leased to hosts", gauges.leased)?;
        gauge("hosts", "Hosts registered", gauges.hosts)?;
        let help = "Of these, those of which nothing was heard for 20 s";
        gauge("hosts_silent", help, self.0.silent_hosts())?;
        gauge("services", "Services deployed", gauges.services)?;
        let help = "Instances that services led by this node lack";
        gauge("service_instances_missing", help, gauges.missing)?;
        gauge("claims_parked", "Claims waiting for a job", gauges.parked)?;
        gauge("keys_in_flight", "Keyed requests being carried out", gauges.keys_in_flight)?;
        gauge("offences", "Nodes proven to have lied, which are cut off", gauges.offences)?;
        let ready = usize::from(self.0.status() == Status::Ready);
        gauge("store_usable", "1 while the store can be used", ready)?;
        let off = usize::from(self.0.clock_off().is_some());
        gauge("clock_off", "1 while this machine's clock is in doubt", off)?;
        metrics.counter("commands", "Commands taken by the engine", self.0.commands())?;
        metrics.counter(
            "inbox_full",
            "Inputs refused because the engine's inbox was full",
            self.0.busy(),
        )?;
        let help = "Results that hosts which agreed spoke against";
        metrics.counter("verify_dissents", help, gauges.dissents)?;
        let bad = self.0.bad_receipts();
        metrics.counter(
            "receipts_refused",
            "Reports refused for a receipt that is not theirs",
            bad,
        )?;
        let help = "Parts of frames and of gossip that broke the rules, by the rule";
        let faults = self.0.faults();
        let faults = faults.map(|(fault, count)| ([("reason", fault.label())], count));
        metrics.counters("frame_faults", help, faults)?;
        if let Some(reader) = self.0.reader() {
            if let Ok(free) = reader.free_space() {
                metrics.gauge("store_free_bytes", "Bytes free where the database stands", free)?;
            }
            let low = u64::from(reader.space_check().is_err());
            let help = "1 while so little disk is free that nothing new is taken";
            metrics.gauge("store_space_low", help, low)?;
            let stats = reader.stats();
            metrics.counter("store_commits", "Commits, one fsync each", stats.commits())?;
            metrics.counter("store_commit_failures", "Commits that failed", stats.failures())?;
            metrics.counter("store_records", "Records written", stats.records())?;
            metrics.counter("store_bytes", "Bytes of records written", stats.bytes())?;
            let micros = u64::try_from(stats.time().as_micros()).unwrap_or(u64::MAX);
            metrics.counter("store_commit_micros", "Microseconds spent in commits", micros)?;
            metrics.counter(
                "store_records_refused",
                "Stored records that did not check out when read",
                reader.refused_records(),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_mean_something_are_taken() {
        for (text, meant) in [
            ("info", "info"),
            ("OFF", "off"),
            ("5", "trace"),
            (" warn , skyclaw_node=debug,", "skyclaw_node=debug,warn"),
            ("skyclaw_node::host", "skyclaw_node::host=trace"),
            ("hyper=warn,info", "hyper=warn,info"),
            ("info,[job{job=x}]=debug", "info,[job{job=x}]=debug"),
        ] {
            let filter = filter(text).map(|filter| filter.to_string());
            assert_eq!(filter.as_deref(), Ok(meant), "{text:?}");
        }
    }

    #[test]
    fn what_would_turn_logging_off_unasked_is_no_filter() {
        for text in
            ["tra ce", "inof", "debug;info", "info,tra ce", "tra ce=info", "hyper", "", " , "]
        {
            assert!(filter(text).is_err(), "{text:?}");
        }
        for text in ["skyclaw_node=loud", "=info", "[job", "info=", "[job]x"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }
}
