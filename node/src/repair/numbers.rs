//! What repair has done, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) sessions: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) left_out: AtomicU64,
}

impl Numbers {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Numbers>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let metric = ConstCounter::new(value.load(Relaxed));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let numbers = &*self.0;
        counter("repair_sessions", "Sessions of repair begun", &numbers.sessions)?;
        counter("repair_sessions_failed", "Those that did not come to their end", &numbers.failed)?;
        counter("repair_records_sent", "Records sent in repair", &numbers.sent)?;
        counter("repair_records_received", "Records received in repair", &numbers.received)?;
        counter(
            "repair_refused",
            "Records and messages received in repair that did not check out",
            &numbers.refused,
        )?;
        counter(
            "repair_records_left_out",
            "Records not sent in repair, being too long or without their content",
            &numbers.left_out,
        )
    }
}
