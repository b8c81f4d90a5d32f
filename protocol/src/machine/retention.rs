//! Forgetting: what has ended shrinks to a stub and is deleted, what died waiting is deleted too.
//!
//! Always: nothing is deleted on the word of a clock that is not believed ([`Trust`]); whatever was
//! deleted expired before the floor, which is written with it, and below the floor nobody gets a
//! vote, a promise or a new register. When what happens, [`retention`](crate::retention) says.
//!
//! [`Trust`]: crate::clock::Trust

use std::ops::Bound;

use super::Machine;
use super::learning::stands;
use crate::batch::{Shelf, StoredRegister, Write};
use crate::clock::{Now, Wall};
use crate::id::JobId;
use crate::limits::{LIVE_SWEEP, RETENTION_SWEEP};
use crate::record::spec::{RegisterKey, Spec, Subject};
use crate::register::Val;
use crate::retention::{Fate, Life, Stub, floor_at, is_gone, is_quiet};

impl Machine {
    /// A peer said what time it is, as of now: with that, this node's own clock is judged.
    pub fn heard_clock(&mut self, now: Now, peer: Wall) {
        self.trust.heard(peer, now);
    }

    /// True if nobody takes anything of a register that expires then.
    pub(super) fn is_gone(&self, expires_at: Wall) -> bool {
        is_gone(expires_at, self.gc_floor)
    }

    /// The life of a register that ended with `val`, or has not ended.
    pub(super) fn life(&self, val: Option<&Val>, expires_at: Wall) -> Life {
        let ended = val.filter(|val| val.is_terminal()).map(|val| val.at.wall());
        Life { ended, expires_at, retention_ms: self.config.retention_ms }
    }

    /// Shrinks and deletes what is due. True if none is left.
    pub(super) fn sweep_registers(&mut self, now: Now, shelf: &dyn Shelf) -> bool {
        if !self.trust.may_delete(now) {
            return true;
        }
        self.sweep_live(now);
        // A failing disk shows in the next write; the sweep comes again.
        let due = shelf.due(now.wall, RETENTION_SWEEP).unwrap_or_default();
        let full = due.len() >= RETENTION_SWEEP;
        let mut done = 0;
        for (since, subject) in due {
            // Not all of it is on disk yet.
            if !self.registers.contains_key(&subject) {
                done += usize::from(self.sweep_one(now, shelf, since, subject));
            }
        }
        // Where nothing could be done, going on at once would do no more.
        !full || done == 0
    }

    /// True if something was written.
    fn sweep_one(&mut self, now: Now, shelf: &dyn Shelf, since: Wall, subject: Subject) -> bool {
        let floor = self.gc_floor.max(floor_at(now.wall));
        let stored = match (shelf.register(&subject), shelf.stub(&subject)) {
            (Err(_), _) | (_, Err(_)) => return false,
            (Ok(None), Ok(Some(stub))) if now.wall < stub.drop_at() => return false,
            (Ok(None), Ok(Some(_))) => {
                self.raise_floor(floor);
                self.out.write(Write::Drop(subject));
                return true;
            }
            (Ok(stored), _) => stored,
        };
        let Some(stored) = stored else {
            self.out.write(Write::NotDue { subject, due: since });
            return true;
        };
        match self
            .life(stored.chosen(), stored.spec.body().expires_at)
            .fate(now.wall, self.gc_floor)
        {
            Fate::Keep => return false,
            Fate::Shrink => match self.stub_of(&subject, &stored) {
                Some(stub) => self.out.write(Write::Shrink(Box::new(stub))),
                None => self.out.write(Write::NotDue { subject, due: since }),
            },
            Fate::Quiet => {
                self.raise_floor(floor);
                self.out.write(Write::Refile(subject));
            }
            Fate::Drop => {
                self.raise_floor(floor);
                self.out.write(Write::Drop(subject));
            }
        }
        true
    }

    fn raise_floor(&mut self, floor: Wall) {
        if floor > self.gc_floor {
            self.gc_floor = floor;
            self.out.write(Write::GcFloor(floor));
        }
    }

