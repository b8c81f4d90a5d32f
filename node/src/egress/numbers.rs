//! What the proxy has done, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) connected: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) crowded: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The numbers, read when the metrics are.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Numbers>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let numbers = &*self.0;
        for (name, help, value) in [
            ("connections", "Connections made outwards for runs", &numbers.connected),
            ("refused", "Connections outwards that runs may not make", &numbers.refused),
            ("failed", "Connections outwards that did not come about", &numbers.failed),
            ("malformed", "Requests of runs to the proxy that were none", &numbers.malformed),
            (
                "crowded",
                "Times a run had all the connections to the proxy it may have",
                &numbers.crowded,
            ),
        ] {
            let metric = ConstCounter::new(value.load(Relaxed));
            let name = format!("egress_{name}");
            metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
