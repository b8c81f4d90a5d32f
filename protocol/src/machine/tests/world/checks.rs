//! What must hold whenever somebody looks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Disk, World};
use crate::batch::{Alive, KeyAnswer};
use crate::id::{HostId, JobId};
use crate::machine::effect::{ReplyTo, Target};
use crate::machine::{Effect, Machine, Timer, Token};
use crate::record::spec::Subject;
use crate::register::{JobState, Phase, Val};
use crate::wire::{Message, PromiseVerdict, Verdict};

/// What was seen from outside so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Jobs whose submission was answered with 200.
    pub(crate) acked: BTreeSet<JobId>,
    /// Jobs whose submission was refused although an id was named.
    pub(crate) refused: BTreeSet<JobId>,
    granted: BTreeMap<(JobId, u32), HostId>,
    ended: BTreeMap<JobId, (Phase, u32, Option<HostId>)>,
    displayed: BTreeMap<(String, u64), Val>,
}

impl History {
    /// A value that somebody holds to be chosen.
    fn saw(&mut self, job: &JobId, val: &Val) {
        let Some(state) = val.job() else { return };
        if state.phase == Phase::Leased
            && let Some(host) = &state.host
        {
            let known =
                self.granted.entry((job.clone(), state.attempt)).or_insert_with(|| host.clone());
            assert_eq!(known, host, "one grant per attempt: {job} attempt {}", state.attempt);
        }
        if state.phase.is_terminal() {
            let outcome = (state.phase, state.attempt, state.host.clone());
            let known = self.ended.entry(job.clone()).or_insert_with(|| outcome.clone());
            assert_eq!(*known, outcome, "one outcome per job: {job}");
            if state.phase == Phase::Aborted {
                assert!(!self.acked.contains(job), "an acked job was aborted: {job}");
            }
        }
        // An adopted value is rewritten with another `ver` only.
        let mut shown = val.clone();
        shown.ver = 0;
        let known = self
            .displayed
            .entry((val.by.clone(), val.display_version))
            .or_insert_with(|| shown.clone());
        assert_eq!(*known, shown, "a version number was shown for two changes");
    }
}

impl World {
    /// Nothing leaves that is not on disk, home's own round-0 proposals apart.
    pub(super) fn check_effect(&mut self, node: usize, effect: &Effect, early: bool) {
        let disk = &self.nodes[node].disk;
        match effect {
            Effect::Reply { answer: Ok(answer), .. } => {
                assert!(!early, "no answer is early");
                self.check_answer(node, answer);
            }
            Effect::Reply { .. } => assert!(!early, "no answer is early"),
            Effect::Send { message: Message::Accept(ops), .. } => {
                for op in ops {
                    let stored = disk.stored(&op.key.subject);
                    // Of a service that was given up, another one may have the name by now.
                    let other = stored.as_ref().is_some_and(|s| s.spec.hash() != op.key.spec);
                    let durable = stored.and_then(|s| s.row.promised) >= Some(op.ballot);
                    let may = op.ballot.round == 0 && (early || other);
                    assert!(durable || may, "a proposal not on disk");
                }
            }
            Effect::Send { message: Message::Prepare(ops), .. } => {
                for op in ops {
                    let held = disk.stored(&op.key.subject).and_then(|s| s.row.promised);
                    assert!(held >= Some(op.ballot), "a prepare that is not promised at home");
                }
            }
            Effect::Send { message: Message::Vote(ops), .. } => {
                assert!(!early);
                for op in ops.iter().filter(|op| op.verdict == Verdict::Accepted) {
                    let stored = disk.stored(&op.key.subject).expect("a vote without a row");
                    let held = stored.row.accepted.expect("a vote without a value");
                    let at = (held.ballot, held.val.ver);
                    // Of a service that was removed since, another one may have the name by now.
                    let other = stored.spec.hash() != op.key.spec;
                    assert!(other || at >= (op.ballot, op.ver), "a vote that is not on disk");
                    if let Some(named) = held.val.job().and_then(JobState::named_result) {
                        self.check_result(disk, &op.key.subject, named);
                    }
                }
            }
            Effect::Send { message: Message::Promise(ops), .. } => {
                assert!(!early);
                for op in ops {
                    if matches!(op.verdict, PromiseVerdict::Promised(_)) {
                        let held = disk.stored(&op.key.subject).and_then(|s| s.row.promised);
                        assert!(held >= Some(op.ballot), "a promise that is not on disk");
                    }
                }
            }
            Effect::Witness { subject, ballot, val } => {
                assert!(!early);
                let held = disk.stored(subject).and_then(|s| s.row.accepted);
                let held = held.expect("pushed before it is on disk");
                assert!((held.ballot, held.val.ver) >= (*ballot, val.ver));
            }
            Effect::Send { .. } | Effect::Publish(_) | Effect::Probe(_) => assert!(!early),
        }
    }

