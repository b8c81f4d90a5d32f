//! The values a register holds. `ver` rises by one with each write of its owner.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::codec;
use crate::egress::NetworkAsk;
use crate::id::{Hash, HostId};
use crate::limits::{
    MAX_COPIES, MAX_PAST_GENERATIONS, MAX_REPLICAS, MAX_SERVICE_STATE_BYTES, MAX_TEXT_BYTES,
    MAX_VERSION,
};
use crate::record::Reject;
use crate::verify::Told;
use crate::view::{Assignment, Generation, Reverted, ServiceDef, ServiceStatus};

/// One value of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Val {
    /// 0 for the first value.
    pub ver: u64,
    /// When it was proposed.
    pub at: Hlc,
    /// Display name of the coordinator that took the request.
    pub by: String,
    /// That coordinator's counter over all records: what HTTP shows as `version`.
    pub display_version: u64,
    /// The content.
    pub state: State,
}

/// What the register is about decides which of the two it holds, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Of a job.
    Job(JobState),
    /// Of a service; boxed, since nearly all values are of jobs.
    Service(Box<ServiceState>),
}

/// ```text
///            claim                     report
///   Queued ---------> Leased ------------------> Done
///     ^  \               |  \
///     |   \   lease ran  |   \  lease ran out, too many lost
///     |    \  out, or    |    +----------------> Exhausted
///     +-----\ run failed +
///           \            |
///            +-----------+--- cancel ----------> Cancelled
///   version 0 that missed its quorum ----------> Aborted
///   Queued or Leased, its time is over ---------> Expired
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waits for a host.
    Queued,
    /// A host holds the lease of `attempt`.
    Leased,
    /// A result was accepted and it was a success.
    Succeeded,
    /// A result was accepted and it was a failure.
    Failed,
    /// Ended by a user.
    Cancelled,
    /// Lost with its hosts too often.
    Exhausted,
    /// The submission was answered 503.
    Aborted,
    /// Its time was over before a host took it, or before its run ended.
    Expired,
}

impl Phase {
    /// True for the phases nothing leads out of.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Leased)
    }
}

/// A job's part of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobState {
    /// Where it stands.
    pub phase: Phase,
    /// Leases granted so far: the fencing token of the current one.
    pub attempt: u32,
    /// Attempts lost with their host or lease.
    pub lost: u32,
    /// Runs that failed and were followed by another one. Left out while there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
    /// Who holds, or after the end held, the lease.
    pub host: Option<HostId>,
    /// Length of the lease, in milliseconds: every node uses this number.
    pub lease_ms: u64,
    /// Extra wait before the owner takes the lease back, in milliseconds; 0 for HTTP hosts.
    pub guard_ms: u64,
    /// When the lease ends as first granted, for display and for HTTP hosts over a restart.
    pub lease_expires: Wall,
    /// Hash of the result that was accepted last.
    pub result: Option<Hash>,
    /// The attempt it is of, where that is not the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_of: Option<u32>,
    /// Of a job that several hosts run to be verified, what each of them told so far. Left out while
    /// there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
}

const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl JobState {
    /// Whether this attempt has ended: an attempt that has does not begin again.
    #[must_use]
    pub const fn is_over(&self, attempt: u32) -> bool {
        self.phase.is_terminal() || self.attempt > attempt
    }

    /// A job that was just taken.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: Phase::Queued,
            attempt: 0,
            lost: 0,
            failed: 0,
            host: None,
            lease_ms: 0,
            guard_ms: 0,
            lease_expires: Wall(0),
            result: None,
            result_of: None,
            told: Vec::new(),
        }
    }

    /// True as long as it is as it was taken.
    #[must_use]
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::new()
    }

    /// The result that this value names: of which attempt, and its hash. What names it may be
    /// accepted only where it is held.
    #[must_use]
    pub fn named_result(&self) -> Option<(u32, Hash)> {
        self.result.map(|hash| (self.result_of.unwrap_or(self.attempt), hash))
    }

    /// True if the last attempt has reported: nothing more of it counts.
    #[must_use]
    pub const fn has_reported(&self) -> bool {
        self.result.is_some() && self.result_of.is_none()
    }
}

impl Default for JobState {
    fn default() -> Self {
        Self::new()
    }
}

