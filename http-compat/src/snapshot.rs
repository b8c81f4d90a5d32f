//! Records of coordinators of the original (v0.1.0) as they stand in its JSON: read here with
//! suspicion, and ours written so that they can be handed to it.
//!
//! Always: a record is read by itself, so that one that is malformed, too deep or out of bounds is
//! refused alone, with a [`Reason`]; what is read is within the bounds of our own requests. What an
//! original really wrote is taken: members that it may leave out may be missing, and what it stored
//! unchecked is read as what it meant where nothing depends on it:
//!
//! | stored | read as |
//! |---|---|
//! | `maxParallel` null, missing or below 1 (it wrote what was no number as null) | 1; fractions are kept, more than we take is the most |
//! | `activeLeases` null, missing or negative | 0 |
//! | a state of an assignment that is none (`banana`) | failed, as the original counts it |
//! | `stdout`, `stderr`, `error` that are no text | their JSON as text |
//! | longer outputs and errors than we keep | their beginning |
//! | `durationMs`, `exitCode`, `finishedAt` that cannot be | left out; the time of the last change |
//! | numbers and flags as values of `env`, `replicas` null, fractional or below 1 | as Node starts them; rounded up, at least 1 |
//! | `leaseExpiresAt` that is no time | left out |
//! | kinds and members of payloads | verbatim, whatever they are |
//!
//! Refused are a job without `requirement` or `payload`, since it could run anywhere or nowhere, any
//! record without id, version or times, and what is named in [`Reason`].
//!
//! A record with the member `skyclaw` is one that we wrote ([`Exporter`]): it is ours, comes back
//! through originals, which keep records verbatim, and must never be taken for theirs.

mod body;

mod export;
mod host;
mod job;
mod members;
mod payload;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::MAX_SEEN_VERSION;
use skyclaw_protocol::{HostView, JobId, JobStatus, JobView, ServiceView};

pub use body::{Counts, Malformed, Snapshot, read, visit};
pub use export::Exporter;
pub use host::host;
pub use job::job;
pub use service::service;

use members::Members;
pub(crate) use members::time;

/// Longest body, in bytes: the original sends all it has with each write, which at this size it
/// could not keep up for long.
pub const MAX_SNAPSHOT_BYTES: usize = 64 << 20;

/// Most records in a body: whole ones have some 200 bytes at least, so that many do not fit.
pub const MAX_SNAPSHOT_RECORDS: usize = 400_000;

/// Largest version that is believed. Counters go on from the largest one seen; one at the end of the
/// exact numbers would stand still there (F21), and half of them nobody counts through.
pub const MAX_FOREIGN_VERSION: u64 = MAX_SEEN_VERSION;

/// How far ahead of ours a time may be, in milliseconds: clocks of machines nobody looks after are
/// hours off, not days; beyond it a record would win ties and be kept for ever.
const MAX_AHEAD_MS: u64 = 86_400_000;

/// Longest name of a coordinator, in bytes: it stands in every record it touched.
const MAX_NODE_NAME: usize = 256;

/// The member that marks what we wrote.
const MARK: &str = "skyclaw";

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A host.
    Host,
    /// A job.
    Job,
    /// A service.
    Service,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::Job, Self::Service];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Job => "job",
            Self::Service => "service",
        }
    }
}

/// One record of an original, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign<'a, V> {
    /// What it says. Members that only our records have are absent or 0.
    pub view: V,
    /// Its JSON as it stood there.
    pub raw: &'a str,
    /// The network whose coordinator wrote it; none if it is an original's own.
    pub exported: Option<String>,
}

/// A host as an original knows it.
pub type ForeignHost<'a> = Foreign<'a, HostView>;
/// A job as an original knows it; its creation has the counter 0.
pub type ForeignJob<'a> = Foreign<'a, JobView>;
/// A service as an original knows it.
pub type ForeignService<'a> = Foreign<'a, ServiceView>;

/// By what records of one id replace each other: the larger one wins, of equal ones the one that is
/// held. It is the original's order, but what has ended stays ended (F42).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Whether it is a job that has ended.
    pub ended: bool,
    /// The counter of the coordinator that wrote it.
    pub version: u64,
    /// When it changed last; hosts say nothing of it.
    pub updated: Wall,
    /// Who changed it last.
    pub updated_by: String,
}

impl Foreign<'_, HostView> {
    /// Its place among records of its id.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let HostView { version, updated_by, .. } = &self.view;
        let updated_by = updated_by.clone();
        Standing { ended: false, version: *version, updated: Wall(0), updated_by }
    }
}

impl Foreign<'_, JobView> {
    /// Its place among records of its id.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let JobView { status, version, updated, updated_by, .. } = &self.view;
        let ended = has_ended(*status);
        Standing { ended, version: *version, updated: *updated, updated_by: updated_by.clone() }
    }
}

impl Foreign<'_, ServiceView> {
    /// Its place among records of its id.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let ServiceView { version, updated, updated_by, .. } = &self.view;
        let updated_by = updated_by.clone();
        Standing { ended: false, version: *version, updated: *updated, updated_by }
    }
}

const fn has_ended(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::Failed)
}

/// What a record says of itself, without a look at the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its id.
    pub id: String,
    /// Its place among records of its id.
    pub standing: Standing,
    /// As in [`Foreign`].
    pub exported: Option<String>,
}

/// Reads the stamp of a record.
///
/// # Errors
/// [`Refused`] if it has none that can be.
pub fn stamp(kind: Kind, raw: &str) -> Result<Stamp, Refused> {
    const KNOWN: &[&str] = &["id", "version", "updatedAt", "updatedBy", "status", MARK];
    let read = |record: &Members<'_>| {
        let updated = match kind {
            Kind::Host => Wall(0),
            // The end of time is for others to look at.
            Kind::Job | Kind::Service => record.time("updatedAt", Wall(u64::MAX))?,
        };
        let ended = kind == Kind::Job
            && record
                .text("status", MAX_NODE_NAME)?
                .and_then(|word| JobStatus::parse(&word))
                .is_some_and(has_ended);
        Ok(Stamp {
            id: record.id::<JobId>()?.into(),
            standing: Standing {
                ended,
                version: record.version()?,
                updated,
                updated_by: record.node("updatedBy")?,
            },
            exported: record.exported(),
        })
    };
    members::record(kind, raw, KNOWN, read)
}

/// Why a record was refused. Nothing was taken from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// What it is of.
    pub kind: Kind,
    /// Its id, if it has one that can be shown.
    pub id: Option<String>,
    /// Why, for counting.
    pub reason: Reason,
    /// Why, in words.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = (self.kind.as_str(), &self.text);
        match &self.id {
            Some(id) => write!(f, "{kind} {id}: {text}"),
            None => write!(f, "a {kind} without a usable id: {text}"),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The kinds of reasons for which records are refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word for it in metrics and reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// It is no object.
    Malformed = "malformed",
    /// A member is missing.
    Missing = "missing",
    /// A member is of another type.
    WrongType = "wrong_type",
    /// An id is none.
    Id = "bad_id",
    /// Its version is no whole number, negative, or beyond [`MAX_FOREIGN_VERSION`].
    Version = "bad_version",
    /// A time is none, or before 1970.
    Time = "bad_time",
    /// A time is more than a day ahead of our clock: it may be fine tomorrow.
    Ahead = "ahead",
    /// Its state is none.
    Status = "bad_status",
    /// A number is out of bounds.
    Number = "bad_number",
    /// It or a part of it is too large.
    TooLarge = "too_large",
    /// It is nested too deeply.
    TooDeep = "too_deep",
}
