//! Who leads which register as far as this node knows: counted, so that two nodes find out cheaply
//! whether they agree.
//!
//! Always: a register that has ended or expired, that has one voter, or on which this node does not vote, is
//! not counted. [`Machine::recount`] follows each change of a register's row, lead or value.

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use super::entry::Entry;
use crate::id::NodeId;
use crate::record::spec::{RegisterKey, Subject};
use crate::shares::Shares;
use crate::wire::Tally;

/// How a register is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// This node leads it.
    Led,
    /// This one should: itself, where it promised and does not lead.
    Owed(NodeId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Registers voted on here and led by others, by whom.
    owed: BTreeMap<NodeId, Owed>,
    /// Registers led here, by each other voter.
    leads: BTreeMap<NodeId, Tally>,
}

#[derive(Debug, Default)]
struct Owed {
    subjects: BTreeSet<Subject>,
    tally: Tally,
}

/// How many registers are here by the home of each, ended or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Homes {
    jobs: Shares,
    services: Shares,
}

impl Homes {
    pub(super) const fn jobs(&self) -> &Shares {
        &self.jobs
    }

    pub(super) const fn jobs_mut(&mut self) -> &mut Shares {
        &mut self.jobs
    }

    pub(super) const fn of(&self, subject: &Subject) -> &Shares {
        match subject {
            Subject::Job(_) => &self.jobs,
            Subject::Service(_) => &self.services,
        }
    }

    pub(super) const fn of_mut(&mut self, subject: &Subject) -> &mut Shares {
        match subject {
            Subject::Job(_) => &mut self.jobs,
            Subject::Service(_) => &mut self.services,
        }
    }
}

impl Owners {
    /// Nodes that others lead registers for.
    pub(super) fn owing(&self) -> impl Iterator<Item = NodeId> {
        self.owed.keys().copied()
    }

    /// Registers that this node should lead, after `after`, in order.
    pub(super) fn of(
        &self,
        owner: &NodeId,
        after: Option<&Subject>,
    ) -> impl Iterator<Item = &Subject> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let owed = self.owed.get(owner).into_iter();
        owed.flat_map(move |owed| owed.subjects.range::<Subject, _>((from, Unbounded)))
    }

    /// What this node thinks that one leads.
    pub(super) fn owed(&self, owner: &NodeId) -> Tally {
        self.owed.get(owner).map_or_else(Tally::default, |owed| owed.tally)
    }

    /// What this node leads and that one votes on.
    pub(super) fn led(&self, voter: &NodeId) -> Tally {
        self.leads.get(voter).copied().unwrap_or_default()
    }

    /// True if a register is shared with this node, either way.
    pub(super) fn shares(&self, node: &NodeId) -> bool {
        self.owed.contains_key(node) || self.leads.contains_key(node)
    }

    pub(super) fn add(
        &mut self,
        me: NodeId,
        key: &RegisterKey,
        voters: &[NodeId],
        counted: Counted,
    ) {
        match counted {
            Counted::Led => {
                for voter in voters.iter().filter(|voter| **voter != me) {
                    self.leads.entry(*voter).or_default().add(key);
                }
            }
            Counted::Owed(owner) => {
                let owed = self.owed.entry(owner).or_default();
                owed.subjects.insert(key.subject.clone());
                owed.tally.add(key);
            }
        }
    }

    fn remove(&mut self, me: NodeId, key: &RegisterKey, voters: &[NodeId], counted: Counted) {
        match counted {
            Counted::Led => {
                for voter in voters.iter().filter(|voter| **voter != me) {
                    if self.leads.get_mut(voter).is_some_and(|tally| tally.remove(key)) {
                        self.leads.remove(voter);
                    }
                }
            }
            Counted::Owed(owner) => {
                let Some(owed) = self.owed.get_mut(&owner) else { return };
                owed.subjects.remove(&key.subject);
                if owed.tally.remove(key) {
                    self.owed.remove(&owner);
                }
            }
        }
    }
}

impl Tally {
    fn weight(key: &RegisterKey) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&key.spec.0[..8]);
        u64::from_le_bytes(first)
    }

    fn add(&mut self, key: &RegisterKey) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(Self::weight(key));
    }

    /// True if nothing is left.
    fn remove(&mut self, key: &RegisterKey) -> bool {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(Self::weight(key));
        self.count == 0
    }
}

/// How a register is to be counted.
pub(super) fn count(me: NodeId, entry: &Entry) -> Option<Counted> {
    let voters = &entry.head.voters;
    if entry.is_leaving() || entry.over || voters.len() < 2 || !voters.contains(&me) {
        return None;
    }
    Some(if entry.leads() { Counted::Led } else { Counted::Owed(entry.owner()) })
}

impl Machine {
    /// A register has changed, or come.
    pub(super) fn recount(&mut self, subject: &Subject) {
        self.recount_use(subject);
        let Some(entry) = self.registers.get_mut(subject) else { return };
        let counted = count(self.me, entry);
        let before = std::mem::replace(&mut entry.counted, counted);
        if before == counted {
            return;
        }
        if let Some(before) = before {
            self.owners.remove(self.me, &entry.head.key, &entry.head.voters, before);
        }
        if let Some(counted) = counted {
            self.owners.add(self.me, &entry.head.key, &entry.head.voters, counted);
        }
    }

    /// A register leaves memory.
    pub(super) fn uncount(&mut self, entry: &Entry) {
        self.uncount_use(entry);
        self.homes.of_mut(&entry.head.key.subject).remove(entry.head.home);
        if let Some(counted) = entry.counted {
            self.owners.remove(self.me, &entry.head.key, &entry.head.voters, counted);
        }
    }
}

#[cfg(test)]
impl Homes {
    /// The same, counted anew.
    #[track_caller]
    pub(super) fn check(&self, registers: &super::table::Table) {
        let mut fresh = Self::default();
        for (subject, entry) in registers {
            fresh.of_mut(subject).add(entry.head.home);
        }
        assert_eq!(fresh, *self, "registers are counted by their homes");
    }
}

#[cfg(test)]
impl Owners {
    /// The same, counted anew.
    #[track_caller]
    pub(super) fn check(&self, me: NodeId, registers: &super::table::Table) {
        let mut fresh = Self::default();
        for (subject, entry) in registers {
            assert_eq!(count(me, entry), entry.counted, "{subject:?} is counted otherwise");
            if let Some(counted) = entry.counted {
                fresh.add(me, &entry.head.key, &entry.head.voters, counted);
            }
        }
        assert_eq!(fresh.leads, self.leads, "what is led is counted");
        let tallies = |owners: &Self| {
            let all = owners.owed.iter().map(|(id, o)| (*id, (o.tally, o.subjects.clone())));
            all.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(tallies(&fresh), tallies(self), "what others lead is counted");
    }
}
