//! What the bridge has done, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;

use super::Board;

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) pulls: AtomicU64,
    pub(super) pulls_failed: AtomicU64,
    pub(super) pull_bytes: AtomicU64,
    pub(super) pushes: AtomicU64,
    pub(super) pushes_failed: AtomicU64,
    pub(super) push_records: AtomicU64,
    pub(super) push_bytes: AtomicU64,
    /// Records not pushed, since the original does not take them; of the last pulls.
    pub(super) resting: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) asked: AtomicU64,
    pub(super) acks: AtomicU64,
    pub(super) claims: AtomicU64,
    pub(super) claims_in_vain: AtomicU64,
    pub(super) adopted: AtomicU64,
    pub(super) unfit: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}

/// The numbers, read when the metrics are.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Numbers>, pub(super) Board);

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let numbers = &*self.0;
        for (name, help, value) in [
            ("pulls", "States of originals fetched", &numbers.pulls),
            ("pulls_failed", "States of originals not got", &numbers.pulls_failed),
            ("pull_bytes", "Bytes of these", &numbers.pull_bytes),
            ("pushes", "Pushes to originals that were taken", &numbers.pushes),
            ("pushes_failed", "Pushes to originals that failed", &numbers.pushes_failed),
            ("push_records", "Records in pushes", &numbers.push_records),
            ("push_bytes", "Bytes of pushes", &numbers.push_bytes),
            ("refused", "Records of originals that were refused in pulls", &numbers.refused),
            ("witness_pushes", "Records pushed for a word of originals", &numbers.asked),
            ("acks", "Words of originals that they hold a record", &numbers.acks),
            ("claims", "Claims made at originals", &numbers.claims),
            ("claims_in_vain", "Of these, without a job", &numbers.claims_in_vain),
            ("jobs_adopted", "Jobs of originals that were taken over", &numbers.adopted),
            (
                "jobs_unfit",
                "Jobs of originals ended there, since no host here can run such",
                &numbers.unfit,
            ),
        ] {
            metrics.atomic_counter(&format!("bridge_{name}"), help, value)?;
        }
        let counts = self.1.counts();
        metrics.gauge("bridge_originals", "Originals known", counts.known as u64)?;
        metrics.gauge("bridge_originals_alive", "Originals that answer", counts.alive as u64)?;
        let resting = numbers.resting.load(Relaxed);
        metrics.gauge("bridge_records_resting", "Records that originals do not take", resting)
    }
}
