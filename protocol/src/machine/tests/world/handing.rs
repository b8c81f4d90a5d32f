//! Repair and handing over where shards are placed, as the node's driver does them, without its messages.

use std::sync::Arc;

use super::{World, node_key, subject};
use crate::id::JobId;
use crate::record::spec::Subject;
use crate::repair::Item;
use crate::shards::{Duties, HeldJob, Holding, Round, Shard, ShardAsk};
use crate::wire::Message;

impl World {
    /// What stands on a disk of a job, and its version.
    pub(crate) fn item(&self, node: usize, job: &JobId) -> Option<(Item, u64)> {
        let (subject, disk) = (subject(job), &self.nodes[node].disk);
        let stored = disk.stored(&subject);
        let stub = disk.left_of(&subject);
        let (ballot, val) = match (&stored, &stub) {
            (Some(stored), _) => stored.decided()?,
            (None, Some(stub)) => (stub.certificate.body().ballot, stub.val()),
            (None, None) => return None,
        };
        Some((Item::of_value(&subject, ballot, val), val.ver))
    }

    pub(crate) fn duties(&self, node: usize) -> Arc<Duties> {
        Arc::clone(self.nodes[node].machine.duties())
    }

    /// Every job of which something is known to be chosen there, and which value.
    pub(crate) fn items(&self, node: usize) -> Vec<HeldJob> {
        let jobs = self.nodes[node].disk.subjects().filter_map(|subject| match subject {
            Subject::Job(job) => Some(job.clone()),
            Subject::Service(_) => None,
        });
        let held = jobs.filter_map(|job| {
            let (item, ver) = self.item(node, &job)?;
            Some(HeldJob { job, item, ver })
        });
        held.collect()
    }

    fn reaches(&self, one: usize, other: usize) -> bool {
        !self.cut.contains(&(one, other)) && !self.cut.contains(&(other, one))
    }

    fn give(&mut self, from: usize, to: usize, job: &JobId) {
        let at = &self.nodes[from];
        if let Some(known) = at.machine.known(&at.disk, &subject(job), usize::MAX) {
            self.inject(from, to, Message::Known(vec![known]));
        }
    }

    /// A session of repair about what both keep.
    pub(crate) fn repair(&mut self, one: usize, other: usize) {
        if !self.reaches(one, other) {
            return;
        }
        let both = self.duties(one).duty().meet(self.duties(other).duty());
        for (from, to) in [(one, other), (other, one)] {
            for HeldJob { job, ver, .. } in self.items(from) {
                let held = self.item(to, &job);
                if both.holds(Shard::of(&job)) && held.is_none_or(|(_, held)| held < ver) {
                    self.give(from, to, &job);
                }
            }
        }
    }

    /// One round of handing over. Returns what left the memory and will leave the disk, once that is written.
    pub(crate) fn hand_over(&mut self, node: usize) -> Vec<JobId> {
        let duties = self.duties(node);
        if duties.is_full() {
            return Vec::new();
        }
        let strays = self.items(node).into_iter();
        let strays = strays.filter(|held| !duties.duty().holds(Shard::of(&held.job))).take(256);
        let mut round = Round::new(Arc::clone(&duties), strays.collect());
        for (peer, about) in round.asked() {
            let to = (0..self.nodes.len()).find(|n| node_key(*n).id() == peer).expect("a node");
            let ShardAsk::Hold(jobs) = round.question(&about) else {
                panic!("it asks what is held")
            };
            if !self.reaches(node, to) {
                continue;
            }
            let there = self.duties(to);
            let told: Vec<_> = jobs
                .iter()
                .map(|asked| Holding::of(&there, asked, self.item(to, &asked.job)))
                .collect();
            let moved = round.hear(&about, &told).expect("it fits");
            for (n, holding) in told.iter().enumerate() {
                if *holding == Holding::Lacks {
                    self.give(node, to, &jobs[n].job);
                }
            }
            for (job, _) in moved.later {
                self.give(to, node, &job);
            }
        }
        let gone: Vec<_> =
            round.done().filter(|(_, all)| *all).map(|(held, _)| (held.job, held.item)).collect();
        let (now, at) = (self.now, &mut self.nodes[node]);
        at.machine.handed_over(now, &at.disk, &duties, &gone);
        gone.into_iter()
            .map(|(job, _)| job)
            .filter(|job| at.machine.is_going(&subject(job)))
            .collect()
    }
}
