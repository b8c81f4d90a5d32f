//! The laws about more than one party: what leaves rests on disks, acked jobs are on a quorum of
//! them, leases do not overlap, and at the end everybody shows the same.

use skyclaw_protocol::JobId;
use skyclaw_protocol::batch::{KeyAnswer, StoredRegister, Write};
use skyclaw_protocol::machine::{Effect, Machine};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Val;
use skyclaw_protocol::wire::{Message, PromiseVerdict, Verdict};

use crate::client::{AGREE, ONCE, VERIFIED};
use crate::clock::{At, SECOND};
use crate::host::LATE;
use crate::laws::{self, Holder};
use crate::world::World;

/// Longest time a command may wait on a coordinator that does not stand still: a parked claim.
const WAITS: At = 60 * SECOND;

impl World {
    /// Where a job stands on a coordinator's disk.
    pub(crate) fn shown(
        &self,
        node: usize,
        job: &skyclaw_protocol::JobId,
    ) -> Option<skyclaw_protocol::register::JobState> {
        let subject = skyclaw_protocol::record::spec::Subject::Job(job.clone());
        let stored = self.nodes[node].disk.register(&subject)?;
        stored.chosen()?.job().cloned()
    }

    /// Nothing leaves that is not on disk, a home's own round-0 proposals apart.
    pub(crate) fn check_effect(&mut self, node: usize, effect: &Effect, early: bool) {
        let disk = &self.nodes[node].disk;
        let holds = match effect {
            Effect::Reply { answer: Ok(answer), .. } => !early && self.answer_rests(node, answer),
            Effect::Send { message: Message::Accept(ops), .. } => ops.iter().all(|op| {
                let stored = disk.register(&op.key.subject);
                let promised = stored.and_then(|stored| stored.row.promised);
                promised >= Some(op.ballot) || (op.ballot.round == 0 && early)
            }),
            Effect::Send { message: Message::Prepare(ops), .. } => ops.iter().all(|op| {
                let stored = disk.register(&op.key.subject);
                stored.and_then(|stored| stored.row.promised) >= Some(op.ballot)
            }),
            Effect::Send { message: Message::Vote(ops), .. } => {
                let votes = ops.iter().filter(|op| op.verdict == Verdict::Accepted);
                !early
                    && votes.into_iter().all(|op| {
                        let stored = disk.register(&op.key.subject);
                        let held = stored.and_then(|stored| stored.row.accepted);
                        held.is_some_and(|held| {
                            let content = match (&op.key.subject, held.val.job()) {
                                (Subject::Job(job), Some(state)) => {
                                    state.named_result().is_none_or(|(attempt, hash)| {
                                        let result = disk.shelf().result(job, attempt);
                                        result
                                            .ok()
                                            .flatten()
                                            .is_some_and(|held| held.hash() == hash)
                                    })
                                }
                                _ => true,
                            };
                            content && (held.ballot, held.val.ver) >= (op.ballot, op.ver)
                        })
                    })
            }
            Effect::Send { message: Message::Promise(ops), .. } => {
                let promised =
                    |verdict: &PromiseVerdict| matches!(verdict, PromiseVerdict::Promised(_));
                !early
                    && ops.iter().filter(|op| promised(&op.verdict)).all(|op| {
                        let stored = disk.register(&op.key.subject);
                        stored.and_then(|stored| stored.row.promised) >= Some(op.ballot)
                    })
            }
            _ => !early,
        };
        if !holds {
            let how = format!("coordinator {node}, early {early}: {effect:?}");
            self.laws.break_law(laws::RESTS_ON_DISK, how);
        } else if let Effect::Reply { answer: Ok(KeyAnswer::Job(at)), .. } = effect {
            self.laws.chosen(&at.job, &at.val);
            self.law_of_verified(&at.job, &at.val);
            if at.val.ver == 0 {
                self.laws.ack(&at.job);
                self.check_quorum(&at.job);
            }
        }
    }

    fn answer_rests(&self, node: usize, answer: &KeyAnswer) -> bool {
        let KeyAnswer::Job(at) = answer else { return true };
        let stored = self.nodes[node].disk.register(&Subject::Job(at.job.clone()));
        stored.as_ref().and_then(StoredRegister::chosen).is_some_and(|val| val.ver >= at.val.ver)
    }

    /// Nobody forgot anything here, so nobody is told that it did. Frames that outlive the process
    /// they were sent to look like a second process.
    pub(crate) fn check_fence(&mut self, node: usize) {
        let fence = self.nodes[node].machine.as_ref().and_then(Machine::fenced);
        if let Some(fence) = fence.filter(|_| !self.scene.stale) {
            let how = format!("coordinator {node}: {fence}");
            self.laws.break_law(laws::NOT_FENCED, how);
        }
    }

