//! Why a command was not carried out.
//!
//! Always: a refusal says what happened to the state, and what to do where something can be done.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, ServiceId};

/// Why a command was not carried out. Unless a variant says otherwise nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// No host of that id is known: register first.
    #[error("unknown host: {0}")]
    UnknownHost(String),
    /// A host of that id is attached by another node, which alone speaks for it.
    #[error("host {0} belongs to another node: choose another SKYCLAW_HOST_ID")]
    HostTaken(String),
    /// The capability of the node that asks lacks a role.
    #[error("this node's capability has not the role {role}: ask for a ticket with it")]
    RoleMissing {
        /// Which.
        role: Cow<'static, str>,
    },
    /// No job of that id is known.
    #[error("unknown job: {0}")]
    UnknownJob(String),
    /// No service of that id is known.
    #[error("unknown service: {0}")]
    UnknownService(String),
    /// No principal has that id, and none that counts that name.
    #[error("unknown principal: {0}")]
    UnknownPrincipal(String),
    /// A principal of that name counts: revoke it first, or choose another name.
    #[error("a principal named {0} exists: revoke it first, or choose another name")]
    PrincipalExists(String),
    /// The job's lease is another host's, or nobody's.
    #[error("job {job} is assigned to {holder}")]
    AssignedElsewhere {
        /// Which job.
        job: JobId,
        /// The host's id, or `nobody`.
        holder: String,
    },
    /// The job is queued or has ended.
    #[error("job {0} is not leased")]
    NotLeased(JobId),
    /// The job has ended; it cannot be cancelled.
    #[error("job {job} has already ended as {status}")]
    AlreadyEnded {
        /// Which job.
        job: JobId,
        /// How.
        status: Cow<'static, str>,
    },
    /// The service has no assignment for that host.
    #[error("service {service} is not assigned to host {host}")]
    NotAssigned {
        /// Which service.
        service: ServiceId,
        /// Which host.
        host: String,
    },
    /// The service is another principal's, or nobody's in particular.
    #[error("service {0} belongs to somebody else: choose another name")]
    NotOwner(ServiceId),
    /// A variable is to keep its value, and has none.
    #[error(
        "env.{0} is *** and has no value to keep: that only stands for one that is there; send its \
         value"
    )]
    NothingToKeep(String),
    /// A principal has or does as much as it may; nothing was done.
    #[error("{what}")]
    OverQuota {
        /// Which bound it is.
        what: String,
        /// When to try again, in seconds.
        retry_s: u32,
    },
    /// The key was used with another request.
    #[error("idempotency key reuse conflict for route {route}")]
    KeyReuse {
        /// The route.
        route: String,
    },
    /// Too few coordinators are known.
    #[error("insufficient peers: requires at least {need} known peers, got {got}")]
    InsufficientPeers {
        /// Acks needed from others.
        need: usize,
        /// Coordinators known.
        got: usize,
    },
    /// Too few voters acknowledged in time. The write was given up; `job` may name a job that
    /// a later takeover still finds.
    #[error("replication target not met: required {need} peer acks, got {got}")]
    TargetNotMet {
        /// Acks needed from others.
        need: usize,
        /// Acks that came.
        got: usize,
        /// The job the refused submission had named, for `x-skyclaw-job-id`.
        job: Option<JobId>,
    },
    /// The disk is nearly full: nothing new is taken, what is held goes on.
    #[error("{0}")]
    LowSpace(String),
    /// This node's clock is wrong, by that of the others or by itself: nothing new is taken.
    #[error("{0}")]
    Clock(String),
    /// The store cannot be used now; the node is trying to reopen it.
    #[error("{0}")]
    Store(String),
    /// Too much is waiting here; try again soon.
    #[error("busy: {0}")]
    Busy(Cow<'static, str>),
    /// A bound of this node is reached.
    #[error("this node holds its most of {what} ({limit})")]
    Full {
        /// Of what.
        what: Cow<'static, str>,
        /// How many.
        limit: usize,
    },
    /// A report came with a receipt that is not this host's word of this run.
    #[error("the receipt of job {job} is refused: {why}")]
    BadReceipt {
        /// Which job.
        job: JobId,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// A part of the request is larger than a record may be.
    #[error("{0}")]
    TooLarge(Cow<'static, str>),
    /// The coordinator that leads the record did not answer. Whether the command was carried out
    /// is not known; it may be asked again.
    #[error("{what} is led by a coordinator that does not answer now; try again")]
    HomeAway {
        /// Of which record.
        what: String,
        /// The job, for `x-skyclaw-job-id`.
        job: Option<JobId>,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl Refusal {
    /// Those who keep or lead this job do not answer.
    #[must_use]
    pub fn job_away(job: &JobId) -> Self {
        Self::HomeAway { what: format!("job {job}"), job: Some(job.clone()) }
    }
}