    fn check_result(&self, disk: &Disk, subject: &Subject, named: (u32, crate::Hash)) {
        let (Subject::Job(job), (attempt, hash)) = (subject, named) else { return };
        use crate::batch::Shelf;
        let held = disk.result(job, attempt).unwrap().expect("a vote without its content");
        assert_eq!(held.hash(), hash, "a vote with other content");
    }

    fn check_answer(&mut self, node: usize, answer: &KeyAnswer) {
        let disk = &self.nodes[node].disk;
        match answer {
            KeyAnswer::Job(at) => {
                let stored = disk.stored(&Subject::Job(at.job.clone())).expect("answered from air");
                let chosen = stored.chosen().expect("answered before it could be read");
                assert!(chosen.ver >= at.val.ver, "answered before it could be read");
                let own = at.val.by == format!("node_{node}");
                assert!(!own || at.val.display_version <= disk.version);
                self.history.saw(&at.job, &at.val);
                if at.val.ver == 0 {
                    assert!(!self.history.refused.contains(&at.job), "refused, then acked");
                    self.history.acked.insert(at.job.clone());
                }
            }
            KeyAnswer::Host(view) | KeyAnswer::Alive(Alive { host: view, .. }) => {
                let own = view.updated_by == format!("node_{node}");
                assert!(!own || view.version <= disk.version, "a version the disk does not bound");
                assert!(disk.host(&view.id).is_some(), "a host that is not on disk");
            }
            KeyAnswer::Service(view) => {
                let stored = disk.stored(&Subject::Service(view.id.clone())).expect("from air");
                let chosen = stored.chosen().expect("answered before it could be read");
                assert!(chosen.display_version >= view.version);
            }
            _ => {}
        }
    }

    /// Checks one node, and what it shows against what was seen before.
    #[track_caller]
    pub(crate) fn check(&mut self, node: usize) {
        let at = &self.nodes[node];
        at.machine.check_invariants();
        let mut waiting = at.machine.outstanding();
        for token in &at.asked {
            assert!(waiting.remove(token), "{token:?} waits for ever");
        }
        assert!(waiting.is_empty(), "answers for nobody: {waiting:?}");
        for (subject, entry) in &at.machine.registers {
            if let (Subject::Job(job), Some(val)) = (subject, &entry.chosen) {
                self.history.saw(job, val);
            }
        }
    }

    /// Checks the disks: every acked job is there, ended ones ended one way.
    pub(crate) fn check_disks(&mut self) {
        let mut found = BTreeSet::new();
        for node in &self.nodes {
            for subject in node.disk.subjects() {
                let (Subject::Job(job), Some(stored)) = (subject, node.disk.stored(subject)) else {
                    continue;
                };
                if stored.row.accepted.is_some() {
                    found.insert(job.clone());
                }
                if let Some(val) = stored.chosen() {
                    self.history.saw(job, val);
                }
            }
        }
        for job in &self.history.acked {
            assert!(found.contains(job), "an acked job is gone: {job}");
        }
    }
}

