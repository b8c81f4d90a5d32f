//! Jobs that coordinators of the original had taken and that become registers here.
//!
//! Always: of one id one register is made. It is made by the first coordinator in rendezvous order
//! of the id, with voters drawn by it, as for a key; a second one is refused by any voter that
//! holds the first. What was promised to a submitter already is never given up: without a quorum
//! it stays proposed.

use super::Machine;
use super::effect::ReplyTo;
use super::jobs::Origin;
use crate::batch::Shelf;
use crate::clock::{Hlc, Now};
use crate::command::{Adopted, AdoptedEnd, Command, Refusal};
use crate::id::{Hash, JobId, NodeId};
use crate::record::result::JobResult;
use crate::record::spec::Subject;
use crate::register::{JobState, Phase, State};

/// The original granted without end; a count may be one that nobody counted. Room to go on counting
/// is left.
const MOST_ATTEMPTS: u32 = u32::MAX / 2;

/// What decides which coordinators vote on an adopted job.
fn adopted_scope(id: &JobId) -> Hash {
    Hash::of(format!("adopted {id}").as_bytes())
}

impl Machine {
    /// Who makes the register of an adopted job, if somebody else does: only where it is not known.
    pub(super) fn adopted_home(&self, now: Now, shelf: &dyn Shelf, id: &JobId) -> Option<NodeId> {
        let subject = Subject::Job(id.clone());
        let known = self.registers.contains_key(&subject)
            || !matches!(shelf.register(&subject), Ok(None))
            || !matches!(shelf.stub(&subject), Ok(None));
        if known { None } else { self.first_of(now, &adopted_scope(id)) }
    }

    pub(super) fn adopt(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        reply: ReplyTo,
        adopted: Box<Adopted>,
    ) {
        let id = adopted.id.clone();
        let subject = Subject::Job(id.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::Adopt(adopted));
        }
        match self.job_value(shelf, &id) {
            Ok(val) => return self.answer(now, reply, Self::job_answer(&id, &val)),
            Err(Refusal::UnknownJob(_)) => {}
            Err(refusal) => return self.refuse(reply, refusal),
        }
        if self.registers.contains_key(&subject) {
            // Another coordinator makes it.
            return self.refuse(reply, Refusal::Busy("this job is being taken over".into()));
        }
        if let Some(full) = self.full_of_jobs() {
            return self.refuse(reply, full);
        }
        if let Some(full) = self.full_of_requirements(&adopted.request.required) {
            return self.refuse(reply, full);
        }
        self.see_version(adopted.version);
        let Adopted { created, request, attempts, end, .. } = *adopted;
        // Voters take nothing that was made later than they know of.
        let created = Hlc::at(created.min(now.wall));
        let drawn = match self.voters_with_this(&adopted_scope(&id)) {
            Ok(drawn) => drawn,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let origin = Origin { created, mark: None, adopted: true };
        let spec = match self.job_spec(now, &id, request, origin, drawn) {
            Ok(spec) => spec,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let attempt = attempts.min(MOST_ATTEMPTS).max(u32::from(end.is_some()));
        let state = JobState { attempt, ..JobState::new() };
        let (state, result) = match end {
            None => (state, None),
            Some(end) => match self.seal(result_of(now, &id, attempt, &end)) {
                Ok(result) => {
                    let phase = if end.success { Phase::Succeeded } else { Phase::Failed };
                    let (host, hash) = (Some(end.host), Some(result.hash()));
                    (JobState { phase, host, result: hash, ..state }, Some(result))
                }
                Err(refusal) => return self.refuse(reply, refusal),
            },
        };
        let val = self.value(now, 0, State::Job(state));
        let answer = Self::job_answer(&id, &val);
        self.create(now, spec, val, result.as_ref(), (reply, answer));
    }
}

fn result_of(now: Now, id: &JobId, attempt: u32, end: &AdoptedEnd) -> JobResult {
    JobResult {
        job: id.clone(),
        attempt,
        host: end.host.clone(),
        ok: end.success,
        at: Hlc::at(end.at.min(now.wall)),
        duration: end.duration,
        exit_code: end.exit_code,
        stdout: end.stdout.clone(),
        stderr: end.stderr.clone(),
        error: end.error.clone(),
        outputs: Vec::new(),
        agent: end.agent.clone(),
        receipt: None,
        earlier: Vec::new(),
    }
}
