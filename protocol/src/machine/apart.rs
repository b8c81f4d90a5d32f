//! What must not run twice while coordinators are cut off from each other.
//!
//! A host ends an instance of such a service once no coordinator has answered it for a while. So a coordinator that
//! enough voters do not answer stops answering its hosts, and the others wait until that must have worked:
//!
//! ```text
//!   cut      no answer from here any more      the host has ended it      placed elsewhere
//!    |------------- ALIVE_MS --------------|------- HOST_STOPS_MS -------|------>
//! ```
//!
//! Always: whom some coordinator still hears is not down for this purpose, though this one does not hear it.

use super::Machine;
use crate::clock::{Mono, Now};
use crate::id::{HostId, NodeId};
use crate::limits::{ALIVE_MS, HOST_STOPS_MS};
use crate::register::Val;
use crate::view::{Assignment, OnPartition};

/// From the last word of a coordinator until what its hosts run for it has ended.
const ENDED_MS: u64 = ALIVE_MS + HOST_STOPS_MS;

impl Machine {
    /// Whether this host runs an instance that must not run twice, and the voters of its service that do not
    /// answer this node are enough to place it elsewhere: how many others would have to answer, and how
    /// many do.
    pub(super) fn cut_off_from(&self, now: Now, host: &HostId) -> Option<(usize, usize)> {
        self.registers.services().find_map(|(_, entry)| {
            let state = entry.chosen.as_ref().and_then(Val::service)?;
            let stops = |part: &Assignment| {
                let def = state.def_of(part.generation).unwrap_or(&state.def);
                part.host == *host && def.on_partition == OnPartition::Stop
            };
            if !state.assignments.iter().any(stops) {
                return None;
            }
            let others = || entry.head.voters.iter().filter(|voter| **voter != self.me);
            let got = others().filter(|voter| self.answers(now, voter)).count();
            let away = others().count() - got;
            (away >= entry.head.quorum).then(|| (got + away + 1 - entry.head.quorum, got))
        })
    }

    /// Whether that coordinator answered a moment ago. Of one that is sent no beats it counts that it is connected.
    fn answers(&self, now: Now, node: &NodeId) -> bool {
        match self.pulses.get(node) {
            Some(pulse) if pulse.is_asked(now.mono) => pulse.answers(now.mono),
            _ => self.peers.contains(node),
        }
    }

    /// A coordinator is down, and what it ran with it, as far as a service of this policy may believe.
    pub(super) fn is_down(&self, now: Now, node: &NodeId, policy: OnPartition) -> bool {
        let Some(pulse) = self.pulses.get(node) else { return false };
        let ended = || now.mono >= pulse.last_sign().plus_ms(ENDED_MS);
        self.is_silent(now, node) && (policy == OnPartition::Keep || ended())
    }

    /// A host that was heard of last then has ended by now what must not run twice: unless it asks a coordinator that
    /// is only cut off from here.
    pub(super) fn has_stopped_by_itself(&self, now: Now, heard: Mono) -> bool {
        let settled = |node: &NodeId| {
            !self.is_silent(now, node) || self.is_down(now, node, OnPartition::Stop)
        };
        now.mono >= heard.plus_ms(ENDED_MS) && self.pulses.nodes().all(settled)
    }
}
