//! A whole body: a snapshot that is pushed, or the answer to `GET /v1/state`.
//!
//! Always: nothing of a body is handed on before all of it was seen to be JSON of this shape; its
//! records are told apart without a look into them, however deep they are.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use skyclaw_protocol::clock::Wall;

use super::{
    ForeignHost, ForeignJob, ForeignService, Kind, MAX_SNAPSHOT_BYTES, MAX_SNAPSHOT_RECORDS,
    Reason, Refused, host, job, service,
};
use crate::text::trim;

/// Refused records whose words are kept; all of them are counted.
const TOLD: usize = 100;

/// Why a body is none. Nothing was taken from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is longer than [`MAX_SNAPSHOT_BYTES`].
    #[error("a snapshot must not be larger than {MAX_SNAPSHOT_BYTES} bytes")]
    TooLarge,
    /// It has more records than [`MAX_SNAPSHOT_RECORDS`].
    #[error("a snapshot must not hold more than {MAX_SNAPSHOT_RECORDS} records")]
    TooMany,
    /// It is no text.
    #[error("the body is not UTF-8: {0}")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// It is no JSON of this shape.
    #[error("the body is no snapshot: {0}")]
    BadJson(String),
}

/// Records that were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Reason::ALL.len()]);

impl Counts {
    /// Counts one more.
    pub const fn add(&mut self, reason: Reason) {
        let slot = &mut self.0[reason as usize];
        *slot = slot.saturating_add(1);
    }

    /// How many for this reason.
    #[must_use]
    pub const fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A body that was read whole.
#[derive(Clone, Debug, Default)]
pub struct Snapshot<'a> {
    /// Whose it is, if it says so.
    pub node_id: Option<String>,
    /// The hosts that can be, as often as they stand there.
    pub hosts: Vec<ForeignHost<'a>>,
    /// The jobs, likewise.
    pub jobs: Vec<ForeignJob<'a>>,
    /// The services, likewise.
    pub services: Vec<ForeignService<'a>>,
    /// The first of those that were refused.
    pub refused: Vec<Refused>,
    /// All that were refused.
    pub counts: Counts,
}

/// Reads a body whole. An empty one is a snapshot of nothing.
///
/// # Errors
/// [`Malformed`]; records that cannot be are no error.
pub fn read(body: &[u8], now: Wall) -> Result<Snapshot<'_>, Malformed> {
    let mut snapshot = Snapshot::default();
    snapshot.node_id = visit(body, |kind, raw| {
        let refused = match kind {
            Kind::Host => host(raw, now).map(|host| snapshot.hosts.push(host)),
            Kind::Job => job(raw, now).map(|job| snapshot.jobs.push(job)),
            Kind::Service => service(raw, now).map(|service| snapshot.services.push(service)),
        };
        if let Err(refused) = refused {
            snapshot.counts.add(refused.reason);
            if snapshot.refused.len() < TOLD {
                snapshot.refused.push(refused);
            }
        }
    })?;
    Ok(snapshot)
}

/// Hands on each record of a body as it stands there, in its order, once the whole is known to be
/// one; says whose it is, if it does.
///
/// # Errors
/// [`Malformed`]; nothing was handed on then.
pub fn visit<'a>(
    body: &'a [u8],
    mut each: impl FnMut(Kind, &'a str),
) -> Result<Option<String>, Malformed> {
    if body.len() > MAX_SNAPSHOT_BYTES {
        return Err(Malformed::TooLarge);
    }
    let text = trim(std::str::from_utf8(body)?);
    if text.is_empty() {
        return Ok(None);
    }
    let mut parts = Parts::default();
    let mut from = serde_json::Deserializer::from_str(text);
    let read = from.deserialize_map(Whole(&mut parts)).and_then(|()| from.end());
    match read {
        Err(_) if parts.records.len() > MAX_SNAPSHOT_RECORDS => Err(Malformed::TooMany),
        Err(error) => Err(Malformed::BadJson(error.to_string())),
        Ok(()) => {
            parts.records.into_iter().for_each(|(kind, raw)| each(kind, raw));
            Ok(parts.node_id)
        }
    }
}

#[derive(Default)]
struct Parts<'a> {
    node_id: Option<String>,
    records: Vec<(Kind, &'a str)>,
}

struct Whole<'p, 'a>(&'p mut Parts<'a>);

impl<'de> Visitor<'de> for Whole<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with hosts, jobs and services")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let kind = match name.as_str() {
                "hosts" => Kind::Host,
                "jobs" => Kind::Job,
                "services" => Kind::Service,
                "nodeId" => {
                    let raw = map.next_value::<&RawValue>()?;
                    self.0.node_id = serde_json::from_str(raw.get()).ok();
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Records { kind, into: &mut self.0.records })?;
        }
        Ok(())
    }
}

struct Records<'p, 'a> {
    kind: Kind,
    into: &'p mut Vec<(Kind, &'a str)>,
}

impl<'de> DeserializeSeed<'de> for Records<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}s", self.kind.as_str())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            self.into.push((self.kind, raw.get()));
            if self.into.len() > MAX_SNAPSHOT_RECORDS {
                return Err(A::Error::custom("too many records"));
            }
        }
        Ok(())
    }
}