/// A service's part of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceState {
    /// What it runs.
    pub def: ServiceDef,
    /// Rises with each deployment under the same id.
    pub generation: u64,
    /// When this generation was deployed.
    pub deployed: Hlc,
    /// Who runs it.
    pub assignments: Vec<Assignment>,
    /// Removed for good.
    pub deleted: bool,
    /// The highest epoch given to an instance so far.
    #[serde(default)]
    pub epochs: u64,
    /// The highest generation so far: that of a deployment taken back is not used again.
    #[serde(default)]
    pub generations: u64,
    /// Earlier deployments, while instances of them are still needed; the oldest first. At most
    /// [`MAX_PAST_GENERATIONS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Generation>,
    /// The last deployment that was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<Reverted>,
}

impl ServiceState {
    /// A service that was just deployed for the first time.
    #[must_use]
    pub const fn first(def: ServiceDef, deployed: Hlc) -> Self {
        Self {
            def,
            generation: 1,
            deployed,
            assignments: Vec::new(),
            deleted: false,
            epochs: 0,
            generations: 1,
            past: Vec::new(),
            reverted: None,
        }
    }

    /// Whether it can be written: every value that is chosen is signed, in a record of bounded length.
    #[must_use]
    pub(crate) fn fits(&self) -> bool {
        codec::encode(self).len() <= MAX_SERVICE_STATE_BYTES
    }

    /// What instances of that generation run; `None` if none of it are needed any more.
    #[must_use]
    pub fn def_of(&self, generation: u64) -> Option<&ServiceDef> {
        if generation == self.generation {
            return Some(&self.def);
        }
        self.past.iter().find(|past| past.number == generation).map(|past| &past.def)
    }

    /// Any running: running. Else any pending or none: pending. Else failed.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        let any = |status| self.assignments.iter().any(|a| a.status == status);
        if any(ServiceStatus::Running) {
            ServiceStatus::Running
        } else if self.assignments.is_empty() || any(ServiceStatus::Pending) {
            ServiceStatus::Pending
        } else {
            ServiceStatus::Failed
        }
    }
}

impl Val {
    /// The job's part, `None` for a service.
    #[must_use]
    pub const fn job(&self) -> Option<&JobState> {
        match &self.state {
            State::Job(job) => Some(job),
            State::Service(_) => None,
        }
    }

    /// The service's part, `None` for a job.
    #[must_use]
    pub const fn service(&self) -> Option<&ServiceState> {
        match &self.state {
            State::Service(service) => Some(service),
            State::Job(_) => None,
        }
    }

    /// True if nothing may follow.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        match &self.state {
            State::Job(job) => job.phase.is_terminal(),
            State::Service(service) => service.deleted,
        }
    }

    /// True if it says that the job was never taken.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.job().is_some_and(|job| job.phase == Phase::Aborted)
    }

    /// Checks the bounds of a value from elsewhere.
    pub(crate) fn check(&self) -> Result<(), Reject> {
        let fail = |why| Err(Reject::Invalid(why));
        if self.by.len() > MAX_TEXT_BYTES {
            return fail("name of the coordinator is too long");
        }
        if self.display_version > MAX_VERSION || self.ver > MAX_VERSION {
            return fail("version is out of range");
        }
        if let State::Job(job) = &self.state {
            let told = &job.told;
            let again =
                |at: usize| told[..at].iter().any(|t| t.is_by(&told[at].host, Some(told[at].node)));
            if told.len() > usize::from(MAX_COPIES) || (0..told.len()).any(again) {
                return fail("more hosts told of a job than may, or one of them twice");
            }
        }
        if let State::Service(service) = &self.state {
            if service.assignments.len() > 2 * MAX_REPLICAS as usize {
                return fail("too many replicas");
            }
            let long = |text: &Option<String>| {
                text.as_ref().is_some_and(|text| text.len() > MAX_TEXT_BYTES)
            };
            if service.assignments.iter().any(|part| long(&part.error) || long(&part.endpoint)) {
                return fail("what an instance says is too long");
            }
            if service.past.len() > MAX_PAST_GENERATIONS {
                return fail("too many earlier deployments");
            }
            let past = service.past.iter().map(|past| &past.def);
            if let Some(fault) = past.chain([&service.def]).find_map(ServiceDef::fault) {
                return fail(fault);
            }
            if !service.fits() {
                return fail("it is too long");
            }
        }
        Ok(())
    }
}

impl ServiceDef {
    /// Bytes of all its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let env = self.env.iter().flatten().map(|(k, v)| k.len() + v.len());
        self.name.len()
            + self.command.len()
            + self.cwd.as_ref().map_or(0, String::len)
            + self.args.iter().chain(&self.required).map(String::len).sum::<usize>()
            + env.sum::<usize>()
            + self.network.as_ref().map_or(0, NetworkAsk::bytes)
    }
}
