//! What repair has done, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;
use skyclaw_protocol::repair::{Inventory, Range};

use super::Source;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) sessions: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) left_out: AtomicU64,
    /// Pages of records sent to those who copy.
    pub(super) pages: AtomicU64,
    /// Sessions that moved what gossip should have brought.
    pub(super) late: AtomicU64,
    /// Copies that all with whom they are placed said they hold.
    pub(super) handed_over: AtomicU64,
}

impl Numbers {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }
}

pub(super) struct Shown(pub(super) Arc<Numbers>, pub(super) Arc<dyn Source>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shown").field(&self.0).finish_non_exhaustive()
    }
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let numbers = &*self.0;
        metrics.atomic_counter("repair_sessions", "Sessions of repair begun", &numbers.sessions)?;
        metrics.atomic_counter(
            "repair_sessions_failed",
            "Those that did not come to their end",
            &numbers.failed,
        )?;
        metrics.atomic_counter("repair_records_sent", "Records sent in repair", &numbers.sent)?;
        metrics.atomic_counter(
            "repair_records_received",
            "Records received in repair",
            &numbers.received,
        )?;
        metrics.atomic_counter(
            "repair_refused",
            "Records and messages received in repair that did not check out",
            &numbers.refused,
        )?;
        metrics.atomic_counter(
            "repair_records_left_out",
            "Records not sent in repair, being too long or without their content",
            &numbers.left_out,
        )?;
        metrics.atomic_counter(
            "repair_pages_sent",
            "Pages sent to coordinators that copy",
            &numbers.pages,
        )?;
        metrics.atomic_counter(
            "repair_late_sessions",
            "Sessions of repair that moved what gossip should have brought",
            &numbers.late,
        )?;
        metrics.atomic_counter(
            "repair_handed_over",
            "Copies of jobs kept elsewhere that may be deleted here, since all who keep them have them",
            &numbers.handed_over,
        )?;
        // Kept up by the store: nothing is counted for this.
        let held = self.1.reader().and_then(|reader| reader.sum(Range::ALL).ok());
        let held = held.map_or(0, |sum| sum.count());
        metrics.gauge("repair_records_held", "Records held here that others can have", held)
    }
}