    /// What is left of a register that has ended. A certificate is on disk, unless this node votes
    /// alone and signs one now.
    fn stub_of(&self, subject: &Subject, stored: &StoredRegister) -> Option<Stub> {
        let (ballot, val) = stored.decided()?;
        let spec = stored.spec.body();
        let certificate = if spec.voters == [self.me] && ballot.proposer == self.me {
            let key = RegisterKey { subject: subject.clone(), spec: stored.spec.hash() };
            self.alone(key, ballot, val.clone())
        } else {
            stored.certificate.clone().filter(|held| held.body().val == *val)?
        };
        Some(Stub { certificate, created: spec.created, expires_at: spec.expires_at })
    }

    /// Deletes jobs that never ended and are dead for everybody, and lets nobody compare those that
    /// expired. Looks at some, and goes on from there another time.
    fn sweep_live(&mut self, now: Now) {
        let floor = floor_at(now.wall);
        let from =
            self.swept.take().map_or(Bound::Unbounded, |job| Bound::Excluded(Subject::Job(job)));
        let mut dead = Vec::new();
        let mut quiet = Vec::new();
        let mut last = None;
        for (looked, (subject, brief)) in self.registers.briefs(from).enumerate() {
            // Jobs stand before services.
            let Subject::Job(job) = subject else { break };
            if looked == LIVE_SWEEP {
                self.swept = last;
                break;
            }
            last = Some(job.clone());
            if brief.moves {
                continue;
            }
            let expires_at = brief.expires_at;
            if now.wall >= self.life(None, expires_at).drop_at() {
                dead.push(job.clone());
            } else if !brief.quiet && is_quiet(expires_at, floor) {
                quiet.push(subject.clone());
            }
            if dead.len() + quiet.len() == RETENTION_SWEEP {
                self.swept = last;
                break;
            }
        }
        if !dead.is_empty() || !quiet.is_empty() {
            self.raise_floor(floor);
        }
        for subject in quiet {
            if let Some(entry) = self.registers.get_mut(&subject) {
                entry.quiet = true;
            }
            self.out.write(Write::Refile(subject));
        }
        for job in dead {
            self.forget(&job);
        }
    }

    /// Deletes a job that is in memory. Whoever waits for it is told that it is not decided.
    pub(super) fn forget(&mut self, job: &JobId) {
        let subject = Subject::Job(job.clone());
        self.step_down(&subject);
        let Some(entry) = self.registers.remove(&subject) else { return };
        self.uncount(&entry);
        self.expiring.remove(&subject, entry.head.expires_at);
        self.jobs_live -= 1;
        self.queue.remove(&entry.head.required, entry.head.created, job);
        self.unhold(job);
        let state = entry.chosen.as_ref().and_then(Val::job);
        if let Some(host) = state.and_then(|state| state.host.clone()) {
            self.hosts.release(&host, job);
        }
        self.out.write(Write::Drop(subject));
    }

    /// Another node has only the stub of a job left, or this one would shrink the job at once: keeps
    /// the stub, where nothing better is here. False if nothing was taken.
    pub(super) fn take_stub(&mut self, now: Now, shelf: &dyn Shelf, stub: Stub) -> bool {
        let subject = stub.subject().clone();
        if now.wall >= stub.expires_at || self.is_gone(stub.expires_at) {
            return false;
        }
        if let Some(entry) = self.registers.get(&subject) {
            // It ended while this node was away.
            let decided = entry.lead.as_ref().is_some_and(|lead| lead.chosen().is_some());
            let key = &stub.certificate.body().key;
            if decided
                || entry.is_leaving()
                || entry.unwritten > 0
                || entry.head.key != *key
                // Nobody signed these: an early end would have the row forgotten while it counts.
                || (entry.head.created, entry.head.expires_at) != (stub.created, stub.expires_at)
                || !stands(&entry.head, &stub.certificate, now)
            {
                return false;
            }
            self.step_down(&subject);
            self.chosen(now, shelf, &subject, stub.val().clone());
        } else if !matches!(shelf.register(&subject), Ok(None))
            || !matches!(shelf.stub(&subject), Ok(None))
        {
            // What is here is whole, or as much.
            return false;
        }
        self.clock.observe(stub.val().at);
        self.out.write(Write::Shrink(Box::new(stub)));
        true
    }

    /// True if a register of this spec that ended with `val` would be shrunk here at once.
    pub(super) fn is_past_retention(&self, now: Now, spec: &Spec, val: &Val) -> bool {
        let life = self.life(Some(val), spec.expires_at);
        matches!(spec.subject, Subject::Job(_)) && life.shrink_at().is_some_and(|at| at <= now.wall)
    }
}
