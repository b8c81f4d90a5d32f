//! A record as it lies in the file.

use redb::{ReadOnlyTable, TableDefinition};
use serde::{Deserialize, Serialize};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{JobStatus, codec};

use super::opened;
use crate::error::Fault;
use crate::tables::Sealed;

/// Key: see [`key_of`]. Value: sealed [`Stored`].
pub(crate) const ROWS: Sealed = TableDefinition::new("originals-1");

pub(super) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A host.
    Host,
    /// A job.
    Job,
    /// A service.
    Service,
}

impl Class {
    /// First byte of the keys.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Host => b'h',
            Self::Job => b'j',
            Self::Service => b's',
        }
    }

    pub(super) const fn parse(code: u8) -> Option<Self> {
        match code {
            b'h' => Some(Self::Host),
            b'j' => Some(Self::Job),
            b's' => Some(Self::Service),
            _ => None,
        }
    }
}

/// A record, and what of it decides whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is of.
    pub class: Class,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Wall,
    /// When it changed last; 0 for hosts, which do not say.
    pub updated: Wall,
    /// Its version.
    pub version: u64,
    /// The coordinator that changed it last.
    pub updated_by: String,
    /// How a job stands.
    pub status: Option<JobStatus>,
    /// What a host must be able to do to run a job.
    pub required: Vec<String>,
    /// Its JSON.
    pub raw: Vec<u8>,
}

/// By what records of one id replace each other; the larger one is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Whether it is a job that has ended.
    pub ended: bool,
    /// See [`Held::version`].
    pub version: u64,
    /// See [`Held::updated`].
    pub updated: Wall,
    /// See [`Held::updated_by`].
    pub by: String,
}

impl Held {
    /// Its place among records of its id.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let ended = self.status.is_some_and(has_ended);
        let (version, updated) = (self.version, self.updated);
        Standing { ended, version, updated, by: self.updated_by.clone() }
    }

    pub(super) fn mark(&self) -> Mark {
        mark(self.class, &self.raw)
    }

    pub(super) fn is_over(&self, now: Wall, retention_ms: u64) -> bool {
        is_over(self.status, self.updated, now, retention_ms)
    }
}

pub(super) const fn has_ended(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::Failed)
}

/// Whether a job ended so long ago that it is not kept.
pub(super) fn is_over(
    status: Option<JobStatus>,
    updated: Wall,
    now: Wall,
    retention_ms: u64,
) -> bool {
    status.is_some_and(has_ended) && updated.plus_ms(retention_ms) < now
}

/// Names the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark([u8; 16]);

/// The mark of a record of this class.
#[must_use]
pub fn mark(class: Class, raw: &[u8]) -> Mark {
    let mut hash = blake3::Hasher::new();
    hash.update(&[class.code()]);
    hash.update(raw);
    let mut mark = [0; 16];
    mark.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    Mark(mark)
}

/// The key of a record: its class, then the text of its id.
pub(super) fn key_of(class: Class, id: &str) -> Vec<u8> {
    [&[class.code()], id.as_bytes()].concat()
}

/// All keys of a class.
pub(super) fn range_of(class: Class) -> std::ops::Range<&'static [u8]> {
    match class {
        Class::Host => b"h"..b"i",
        Class::Job => b"j"..b"k",
        Class::Service => b"s"..b"t",
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    created: Wall,
    updated: Wall,
    version: u64,
    updated_by: String,
    /// 0 for none; never changes its meaning.
    status: u8,
    required: Vec<String>,
    #[serde(with = "serde_bytes")]
    raw: Vec<u8>,
}

const STATUSES: [JobStatus; 4] =
    [JobStatus::Queued, JobStatus::Leased, JobStatus::Completed, JobStatus::Failed];

pub(super) fn encode(held: &Held) -> Vec<u8> {
    let status = held.status.and_then(|status| STATUSES.iter().position(|known| *known == status));
    codec::encode(&Stored {
        created: held.created,
        updated: held.updated,
        version: held.version,
        updated_by: held.updated_by.clone(),
        status: status.map_or(0, |at| at as u8 + 1),
        required: held.required.clone(),
        raw: held.raw.clone(),
    })
}

/// The record under a key; `None` if it does not check out.
pub(super) fn decode(key: &[u8], stored: &[u8]) -> Option<Held> {
    let (code, id) = key.split_first()?;
    let class = Class::parse(*code)?;
    let id = std::str::from_utf8(id).ok()?.to_owned();
    let value = opened(&ROWS, key, stored)?;
    let stored: Stored = codec::decode(value, value.len()).ok()?;
    let status = match stored.status {
        0 => None,
        code => Some(*STATUSES.get(usize::from(code) - 1)?),
    };
    Some(Held {
        class,
        id,
        created: stored.created,
        updated: stored.updated,
        version: stored.version,
        updated_by: stored.updated_by,
        status,
        required: stored.required,
        raw: stored.raw,
    })
}

pub(super) fn get(table: &Rows, key: &[u8]) -> Result<Option<Held>, Fault> {
    let stored = table.get(key)?;
    Ok(stored.and_then(|stored| decode(key, stored.value())))
}
