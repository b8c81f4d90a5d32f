//! Jobs: taken, completed, cancelled, taken back when their lease runs out.

use super::effect::{KeyInUse, ReplyTo};
use super::entry::Waiting;
use super::{Machine, Timer, verifying};
use crate::batch::{KeyAnswer, Shelf, Write};
use crate::clock::{Hlc, Now};
use crate::command::{Command, Completion, JobRequest, Refusal};
use crate::id::{JobId, NodeId};
use crate::lease::{Lease, RunTime};
use crate::limits::{MAX_LIVE_JOBS, MAX_REQUIREMENT_SETS};
use crate::record::Signed;
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, Mark, Spec, Subject};
use crate::register::{JobState, Phase, State, Val};
use crate::wire::Sought;

/// A day: the least time between the end of the longest run and the job's expiry.
const DAY_MS: u64 = 86_400_000;

/// Where a job comes from.
pub(super) struct Origin {
    pub(super) created: Hlc,
    pub(super) mark: Option<Mark>,
    /// A coordinator of the original had taken it.
    pub(super) adopted: bool,
}

impl Machine {
    pub(super) fn submit(&mut self, now: Now, reply: ReplyTo, request: JobRequest) {
        if let Some(full) = self.full_of_jobs() {
            return self.refuse(reply, full);
        }
        if let Some(full) = self.full_of_requirements(&request.required) {
            return self.refuse(reply, full);
        }
        if let Err(refusal) = self.may_queue(request.submitted_by.as_deref()) {
            return self.refuse(reply, refusal);
        }
        let created = self.stamp(now);
        let chance = self.chance();
        let job = JobId::mint(created, chance);
        let mark = reply.key.map(|KeyInUse { scope, fingerprint }| Mark { scope, fingerprint });
        let drawn = match &mark {
            Some(mark) => self.draw_key_voters(&mark.scope),
            None => self.draw_job_voters(&job),
        };
        let (voters, quorum) = match drawn {
            Ok(drawn) => drawn,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let origin = Origin { created, mark, adopted: false };
        let spec = match self.job_spec(now, &job, request, origin, (voters, quorum)) {
            Ok(spec) => spec,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let mut val = self.value(now, 0, State::Job(JobState::new()));
        val.at = created;
        let answer = Self::job_answer(&job, &val);
        self.create(now, spec, val, None, (reply, answer));
    }

    /// Why no job can be made here. Where others vote, each of them leaves room for those of others:
    /// what goes beyond this node's share would miss its quorum.
    pub(super) fn full_of_jobs(&self) -> Option<Refusal> {
        let what = || "unfinished jobs".into();
        if self.jobs_live >= MAX_LIVE_JOBS {
            return Some(Refusal::Full { what: what(), limit: MAX_LIVE_JOBS });
        }
        let room = self.peers.is_empty()
            || self.homes.jobs().have_room(self.me, self.jobs_live, MAX_LIVE_JOBS);
        let limit = MAX_LIVE_JOBS - MAX_LIVE_JOBS / 4;
        (!room).then(|| Refusal::Full { what: what(), limit })
    }

    /// Why no job that needs this can be made here: what waits is kept apart by what it needs.
    pub(super) fn full_of_requirements(&self, required: &[String]) -> Option<Refusal> {
        let what = || "distinct capability requirements in the queue".into();
        let full = !self.queue.has_room_for(required);
        full.then(|| Refusal::Full { what: what(), limit: MAX_REQUIREMENT_SETS })
    }

    /// The signed head of a job that this node makes.
    pub(super) fn job_spec(
        &mut self,
        now: Now,
        job: &JobId,
        request: JobRequest,
        Origin { created, mark, adopted }: Origin,
        (voters, quorum): (Vec<NodeId>, usize),
    ) -> Result<Signed<Spec>, Refusal> {
        let waits_ms = request.queue_timeout_ms.unwrap_or(0);
        let longest = waits_ms.saturating_add(request.timeout_ms.unwrap_or(0));
        let life = self.config.job_ttl_ms.max(longest.saturating_add(DAY_MS));
        self.seal(Spec {
            subject: Subject::Job(job.clone()),
            home: self.me,
            voters,
            quorum: u8::try_from(quorum).unwrap_or(u8::MAX),
            created,
            expires_at: now.wall.max(created.wall()).plus_ms(life),
            job: Some(JobSpec {
                payload: request.payload,
                required: request.required,
                submitted_by: request.submitted_by,
                max_attempts: request.max_attempts,
                timeout_ms: request.timeout_ms,
                retry: request.retry,
                queue_timeout_ms: request.queue_timeout_ms,
                adopted,
                once: request.once,
                verify: request.verify,
            }),
            mark,
            owner: None,
        })
    }

    /// The newest chosen value of a job, from memory or, once it has ended, from disk.
    pub(super) fn job_value(&self, shelf: &dyn Shelf, job: &JobId) -> Result<Val, Refusal> {
        let unknown = || Refusal::UnknownJob(job.to_string());
        let subject = Subject::Job(job.clone());
        if let Some(entry) = self.registers.get(&subject) {
            return entry.chosen.clone().ok_or_else(unknown);
        }
        if self.is_going(&subject) {
            return Err(unknown());
        }
        match shelf.register(&subject) {
            Ok(Some(stored)) => stored.chosen().cloned().ok_or_else(unknown),
            Ok(None) => match shelf.stub(&subject) {
                Ok(stub) => stub.map(|stub| stub.val().clone()).ok_or_else(unknown),
                Err(error) => Err(Refusal::Store(error.0)),
            },
            Err(error) => Err(Refusal::Store(error.0)),
        }
    }

    pub(super) fn complete(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        completion: Completion,
    ) {
        // A coordinator that passes a result on vouches for its host.
        if !reply.is_passed_on() && self.hosts.get(&completion.host).is_none() {
            let (refusal, what) = (
                Refusal::UnknownHost(completion.host.to_string()),
                Sought::Host(completion.host.clone()),
            );
            return self.seek_or_refuse(now, what, reply, Command::Complete(completion), refusal);
        }
        let subject = Subject::Job(completion.job.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::Complete(completion));
        }
        let val = match self.job_value(shelf, &completion.job) {
            Ok(val) => val,
            Err(refusal) => {
                let what = Sought::Job(completion.job.clone());
                let command = Command::Complete(completion);
                return self.seek_or_refuse(now, what, reply, command, refusal);
            }
        };
        let Some(state) = val.job() else {
            return self.refuse(reply, Refusal::UnknownJob(completion.job.to_string()));
        };
        // The last lessee may still report while nobody else got the job: its work counts.
        let attempt = completion.attempt.unwrap_or(state.attempt);
        if state.host.as_ref() != Some(&completion.host) || state.attempt != attempt {
            let holder = match (&state.host, state.phase) {
                (Some(host), phase) if phase != Phase::Queued => host.to_string(),
                _ => "nobody".into(),
            };
            return self.refuse(reply, Refusal::AssignedElsewhere { job: completion.job, holder });
        }
        // Of an attempt that failed and is followed by another, the first report counts.
        if state.phase.is_terminal() || (state.phase == Phase::Queued && state.has_reported()) {
            return self.refuse(reply, Refusal::NotLeased(completion.job));
        }
        if let Some(why) = self.receipt_fault(&subject, state, &completion) {
            let refusal = Refusal::BadReceipt { job: completion.job, why: why.into() };
            return self.refuse(reply, refusal);
        }
        let told = match self.verify_of(&subject) {
            Some(verify) => match verifying::word(state, &completion) {
                Ok(told) => Some((verify, told)),
                Err(refusal) => {
                    if let Some(entry) = self.registers.get_mut(&subject) {
                        entry.tries.is_no_use(completion.host);
                    }
                    return self.refuse(reply, refusal);
                }
            },
            None => None,
        };
        let at = self.stamp(now);
        let result = JobResult {
            job: completion.job.clone(),
            attempt: state.attempt,
            host: completion.host.clone(),
            ok: completion.success,
            at,
            duration: completion.duration,
            exit_code: completion.exit_code,
            stdout: completion.stdout,
            stderr: completion.stderr,
            error: completion.error,
            outputs: completion.outputs,
            agent: completion.agent,
            receipt: completion.receipt,
            earlier: Vec::new(),
        };
        if let Some(told) = told {
            self.hosts.seen(&completion.host, now);
            return self.complete_copy(now, shelf, (&subject, &val), told, result, reply);
        }
        let result = match self.seal(result) {
            Ok(result) => result,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let again = !completion.success && self.runs_again(now, &subject, state);
        let state = JobState {
            phase: if completion.success { Phase::Succeeded } else { Phase::Failed },
            failed: state.failed + u32::from(again),
            result: Some(result.hash()),
            result_of: None,
            ..state.clone()
        };
        match reply.is_passed_on() {
            true => self.hosts.seen(&completion.host, now),
            false => self.hosts.heard(&completion.host, now),
        }
        if again {
            return self.give_back(now, &subject, &val, state, Some(&result), Some(reply));
        }
        self.advance(now, &subject, &val, state, Some(&result), Some(reply));
    }

    pub(super) fn cancel(&mut self, now: Now, shelf: &dyn Shelf, reply: ReplyTo, job: JobId) {
        let subject = Subject::Job(job.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::Cancel { job });
        }
        let val = match self.job_value(shelf, &job) {
            Ok(val) => val,
            Err(refusal) => {
                let what = Sought::Job(job.clone());
                return self.seek_or_refuse(now, what, reply, Command::Cancel { job }, refusal);
            }
        };
        let Some(state) = val.job() else {
            return self.refuse(reply, Refusal::UnknownJob(job.to_string()));
        };
        if state.phase.is_terminal() {
            let status = match state.phase {
                Phase::Succeeded => "completed",
                Phase::Cancelled => "cancelled",
                _ => "failed",
            };
            return self.refuse(reply, Refusal::AlreadyEnded { job, status: status.into() });
        }
        let state = JobState { phase: Phase::Cancelled, ..state.clone() };
        self.advance(now, &subject, &val, state, None, Some(reply));
    }

    /// Writes the next value of a job; `reply` gets it once it is chosen. False, and `reply` is
    /// answered, if this node does not lead it.
    pub(super) fn advance(
        &mut self,
        now: Now,
        subject: &Subject,
        from: &Val,
        state: JobState,
        result: Option<&Signed<JobResult>>,
        reply: Option<ReplyTo>,
    ) -> bool {
        let reply = reply.map(|reply| (reply, None));
        self.advance_with(now, subject, from, state, result, reply)
    }

    /// The same with an answer that is not the job itself.
    pub(super) fn advance_with(
        &mut self,
        now: Now,
        subject: &Subject,
        from: &Val,
        state: JobState,
        result: Option<&Signed<JobResult>>,
        reply: Option<(ReplyTo, Option<KeyAnswer>)>,
    ) -> bool {
        let Subject::Job(job) = subject else { return false };
        let grant = state.phase == Phase::Leased;
        let val = self.value(now, from.ver + 1, State::Job(state));
        let waiting = reply.clone().map(|(reply, answer)| {
            let answer = answer.unwrap_or_else(|| Self::job_answer(job, &val));
            Waiting { reply, answer, grant, remembered: None }
        });
        let proposed = self.propose(now, subject, val, result, waiting);
        if !proposed && let Some((reply, _)) = reply {
            self.refuse(
                reply,
                Refusal::Busy("another coordinator leads this job now, try again".into()),
            );
        }
        proposed
    }

    /// Keeps queue, leases and timers in step with a value that was just chosen.
    pub(super) fn index_job(
        &mut self,
        now: Now,
        job: &JobId,
        before: Option<&JobState>,
        val: &Val,
    ) {
        let Some(after) = val.job() else { return };
        let subject = Subject::Job(job.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        let (required, created) = (entry.head.required.clone(), entry.head.created);
        let leads = entry.lead.is_some();
        if before.is_some_and(|b| b.phase == Phase::Queued) {
            self.dequeue(&required, created, job);
            self.unhold(job);
            self.waits_no_more(job);
        }
        let Some(entry) = self.registers.get_mut(&subject) else { return };
        // A value that was only adopted goes on with the lease it had.
        let same = |b: &JobState| b.phase == after.phase && b.attempt == after.attempt;
        if let Some(b) = before.filter(|b| b.phase == Phase::Leased && !same(b)) {
            if let Some(lease) = entry.lease.take() {
                self.timers.remove(&(lease.ends, Timer::Lease(job.clone())));
                if lease.noted != b.lease_expires {
                    self.out.write(Write::LeaseNote { job: job.clone(), until: None });
                }
            }
            if let Some(host) = &b.host {
                self.hosts.release(host, job);
            }
        }
        match after.phase {
            Phase::Queued if leads => {
                if !self.rests(now, job) {
                    self.enqueue(job);
                }
                self.awaits_start(now, job, after);
            }
            Phase::Leased => {
                if let Some(host) = &after.host {
                    self.hosts.lease(host, job);
                }
                if leads && let Some(entry) = self.registers.get_mut(&subject) {
                    let stale = std::mem::take(&mut entry.stale_grant);
                    let run = RunTime {
                        timeout_ms: entry.head.timeout_ms,
                        default_ms: self.config.run_ms,
                    };
                    let here = entry.tries.granted == Some(after.attempt);
                    let lease = entry.lease.get_or_insert_with(|| {
                        Lease::grant(now, after.lease_ms, after.guard_ms, run)
                    });
                    lease.counts &= here;
                    lease.renewable &= !stale;
                    if after.host.as_ref().is_some_and(|host| self.revoking.has_host(host)) {
                        lease.end_now(now);
                    }
                    self.timers.insert((lease.ends, Timer::Lease(job.clone())));
                }
            }
            _ => {}
        }
    }

    /// A lease may be over: the job goes back to the queue, or ends if it was lost too often, or if it
    /// may have begun and must not begin twice.
    pub(super) fn lease_timer(&mut self, now: Now, job: JobId) {
        let subject = Subject::Job(job);
        let Some(entry) = self.registers.get(&subject) else { return };
        let Some(lease) = entry.lease.as_ref().filter(|lease| lease.is_over(now.mono)) else {
            return;
        };
        if entry.in_flight() {
            return;
        }
        let Some(val) = entry.chosen.clone() else { return };
        let Some(state) = val.job().filter(|state| state.phase == Phase::Leased) else { return };
        if entry.head.once {
            // Whatever was heard of its host, before a restart or by another owner. No loss is counted:
            // that is what tells this end from one that losses brought about.
            let state = JobState { phase: Phase::Exhausted, ..state.clone() };
            self.advance(now, &subject, &val, state, None, None);
            return;
        }
        let lost = state.lost.saturating_add(u32::from(lease.heard && lease.counts));
        let exhausted = entry.head.max_attempts.is_some_and(|most| lost >= most);
        let expired = self.expires(now, entry.head.expires_at);
        let phase = if exhausted { Phase::Exhausted } else { Phase::Expired };
        let state = JobState { phase, lost, ..state.clone() };
        if exhausted || expired {
            self.advance(now, &subject, &val, state, None, None);
        } else {
            self.give_back(now, &subject, &val, state, None, None);
        }
    }

    /// A grant could not be handed over: the host never learned of it, so nothing runs.
    pub fn undelivered(&mut self, now: Now, answer: &KeyAnswer) {
        let KeyAnswer::Job(at) = answer else { return };
        let subject = Subject::Job(at.job.clone());
        let Some(entry) = self.registers.get(&subject) else { return };
        if let Some(state) = at.val.job().filter(|s| s.phase == Phase::Leased && s.guard_ms == 0)
            && entry.lead.is_none()
            && let Some(host) = state.host.clone()
        {
            // Led elsewhere, and claimed there for a host of this node.
            let (owner, attempt) = (entry.owner(), state.attempt);
            let job = at.job.clone();
            return self.ask_plainly(owner, Command::HandBack { host, job, attempt, word: None });
        }
        // An attached host may have got the grant and lost its answer: it asks again, or the lease
        // runs out.
        let mine = |lease: &Lease| !lease.heard && lease.guard_ms == 0;
        let untouched = entry.lease.as_ref().is_some_and(mine);
        if entry.in_flight() || !untouched || entry.chosen.as_ref() != Some(&at.val) {
            return;
        }
        if let Some(state) = at.val.job().filter(|state| state.phase == Phase::Leased) {
            let state = JobState { phase: Phase::Queued, ..state.clone() };
            self.advance(now, &subject, &at.val, state, None, None);
        }
    }
}
