//! What is held of originals and what was refused, for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;
use skyclaw_http_compat::snapshot::{Kind, Reason};

use super::merge::{FULL, class_of};
use super::{Merged, Originals};

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    merges: AtomicU64,
    changed: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Numbers {
    pub(super) fn merged(&self, merged: &Merged) {
        self.merges.fetch_add(1, Relaxed);
        self.changed.fetch_add(merged.changed as u64, Relaxed);
    }

    pub(super) fn refused(&self, word: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(word).or_default() += 1;
    }
}

#[derive(Debug)]
pub(super) struct Shown(pub(super) Originals);

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let numbers = &self.0.0.numbers;
        let help = "Snapshots of originals that were merged";
        metrics.atomic_counter("original_merges", help, &numbers.merges)?;
        let help = "Records of originals that were taken";
        metrics.atomic_counter("original_records_merged", help, &numbers.changed)?;
        let store = self.0.held();
        metrics.gauges(
            "original_records",
            "Records of originals that are held",
            Kind::ALL.into_iter().map(|kind| {
                let held = store.as_ref().map_or(0, |store| store.count(class_of(kind)));
                ([("kind", kind.as_str())], held as u64)
            }),
        )?;
        let refused = numbers.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let words = Reason::ALL.iter().map(|reason| reason.as_str()).chain([FULL]);
        metrics.counters(
            "original_records_refused",
            "Records of originals that were refused, each once",
            words.map(|word| ([("reason", word)], refused.get(word).copied().unwrap_or(0))),
        )
    }
}
