//! Sizes of what a machine holds.

use super::Machine;
use crate::clock::Hlc;

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Jobs waiting.
    pub queued: usize,
    /// When the job was made that waits for a host longest.
    pub oldest: Option<Hlc>,
    /// Jobs leased.
    pub leased: usize,
    /// Hosts known.
    pub hosts: usize,
    /// Services known.
    pub services: usize,
    /// Instances that services led here lack, as of the last look at them.
    pub missing: usize,
    /// Claims parked.
    pub parked: usize,
    /// Keyed requests being executed.
    pub keys_in_flight: usize,
    /// Results, since the start, that hosts which agreed spoke against.
    pub dissents: u64,
    /// Nodes that are proven to have lied.
    pub offences: usize,
}

impl Machine {
    /// Numbers for metrics.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            queued: self.queue.len() + self.held_back.len() + self.usages.held() + self.resting,
            oldest: self.queue.oldest(),
            leased: self.hosts.leases(),
            hosts: self.hosts.len(),
            services: self.registers.len() - self.jobs_live,
            missing: self.placing.missing,
            parked: self.parked.len(),
            keys_in_flight: self.keys.len(),
            dissents: self.dissents,
            offences: self.controls.offences().len(),
        }
    }
}