    /// I1.
    fn check_quorum(&mut self, job: &JobId) {
        let subject = Subject::Job(job.clone());
        let spec = self.nodes.iter().find_map(|node| node.disk.register(&subject));
        let unread = self.scene.store && self.nodes.iter().any(|node| node.machine.is_none());
        let Some(spec) = spec.map(|stored| stored.spec.into_body()) else {
            // All that hold it may be down, and closed.
            if unread {
                return;
            }
            return self.laws.break_law(laws::ON_A_QUORUM, format!("{job} is on no disk"));
        };
        // A store whose process is down is not asked; what it holds is seen when it starts.
        let holds = |voter: &skyclaw_protocol::NodeId| {
            let node = self.nodes.iter().find(|node| node.id == *voter);
            node.is_some_and(|node| {
                let down = self.scene.store && node.machine.is_none();
                let stored = node.disk.register(&subject);
                down || stored.is_some_and(|stored| stored.row.accepted.is_some())
            })
        };
        let held = spec.voters.iter().filter(|voter| holds(voter)).count();
        if held < usize::from(spec.quorum) {
            let how = format!("{job}: {held} of {} (quorum {})", spec.voters.len(), spec.quorum);
            self.laws.break_law(laws::ON_A_QUORUM, how);
        }
    }

    /// What a commit made known.
    pub(crate) fn laws_of_writes(&mut self, node: usize, writes: &[Write]) {
        for write in writes {
            let subject = match write {
                Write::Row { subject, .. } => subject,
                Write::Certificate(certificate) => &certificate.body().key.subject,
                _ => continue,
            };
            let Subject::Job(job) = subject else { continue };
            if let Some(val) =
                self.nodes[node].disk.register(subject).as_ref().and_then(StoredRegister::chosen)
            {
                self.laws.chosen(job, val);
                self.law_of_verified(job, val);
            }
        }
    }

    /// As its client meant it, whatever was written down.
    fn law_of_verified(&mut self, job: &JobId, val: &Val) {
        let known = self.laws.jobs.get(job).and_then(|facts| facts.must_agree);
        let agree = known.or_else(|| {
            let subject = Subject::Job(job.clone());
            let stored = self.nodes.iter().find_map(|node| node.disk.register(&subject))?;
            let verified = stored.spec.body().job.as_ref()?.payload == VERIFIED;
            Some(if verified { AGREE } else { 0 })
        });
        let Some(agree) = agree else { return };
        if known.is_none() {
            self.laws.jobs.entry(job.clone()).or_default().must_agree = Some(agree);
        }
        if agree > 0 {
            self.laws.verified(job, val, agree);
        }
    }

    /// After a start: what was acked is still there.
    pub(crate) fn check_disk_of(&mut self, node: usize) {
        let id = self.nodes[node].id;
        let jobs: Vec<JobId> =
            self.laws.jobs.iter().filter(|(_, f)| f.acked).map(|(j, _)| j.clone()).collect();
        for job in jobs {
            let stored = self.nodes[node].disk.register(&Subject::Job(job.clone()));
            if stored.is_none_or(|stored| stored.spec.body().voters.contains(&id)) {
                self.check_quorum(&job);
            }
        }
    }

    /// A process of a job starts.
    pub(crate) fn process_begins(&mut self, job: &JobId, attempt: u32) {
        let subject = Subject::Job(job.clone());
        let stored = self.nodes.iter().find_map(|node| node.disk.register(&subject));
        let asked = stored.as_ref().and_then(|stored| stored.spec.body().job.as_ref());
        // As its client meant it, whatever was written down.
        if asked.is_some_and(|job| job.payload == ONCE) {
            self.laws.begins_once(job, attempt);
        }
    }

    /// I2: a host begins a run, or its lease was extended, and so nobody else's is valid.
    pub(crate) fn lease_begins(&mut self, host: usize, job: &JobId, attempt: u32, until: At) {
        let now = self.now;
        let facts = self.laws.jobs.entry(job.clone()).or_default();
        facts.holders.retain(|held| held.host != host || held.attempt != attempt);
        let other = facts.holders.iter().find(|held| held.until > now);
        if let Some(other) = other.filter(|_| until > now) {
            let how = format!(
                "{job}: host {host} attempt {attempt}, and host {} attempt {} for {} ms more",
                other.host,
                other.attempt,
                (other.until - now) / 1_000_000
            );
            return self.laws.break_law(laws::ONE_LEASE, how);
        }
        let late = facts.holders.iter().find(|held| {
            let awake = self.hosts[held.host].asleep;
            held.until.max(awake) + LATE < now
        });
        if let Some(late) = late {
            let how = format!("{job}: host {} attempt {}", late.host, late.attempt);
            return self.laws.break_law(laws::ENDS_IN_TIME, how);
        }
        facts.holders.push(Holder { host, attempt, until });
    }

