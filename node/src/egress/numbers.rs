//! What the proxy has done, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;

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
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let numbers = &*self.0;
        metrics.atomic_counter(
            "egress_connections",
            "Connections made outwards for runs",
            &numbers.connected,
        )?;
        let help = "Connections outwards that runs may not make";
        metrics.atomic_counter("egress_refused", help, &numbers.refused)?;
        let help = "Connections outwards that did not come about";
        metrics.atomic_counter("egress_failed", help, &numbers.failed)?;
        let help = "Requests of runs to the proxy that were none";
        metrics.atomic_counter("egress_malformed", help, &numbers.malformed)?;
        let help = "Times a run had all the connections to the proxy it may have";
        metrics.atomic_counter("egress_crowded", help, &numbers.crowded)
    }
}
