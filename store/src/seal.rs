//! The seal of stored values: what is read is what was written under that key, or it is refused.
//!
//! A stored value is 8 bytes of checksum over (table, key, value), then the value. redb checks its
//! pages only when it repairs, so a bit that fell over on disk would otherwise become a promise
//! that was never made. A checksum is no signature: it guards against accidents.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableTable, TableHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyclaw_protocol::codec;
use skyclaw_protocol::record::{Raw, Record, Signed};
use skyclaw_protocol::retention::{Stub, StubRaw};

use crate::error::Fault;
use crate::tables::{NAMES, SEALED, STUBS, Sealed, position};

/// Bytes of checksum before each value.
const SUM: usize = 8;

/// Keys remembered as logged. Beyond it refusals are counted only: a disk that is falling apart
/// must not fill the log.
const LOGGED_KEYS: usize = 256;

fn sum(table: &str, key: &[u8], value: &[u8]) -> [u8; SUM] {
    let mut hash = blake3::Hasher::new_keyed(b"skyclaw/1 seal of a stored value");
    for part in [table.as_bytes(), key] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(value);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash.finalize().as_bytes()[..SUM]);
    sum
}

/// The bytes to store for `value` under `key`.
pub(crate) fn seal<T: Serialize>(table: &Sealed, key: &[u8], value: &T) -> Vec<u8> {
    seal_bytes(table, key, &codec::encode(value))
}

pub(crate) fn seal_bytes(table: &Sealed, key: &[u8], value: &[u8]) -> Vec<u8> {
    [&sum(table.name(), key, value)[..], value].concat()
}

/// The value that was stored under `key`, `None` if its checksum does not hold.
pub(crate) fn opened<'s>(table: &Sealed, key: &[u8], stored: &'s [u8]) -> Option<&'s [u8]> {
    let (seal, value) = stored.split_first_chunk::<SUM>()?;
    (*seal == sum(table.name(), key, value)).then_some(value)
}

/// What stood under a key.
#[derive(Debug)]
pub(crate) enum Found<T> {
    Nothing,
    /// Counted and logged; to be treated as absent.
    Refused,
    This(T),
}

impl<T> Found<T> {
    pub(crate) fn ok(self) -> Option<T> {
        match self {
            Self::This(value) => Some(value),
            Self::Nothing | Self::Refused => None,
        }
    }
}

/// Counts what was refused since the file was opened.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [AtomicU64; SEALED.len()],
    logged: Mutex<HashSet<Vec<u8>>>,
}

impl Refusals {
    /// Reads a value that is its own CBOR.
    pub(crate) fn value<T: Serialize + DeserializeOwned>(
        &self,
        table: &Sealed,
        key: &[u8],
        stored: &[u8],
    ) -> Found<T> {
        let read = |bytes: &[u8]| codec::decode(bytes, bytes.len()).map_err(|e| e.to_string());
        self.unseal(table, key, stored, read)
    }

    /// Reads a signed record, which this node had checked before it stored it.
    pub(crate) fn signed<T: Record>(
        &self,
        table: &Sealed,
        key: &[u8],
        stored: &[u8],
    ) -> Found<Signed<T>> {
        self.unseal(table, key, stored, |bytes| {
            let raw: Raw = codec::decode(bytes, bytes.len()).map_err(|e| e.to_string())?;
            raw.reopen().map_err(|e| e.to_string())
        })
    }

    /// [`Self::value`] where there are very many, or somebody waits: what the seal guards was written in its
    /// one form.
    pub(crate) fn kept_value<T: DeserializeOwned>(
        &self,
        table: &Sealed,
        key: &[u8],
        stored: &[u8],
    ) -> Found<T> {
        let read = |bytes: &[u8]| codec::decode_kept(bytes).map_err(|e| e.to_string());
        self.unseal(table, key, stored, read)
    }

    /// [`Self::signed`], likewise.
    pub(crate) fn kept_signed<T: Record>(
        &self,
        table: &Sealed,
        key: &[u8],
        stored: &[u8],
    ) -> Found<Signed<T>> {
        self.unseal(table, key, stored, |bytes| {
            let raw: Raw = codec::decode_kept(bytes).map_err(|e| e.to_string())?;
            raw.recall().map_err(|e| e.to_string())
        })
    }

    /// Reads what is left of a job.
    pub(crate) fn stub(&self, key: &[u8], stored: &[u8]) -> Found<Stub> {
        self.unseal(&STUBS, key, stored, |bytes| {
            let raw: StubRaw = codec::decode(bytes, bytes.len()).map_err(|e| e.to_string())?;
            raw.reopen().map_err(|e| e.to_string())
        })
    }

    fn unseal<T>(
        &self,
        table: &Sealed,
        key: &[u8],
        stored: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Found<T> {
        let value = match opened(table, key, stored) {
            Some(value) => read(value),
            None => Err("its checksum does not hold".to_owned()),
        };
        match value {
            Ok(value) => Found::This(value),
            Err(why) => {
                self.refuse(table, key, &why);
                Found::Refused
            }
        }
    }

    fn refuse(&self, table: &Sealed, key: &[u8], why: &str) {
        self.counts[position(table)].fetch_add(1, Ordering::Relaxed);
        let name = [table.name().as_bytes(), &[0], key].concat();
        let Ok(mut logged) = self.logged.lock() else { return };
        if logged.len() < LOGGED_KEYS && logged.insert(name) {
            let (table, key) = (table.name(), key.escape_ascii());
            tracing::warn!(%table, %key, why, "a stored record was refused and counts as absent");
        }
    }

    /// Refused reads of each table, by its name.
    pub(crate) fn by_table(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let count =
            |(table, count): (&'static str, &AtomicU64)| (table, count.load(Ordering::Relaxed));
        NAMES.into_iter().zip(&self.counts).map(count)
    }

    /// The value under `key`.
    pub(crate) fn get<T: Serialize + DeserializeOwned>(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        name: &Sealed,
        key: &[u8],
    ) -> Result<Found<T>, Fault> {
        Ok(match table.get(key)? {
            Some(stored) => self.value(name, key, stored.value()),
            None => Found::Nothing,
        })
    }

    /// The stub under `key`.
    pub(crate) fn get_stub(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        key: &[u8],
    ) -> Result<Found<Stub>, Fault> {
        Ok(match table.get(key)? {
            Some(stored) => self.stub(key, stored.value()),
            None => Found::Nothing,
        })
    }

    /// The signed record under `key`.
    pub(crate) fn get_signed<T: Record>(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        name: &Sealed,
        key: &[u8],
    ) -> Result<Found<Signed<T>>, Fault> {
        Ok(match table.get(key)? {
            Some(stored) => self.signed(name, key, stored.value()),
            None => Found::Nothing,
        })
    }
}
