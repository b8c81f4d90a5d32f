//! Jobs that run on several hosts, one after the other, until enough of them have said the same.
//!
//! Always: what hosts told stands in the register, so whoever leads it next knows it too; a host, or
//! another one of its key, that has told is not granted the job again. A lost lease tells nothing, nor
//! does a report without a receipt.

use super::Machine;
use super::effect::ReplyTo;
use crate::batch::Shelf;
use crate::clock::{Hlc, Now};
use crate::command::{Completion, Refusal};
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{AGAIN_AHEAD, MAX_EARLIER_BYTES};
use crate::record::Raw;
use crate::record::receipt::Receipt;
use crate::record::result::JobResult;
use crate::record::spec::Subject;
use crate::register::{JobState, Phase, Val};
use crate::verify::{Agreement, Said, Told, Verify};

impl Machine {
    /// On how many hosts a job runs, if that was asked for.
    pub(super) fn verify_of(&self, subject: &Subject) -> Option<Verify> {
        self.registers.get(subject)?.head.verify
    }

    /// Puts a job that is led here into the queue.
    pub(super) fn enqueue(&mut self, job: &JobId) {
        let Some(entry) = self.registers.get(&Subject::Job(job.clone())) else { return };
        let again = entry.chosen.as_ref().and_then(Val::job).is_some_and(|s| !s.told.is_empty());
        self.queue.insert(&entry.head.required, entry.head.created, job.clone(), again);
    }

    /// True if a run of this host would not be one of another host than those that told, or could not count.
    pub(super) fn has_told(&self, job: &JobId, host: &HostId, node: Option<NodeId>) -> bool {
        let entry = self.registers.get(&Subject::Job(job.clone()));
        let Some(entry) = entry else { return false };
        let told = entry.chosen.as_ref().and_then(Val::job).map_or(&[][..], |state| &state.told);
        entry.tries.no_use.contains(host) || told.iter().any(|told| told.is_by(host, node))
    }

    /// The oldest job that waits for a further host and may have this one.
    pub(super) fn next_again(
        &mut self,
        now: Now,
        host: &HostId,
        node: Option<NodeId>,
        capabilities: &[String],
    ) -> Option<JobId> {
        loop {
            let job = self.look_again(now, host, node, capabilities)?;
            if !self.passes_over(&job) {
                return Some(job);
            }
        }
    }

    fn look_again(
        &self,
        now: Now,
        host: &HostId,
        node: Option<NodeId>,
        capabilities: &[String],
    ) -> Option<JobId> {
        let classes: Vec<_> = self.queue.again_for(capabilities).collect();
        let each = (AGAIN_AHEAD / classes.len().max(1)).max(1);
        let may = |(_, job): &&(Hlc, JobId)| self.rejects(now, job, host, node).is_none();
        let found = classes.into_iter().filter_map(|class| class.iter().take(each).find(may));
        found.min().map(|(_, job)| job.clone())
    }

    /// One of the hosts reported: the job ends if that decides, else it waits for the next one.
    pub(super) fn complete_copy(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        (subject, from): (&Subject, &Val),
        (verify, told): (Verify, Told),
        result: JobResult,
        reply: ReplyTo,
    ) {
        let Some(state) = from.job() else { return };
        let earlier = match earlier(shelf, &result.job, state) {
            Ok(earlier) => earlier,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let ok = told.said.ok;
        let told: Vec<Told> = state.told.iter().cloned().chain([told]).collect();
        let verdict = verify.judge(&told);
        let phase = match verdict {
            Agreement::Open => Phase::Queued,
            // What decides is one of those that agree.
            Agreement::Agreed(_) if ok => Phase::Succeeded,
            Agreement::Agreed(_) | Agreement::Disagree => Phase::Failed,
        };
        if phase == Phase::Queued
            && let Some(entry) = self.registers.get_mut(subject)
        {
            // The first one began in time.
            entry.tries.start_by = None;
        }
        let dissent = match verdict {
            Agreement::Agreed(said) => told.iter().filter(|told| told.said != said).count(),
            Agreement::Open | Agreement::Disagree => 0,
        };
        let result = match self.seal(JobResult { earlier, ..result }) {
            Ok(result) => result,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let state =
            JobState { phase, result: Some(result.hash()), result_of: None, told, ..state.clone() };
        if self.advance(now, subject, from, state, Some(&result), Some(reply)) {
            self.dissents += dissent as u64;
        }
    }
}

/// What a host signed of a job to be verified, if it counts. Its signature is looked at here too,
/// whoever passed the report on: of other jobs' receipts nothing follows, of these the outcome does.
pub(super) fn word(state: &JobState, report: &Completion) -> Result<Told, Refusal> {
    let refused = |why: String| Refusal::BadReceipt { job: report.job.clone(), why: why.into() };
    let raw = report.receipt.as_deref().ok_or_else(|| {
        refused("there is none, and of a job to be verified only signed runs count".to_owned())
    })?;
    let receipt = Receipt::open(raw.clone()).map_err(|error| refused(error.to_string()))?;
    let receipt = receipt.into_body();
    receipt.tells_of(report).map_err(|error| refused(error.to_string()))?;
    if state.told.iter().any(|told| told.is_by(&report.host, Some(receipt.node))) {
        return Err(refused("its key has signed a run of this job before".to_owned()));
    }
    let (host, said) = (report.host.clone(), Said::of(&receipt));
    Ok(Told { host, node: receipt.node, attempt: state.attempt, said })
}

/// The receipts of the runs before, as many as there is room for.
fn earlier(shelf: &dyn Shelf, job: &JobId, state: &JobState) -> Result<Vec<Raw>, Refusal> {
    let Some((attempt, _)) = state.named_result().filter(|_| !state.told.is_empty()) else {
        return Ok(Vec::new());
    };
    let found = shelf.result(job, attempt).map_err(|error| Refusal::Store(error.0))?;
    let Some(result) = found else { return Ok(Vec::new()) };
    let result = result.into_body();
    let mut room = MAX_EARLIER_BYTES;
    let all = result.earlier.into_iter().chain(result.receipt.map(|raw| *raw));
    let fits = |raw: &Raw| {
        let fits = raw.body.len() <= room;
        room -= if fits { raw.body.len() } else { 0 };
        fits
    };
    Ok(all.filter(fits).collect())
}
