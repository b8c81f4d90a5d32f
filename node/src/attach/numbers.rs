//! What hosts asked and did not get, for metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;
use skyclaw_protocol::Refusal;

/// The reasons that are told apart: what somebody may try who wants what is not his. The last one is
/// all the others, such as a coordinator that is busy.
const REASONS: [&str; 10] = [
    "unreadable",
    "unknown_host",
    "host_taken",
    "unknown_job",
    "unknown_service",
    "assigned_elsewhere",
    "not_leased",
    "not_assigned",
    "too_large",
    "other",
];

/// Questions refused since the start, by reason. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Refused(Arc<[AtomicU64; REASONS.len()]>);

impl Refused {
    /// For the node's metrics.
    #[must_use]
    pub fn numbers(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    pub(super) fn count_unreadable(&self) {
        self.add("unreadable");
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        self.add(match refusal {
            Refusal::UnknownHost(_) => "unknown_host",
            Refusal::HostTaken(_) => "host_taken",
            Refusal::UnknownJob(_) => "unknown_job",
            Refusal::UnknownService(_) => "unknown_service",
            Refusal::AssignedElsewhere { .. } => "assigned_elsewhere",
            Refusal::NotLeased(_) => "not_leased",
            Refusal::NotAssigned { .. } => "not_assigned",
            Refusal::TooLarge(_) => "too_large",
            _ => "other",
        });
    }

    fn add(&self, reason: &str) {
        let counts = REASONS.iter().zip(self.0.iter());
        for (_, count) in counts.filter(|(known, _)| **known == reason) {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Collector for Refused {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = REASONS.iter().zip(self.0.iter());
        MetricWriter::new(encoder).counters(
            "host_asks_refused",
            "Questions of hosts that were refused, by reason",
            counts.map(|(reason, count)| ([("reason", *reason)], count.load(Relaxed))),
        )
    }
}