    /// Everything that was acked has ended, everywhere, and nobody waits.
    pub(crate) fn is_at_rest(&self) -> bool {
        let acked = self.laws.jobs.iter().filter(|(_, facts)| facts.acked);
        acked.into_iter().all(|(job, _)| self.ended_everywhere(job) || !self.end_is_due(job))
    }

    /// Those that live can end it, or one of them knows that it ended. What a coordinator ended
    /// alone and took to its grave, nobody can know.
    fn end_is_due(&self, job: &JobId) -> bool {
        let shows = |node: usize| {
            let state = self.shown(node, job).filter(|_| !self.nodes[node].dead);
            state.is_some_and(|state| state.phase.is_terminal())
        };
        self.may_end(job) || (0..self.nodes.len()).any(shows)
    }

    fn ended_everywhere(&self, job: &JobId) -> bool {
        let live = (0..self.nodes.len()).filter(|node| !self.nodes[*node].dead);
        live.into_iter()
            .all(|node| self.shown(node, job).is_some_and(|state| state.phase.is_terminal()))
    }

    /// All that is held of offences: nobody lies here.
    fn check_convictions(&mut self) {
        let machines = self.nodes.iter().filter_map(|node| node.machine.as_ref());
        let held = machines.flat_map(|machine| machine.controls().offences());
        let told: Vec<String> = held.map(|offence| format!("{offence:?}")).collect();
        if let Some(told) = told.into_iter().next() {
            self.laws.break_law(laws::NOT_CONVICTED, told);
        }
    }

    /// After the last heal and its time.
    pub(crate) fn check_end(&mut self) {
        let jobs: Vec<(JobId, bool)> =
            self.laws.jobs.iter().map(|(job, facts)| (job.clone(), facts.acked)).collect();
        for (job, acked) in jobs {
            if acked {
                self.check_quorum(&job);
                if self.laws.jobs[&job].ended.is_none() && self.may_end(&job) {
                    let how = format!("{job}: {:?}", self.shown_by_all(&job));
                    return self.laws.break_law(laws::ENDS, how);
                }
            }
            if acked && self.end_is_due(&job) && !self.ended_everywhere(&job) {
                let how = format!("{job}: {:?}", self.shown_by_all(&job));
                return self.laws.break_law(laws::SAME, how);
            }
        }
        self.check_answered();
        self.check_convictions();
        for host in 0..self.hosts.len() {
            self.check_runs(host);
        }
    }

    /// A quorum of its voters lives, and so does a host that can run it.
    fn may_end(&self, job: &JobId) -> bool {
        let subject = Subject::Job(job.clone());
        let spec = self.nodes.iter().find_map(|node| node.disk.register(&subject));
        spec.is_some_and(|stored| {
            let spec = stored.spec.body();
            let lives = |voter: &&skyclaw_protocol::NodeId| {
                self.nodes.iter().any(|node| node.id == **voter && !node.dead)
            };
            spec.voters.iter().filter(lives).count() >= usize::from(spec.quorum)
        })
    }

    fn shown_by_all(&self, job: &JobId) -> Vec<String> {
        let show = |node: usize| {
            let at = &self.nodes[node];
            let stored = at.disk.register(&Subject::Job(job.clone()));
            stored.map_or_else(
                || format!("{node}: unknown"),
                |stored| {
                    let home = self.node_of(stored.spec.body().home);
                    let voters: Vec<_> =
                        stored.spec.body().voters.iter().map(|v| self.node_of(*v)).collect();
                    let chosen = stored.chosen().map(crate::words::state);
                    let row = stored.row.accepted.as_ref().map(|a| {
                        format!(
                            "r{} v{} {}",
                            a.ballot.round,
                            a.val.ver,
                            crate::words::state(&a.val)
                        )
                    });
                    format!("{node}: home {home:?} of {voters:?} shows {chosen:?}, row {row:?}")
                },
            )
        };
        (0..self.nodes.len()).map(show).collect()
    }

    fn check_answered(&mut self) {
        for node in 0..self.nodes.len() {
            let at = &self.nodes[node];
            let since = |at: &At| self.now.saturating_sub(*at);
            let late = at.asked.values().find(|(_, at)| since(at) > WAITS);
            if let Some((asker, _)) = late {
                let how = format!("coordinator {node}: {asker:?} waits for ever");
                return self.laws.break_law(laws::ANSWERED, how);
            }
        }
    }

    fn check_runs(&mut self, host: usize) {
        let at = &self.hosts[host];
        let over = |run: &&crate::host::HostRun| {
            run.alive && at.clock.when(run.ends).max(at.asleep) + LATE < self.now
        };
        if let Some(run) = at.runs.values().find(over) {
            let how = format!("host {host}: {run:?}");
            self.laws.break_law(laws::ENDS_IN_TIME, how);
        }
    }
}
