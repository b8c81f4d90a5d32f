//! What becomes of the records of an original.

use skyclaw_protocol::{JobId, Refusal};

use crate::import::RefusedRecord;

/// A number for each kind of record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hosts.
    pub hosts: u64,
    /// Jobs.
    pub jobs: u64,
    /// Services.
    pub services: u64,
    /// Remembered answers of idempotency keys.
    pub keys: u64,
}

/// What became of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New, and ours now; in a dry run: would be.
    pub taken: Tally,
    /// Known before, and left as they are.
    pub known: Tally,
    /// Too old to be kept here.
    pub old: Tally,
    /// Left to the original, which still runs.
    pub left: Tally,
    /// Jobs whose leases have not run out, and for how many milliseconds: they are taken when they
    /// come again after that, unless their hosts report them here before.
    pub waiting: Vec<(JobId, u64)>,
    /// What cannot be taken.
    pub refused: Vec<RefusedRecord>,
}

/// Why a page was not taken. A part of it may have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportRefusal {
    /// It is no page.
    #[error("{0}")]
    Malformed(String),
    /// The node takes nothing now.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