impl Machine {
    /// Indexes against registers.
    #[track_caller]
    pub(crate) fn check_invariants(&self) {
        self.owners.check(self.me, &self.registers);
        self.homes.check(&self.registers);
        self.usages.check(self.registers.values());
        let jobs = self.registers.keys().filter(|s| matches!(s, Subject::Job(_))).count();
        assert_eq!(jobs, self.jobs_live, "jobs are counted");
        let over = self.registers.values().filter(|entry| entry.over).count();
        assert_eq!(jobs, self.expiring.len() + over, "each job has its expiry");
        let queued: BTreeSet<_> = self.queue.jobs().collect();
        assert_eq!(queued.len(), self.queue.len(), "the queue is counted");
        let mut leased = BTreeMap::<HostId, BTreeSet<JobId>>::new();
        for (subject, entry) in &self.registers {
            let busy = entry.in_flight();
            let timer = |timer| self.timers.iter().any(|(_, t)| *t == timer);
            if busy && entry.head.voters.len() > 1 {
                assert!(timer(Timer::Quorum(subject.clone())), "{subject:?} is stuck in flight");
            }
            let idle = entry.waiting.is_empty() && (entry.queued.is_empty());
            assert!(busy || entry.is_leaving() || idle, "{subject:?} holds answers for nothing");
            let Subject::Job(job) = subject else { continue };
            let chosen = entry.chosen.as_ref().and_then(Val::job);
            let proposed = entry.lead.as_ref().and_then(|l| l.current()).and_then(Val::job);
            let phase = chosen.map(|state| state.phase);
            if phase != Some(Phase::Queued) || entry.lead.is_none() {
                assert!(!queued.contains(job), "{job} is queued by mistake");
            } else if !busy {
                let held = self.held_back.contains(job) || self.usages.holds(job);
                let rests = entry.tries.rests_until.is_some();
                let places = [queued.contains(job), held, rests];
                let places = places.into_iter().filter(|here| *here).count();
                assert_eq!(places, 1, "{job} is lost from the queue");
            }
            if phase == Some(Phase::Leased) && entry.lead.is_some() && !busy {
                let ends = entry.lease.as_ref().expect("a lease is timed").ends;
                let timed = self.timers.contains(&(ends, Timer::Lease(job.clone())));
                assert!(timed, "the lease of {job} never ends");
            }
            for state in chosen.into_iter().chain(proposed.filter(|_| busy)) {
                if let (Phase::Leased, Some(host)) = (state.phase, &state.host) {
                    leased.entry(host.clone()).or_default().insert(job.clone());
                }
            }
        }
        assert!(queued.iter().all(|job| self.registers.contains_key(&Subject::Job(job.clone()))));
        let mut total = 0;
        for (host, leases) in self.hosts.tables() {
            total += leases.len();
            let expected = leased.remove(&host).unwrap_or_default();
            assert!(leases.is_subset(&expected), "{host} holds leases nobody granted");
            // Those of an earlier life of the host may be missing; they run out unrenewed.
            for job in expected.difference(&leases) {
                let lease = self.registers[&Subject::Job(job.clone())].lease.as_ref();
                assert!(lease.is_none_or(|l| !l.renewable), "{host} lost its lease of {job}");
            }
        }
        assert_eq!(total, self.hosts.leases(), "leases are counted");
        for (at, timer) in &self.timers {
            if let Timer::Lease(job) = timer {
                let entry = self.registers.get(&Subject::Job(job.clone()));
                let ends = entry.and_then(|e| e.lease.as_ref()).map(|l| l.ends);
                assert_eq!(ends, Some(*at), "a timer of {job} was left behind");
            }
        }
    }

    /// Callers the machine still knows of.
    pub(crate) fn outstanding(&self) -> BTreeSet<Token> {
        let mut all = BTreeSet::new();
        let caller = |reply: &ReplyTo| match reply.to {
            Target::Caller(token) => Some(token),
            Target::Peer { .. } | Target::Nobody => None,
        };
        for entry in self.registers.values() {
            all.extend(entry.waiting.iter().filter_map(|w| caller(&w.reply)));
            all.extend(entry.queued.iter().filter_map(|(reply, _)| caller(reply)));
            let renewals = entry.renewal.iter().flat_map(|renewal| renewal.replies());
            all.extend(renewals.filter_map(caller));
        }
        all.extend(self.asks.tokens());
        all.extend(self.seeking.tokens());
        all.extend(self.awaited.tokens());
        all.extend(self.parked.tokens());
        all.extend(self.keys.waiters());
        all.extend(self.out.held_tokens());
        all
    }
}
