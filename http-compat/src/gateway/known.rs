//! What a gateway knows at this moment, told as metrics: how old its table is, how many instances of each service are
//! in it, and which of them it passes over, for how long and why.
//!
//! Always: it is read when the metrics are; there is nothing of a gateway that does not run. Services and
//! instances with series of their own are bounded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::live::{Gateway, Upstream};

/// Services that are told of, in the order of the table: as many as have other series of their own.
const MAX_SERVICES: usize = 200;

/// Instances passed over that are told of: so many are an outage, whichever they are.
const MAX_EJECTED: usize = 200;

/// When the table was heard of last.
#[derive(Clone, Copy, Debug, Default)]
enum Heard {
    /// There is none yet.
    #[default]
    Never,
    /// A coordinator said then that it is so.
    At(Instant),
    /// It is that of the coordinator in the same process.
    Here,
}

/// A gateway and when it heard of its table; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    gateway: Arc<Mutex<Weak<Gateway>>>,
    heard: Arc<Mutex<Heard>>,
}

impl Known {
    /// This gateway runs.
    pub(super) fn runs(&self, gateway: &Arc<Gateway>) {
        *self.gateway.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(gateway);
    }

    /// A coordinator said just now what the table is, or that it is as it was.
    pub(super) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard::At(Instant::now());
    }

    /// The table comes from the same process.
    pub(super) fn is_here(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard::Here;
    }

    fn gateway(&self) -> Option<Arc<Gateway>> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn age_s(&self) -> Option<u64> {
        match *self.heard.lock().unwrap_or_else(PoisonError::into_inner) {
            Heard::Never => None,
            Heard::At(at) => Some(at.elapsed().as_secs()),
            Heard::Here => Some(0),
        }
    }
}

impl Collector for Known {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gateway = self.gateway();
        let help =
            "Seconds since a coordinator told the gateway its table, or that it is as it was";
        let metric = encoder.encode_descriptor(
            "gateway_table_age_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        if let Some(age) = self.age_s().filter(|_| gateway.is_some()) {
            gauge(age).encode(metric)?;
        }
        let live = gateway.as_ref().map(|gateway| gateway.live());
        let services = live.as_ref().map_or(&[][..], |live| live.services());
        let help = "Instances of each service that are in the gateway's table";
        let mut family =
            encoder.encode_descriptor("gateway_endpoints", help, None, MetricType::Gauge)?;
        for service in services.iter().take(MAX_SERVICES) {
            let (name, id) = service.name_and_id();
            let labels = [("service", name), ("id", id)];
            let count = service.upstreams.len() as u64;
            gauge(count).encode(family.encode_family(&labels)?)?;
        }
        let help =
            "Seconds for which an instance that failed is still passed over, by what failed last";
        let mut family =
            encoder.encode_descriptor("gateway_ejected_seconds", help, None, MetricType::Gauge)?;
        let Some(gateway) = gateway else { return Ok(()) };
        let now = gateway.now();
        let ejected = services
            .iter()
            .flat_map(|service| service.upstreams.iter().map(move |one| (service, one)))
            .filter_map(|(service, one)| Some((service, one, one.health.ejected_for(now)?)));
        for (service, upstream, ms) in ejected.take(MAX_EJECTED) {
            let (name, id) = service.name_and_id();
            let labels = [
                ("service", name),
                ("id", id),
                ("instance", upstream.replica.as_str()),
                ("reason", reason(upstream)),
            ];
            gauge(ms.div_ceil(1000)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn reason(upstream: &Upstream) -> &'static str {
    *upstream.failed_by.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
