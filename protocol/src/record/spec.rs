//! What a register is about and who votes on it. Written once, by the home that took the request.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::id::{Hash, JobId, NodeId, ServiceId};
use crate::limits::{
    MAX_ATTEMPTS, MAX_BODY_BYTES, MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_RETRY,
    MAX_TEXT_BYTES, MAX_TIMEOUT_MS, MAX_VOTERS,
};
use crate::record::{Record, Reject};
use crate::verify::Verify;

/// The thing whose history a register keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A job.
    Job(JobId),
    /// A service.
    Service(ServiceId),
}

/// The key of a register: a caller cannot choose it, since it holds the hash of the signed spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterKey {
    /// What it is about.
    pub subject: Subject,
    /// Hash of the spec's signed bytes.
    pub spec: Hash,
}

/// The signed, immutable head of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What the register is about.
    pub subject: Subject,
    /// The coordinator that took the request; owner of ballot round 0; signs this.
    pub home: NodeId,
    /// Who votes, home among them; distinct.
    pub voters: Vec<NodeId>,
    /// Votes that choose a value; `2 * quorum > voters.len()`.
    pub quorum: u8,
    /// When the request was taken.
    pub created: Hlc,
    /// From when on no voter accepts anything.
    pub expires_at: Wall,
    /// The job itself; a service's definition stands in its register, since it changes.
    pub job: Option<JobSpec>,
    /// The caller's key, for a job that must exist once. Left out where there is none, which is how
    /// earlier specs read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// Whose a service is. Left out where it is nobody's in particular, which is how earlier specs
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// The idempotency key under which a job was submitted: of the registers with one scope, voters
/// accept one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Hash over route, principal and key.
    pub scope: Hash,
    /// Hash over the request.
    pub fingerprint: Hash,
}

/// A job as submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// JSON text, verbatim.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Capabilities a host must have; sorted, unique.
    pub required: Vec<String>,
    /// Who submitted it.
    pub submitted_by: Option<String>,
    /// Bound on lost attempts.
    pub max_attempts: Option<u32>,
    /// Longest run the submitter allows, in milliseconds, if it said so.
    pub timeout_ms: Option<u64>,
    /// Further runs after failed ones. Left out where the submitter said nothing, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u32>,
    /// Longest wait for the first host, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout_ms: Option<u64>,
    /// A coordinator of the original had taken it: it was promised already, so it is never given
    /// up. Left out where that is not so, which is how earlier specs read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// A run of it is not repeated blindly: once it was granted, a lease that runs out ends it. Left
    /// out where that is not so, which is how earlier specs read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// It runs on several hosts, of which enough must say the same. Left out where that is not so,
    /// which is how earlier specs read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

impl Record for Spec {
    const KIND: &'static str = "spec";
    // The body limit of the API, and room for everything but the payload.
    const MAX_BYTES: usize = MAX_BODY_BYTES + (64 << 10);

    fn stamp(&self) -> Hlc {
        self.created
    }

    fn check(&self, signer: NodeId) -> Result<(), Reject> {
        let fail = |why| Err(Reject::Invalid(why));
        if signer != self.home {
            return fail("a spec is signed by its home");
        }
        if self.voters.len() > MAX_VOTERS || !self.voters.contains(&self.home) {
            return fail("voters are at most 8 and include the home");
        }
        let mut distinct = self.voters.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != self.voters.len() {
            return fail("voters are distinct");
        }
        let quorum = usize::from(self.quorum);
        if quorum > self.voters.len() || 2 * quorum <= self.voters.len() {
            return fail("any two quorums must meet");
        }
        if self.expires_at <= self.created.wall() {
            return fail("a register expires after it was made");
        }
        if self.mark.is_some() && self.job.is_none() {
            return fail("only a job is marked with a key");
        }
        let long = |owner: &String| owner.len() > MAX_TEXT_BYTES;
        if self.owner.as_ref().is_some_and(|owner| self.job.is_some() || long(owner)) {
            return fail("only a service has an owner, whose name is bounded");
        }
        match (&self.subject, &self.job) {
            (Subject::Job(_), Some(job)) => job.check(),
            (Subject::Service(_), None) => Ok(()),
            _ => fail("a job's spec holds the job, a service's none"),
        }
    }
}

impl JobSpec {
    fn check(&self) -> Result<(), Reject> {
        if !capabilities_hold(&self.required) {
            return Err(Reject::Invalid("capabilities are bounded, sorted and unique"));
        }
        if self.submitted_by.as_ref().is_some_and(|who| who.len() > MAX_TEXT_BYTES) {
            return Err(Reject::Invalid("submitter is too long"));
        }
        if self.max_attempts.is_some_and(|n| n == 0 || n > MAX_ATTEMPTS) {
            return Err(Reject::Invalid("maxAttempts is out of range"));
        }
        if self.timeout_ms.is_some_and(|ms| ms > MAX_TIMEOUT_MS) {
            return Err(Reject::Invalid("timeoutMs is out of range"));
        }
        if self.retry.is_some_and(|n| n > MAX_RETRY) {
            return Err(Reject::Invalid("retry is out of range"));
        }
        if let Some(verify) = self.verify {
            if !verify.holds() {
                return Err(Reject::Invalid("verify is out of range"));
            }
            // Runs of it are repeated, by rules of their own.
            if self.once || self.retry.is_some() {
                return Err(Reject::Invalid("verify goes with neither retry nor once"));
            }
        }
        if self.queue_timeout_ms.is_some_and(|ms| ms == 0 || ms > MAX_TIMEOUT_MS) {
            return Err(Reject::Invalid("queueTimeoutMs is out of range"));
        }
        Ok(())
    }
}

/// The order of capability lists: by UTF-16 code unit, as the original sorted them.
#[must_use]
pub fn capability_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// True if the list is within bounds, sorted by code unit and free of repeats.
pub(crate) fn capabilities_hold(list: &[String]) -> bool {
    list.len() <= MAX_CAPABILITIES
        && list.iter().all(|c| !c.is_empty() && c.len() <= MAX_CAPABILITY_BYTES)
        && list.windows(2).all(|pair| capability_order(&pair[0], &pair[1]).is_lt())
}
