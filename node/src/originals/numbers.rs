//! What is held of originals and what was refused, for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
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
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let numbers = &self.0.0.numbers;
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let metric = ConstCounter::new(value.load(Relaxed));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter("original_merges", "Snapshots of originals that were merged", &numbers.merges)?;
        counter(
            "original_records_merged",
            "Records of originals that were taken",
            &numbers.changed,
        )?;
        let help = "Records of originals that are held";
        let mut family =
            encoder.encode_descriptor("original_records", help, None, MetricType::Gauge)?;
        let store = self.0.held();
        for kind in Kind::ALL {
            let held = store.as_ref().map_or(0, |store| store.count(class_of(kind)));
            let held = ConstGauge::new(i64::try_from(held).unwrap_or(i64::MAX));
            held.encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        let help = "Records of originals that were refused, each once";
        let name = "original_records_refused";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let refused = numbers.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let words = Reason::ALL.iter().map(|reason| reason.as_str()).chain([FULL]);
        for word in words {
            let count = refused.get(word).copied().unwrap_or(0);
            ConstCounter::new(count).encode(family.encode_family(&[("reason", word)])?)?;
        }
        Ok(())
    }
}
