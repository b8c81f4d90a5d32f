//! What a machine starts with: every job that has not ended, and every service.
//!
//! There may be a million, so they are read in their order, table beside table, instead of being looked up
//! one by one, and by [`LANES`] threads. Seals are checked as ever; signatures are not, as everywhere
//! below the seal.

use std::ops::Bound;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use redb::{AccessGuard, Range, ReadTransaction, ReadableTable};
use skyclaw_protocol::JobId;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::codec::Scan;
use skyclaw_protocol::machine::{Alike, LiveRegister};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Voter;

use super::Reader;
use super::view::{SealedTable, View};
use crate::error::{Fault, ReadError};
use crate::seal::{Found, Refusals, opened};
use crate::tables::{CERTIFICATES, LEASE_NOTES, LIVE, ROWS, SPECS, Sealed, StoredRow, subject_key};

/// Threads that read; whoever asked takes what they found meanwhile. More would wait for it.
const LANES: usize = 2;

/// Jobs that one thread reads in a row.
const CHUNK: usize = 256;

/// Chunks of one thread that may wait to be taken: some hundred KiB without their payloads.
const AHEAD: usize = 4;

/// Rows that are passed over before the next one is looked up instead.
const NEAR: usize = 8;

type Chunk = Result<Vec<LiveRegister>, Fault>;

impl Reader {
    /// Hands every job that has not ended, by creation, and every service to `each`, one at a time.
    /// Returns how many there were.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; a register that does not decode is left out.
    pub fn live(&self, mut each: impl FnMut(LiveRegister)) -> Result<usize, ReadError> {
        self.read(|txn, refusals| {
            let mut count = 0;
            let mut hand = |register| {
                count += 1;
                each(register);
            };
            jobs(txn, refusals, &mut hand)?;
            View::open(txn, refusals)?.services(|service| hand(service.into()))?;
            Ok(count)
        })
    }
}

/// The lanes take chunks in turn, and what they read is taken in turn, so that the order stays.
fn jobs(
    txn: &ReadTransaction,
    refusals: &Refusals,
    mut each: impl FnMut(LiveRegister),
) -> Result<(), Fault> {
    thread::scope(|scope| {
        let mut lanes: Vec<Receiver<Chunk>> = Vec::new();
        for nth in 0..LANES {
            let (chunks, taken) = sync_channel(AHEAD);
            let lane = move || {
                if let Err(fault) = Lane::open(txn, refusals).and_then(|l| l.run(nth, &chunks)) {
                    // Whoever took them has given up already.
                    let _ = chunks.send(Err(fault));
                }
            };
            let spawned =
                thread::Builder::new().name("store-read".into()).spawn_scoped(scope, lane);
            spawned.map_err(|error| Fault(Box::new(redb::Error::Io(error))))?;
            lanes.push(taken);
        }
        for taken in lanes.iter().cycle() {
            // The first chunk that is missing is behind the last one.
            let Ok(chunk) = taken.recv() else { break };
            chunk?.into_iter().for_each(&mut each);
        }
        Ok(())
    })
}

/// One thread's part.
struct Lane<'r> {
    txn: &'r ReadTransaction,
    refusals: &'r Refusals,
    specs: Beside,
    rows: Beside,
    certificates: Beside,
    lease_notes: Beside,
    alike: Alike,
}

impl<'r> Lane<'r> {
    fn open(txn: &'r ReadTransaction, refusals: &'r Refusals) -> Result<Self, Fault> {
        Ok(Self {
            txn,
            refusals,
            specs: Beside::open(txn, SPECS)?,
            rows: Beside::open(txn, ROWS)?,
            certificates: Beside::open(txn, CERTIFICATES)?,
            lease_notes: Beside::open(txn, LEASE_NOTES)?,
            alike: Alike::default(),
        })
    }

    fn run(mut self, nth: usize, chunks: &SyncSender<Chunk>) -> Result<(), Fault> {
        let table = self.txn.open_table(LIVE)?;
        let mut chunk = Vec::with_capacity(CHUNK);
        for (at, place) in table.iter()?.enumerate() {
            let place = place?;
            if at / CHUNK % LANES != nth {
                continue;
            }
            let id = JobId::new(place.0.value().1).ok();
            if let Some(register) = id.map(|id| self.register(id)).transpose()?.flatten() {
                chunk.push(register);
            }
            if at % CHUNK == CHUNK - 1 {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
                if chunks.send(Ok(full)).is_err() {
                    return Ok(());
                }
            }
        }
        // An empty one does no harm.
        let _ = chunks.send(Ok(chunk));
        Ok(())
    }

    /// As [`View::register`].
    fn register(&mut self, id: JobId) -> Result<Option<LiveRegister>, Fault> {
        let refusals = self.refusals;
        let note: Option<Wall> = match self.lease_notes.find(id.as_str().as_bytes())? {
            Some(stored) => {
                let key = id.as_str().as_bytes();
                refusals.kept_value(&LEASE_NOTES, key, stored.value()).ok()
            }
            None => None,
        };
        let key = subject_key(&Subject::Job(id.clone()));
        let Some(spec) = self.specs.find(&key)? else { return Ok(None) };
        let (row, certificate) = (self.rows.find(&key)?, self.certificates.find(&key)?);
        if let (Some(row), None, None) = (row, certificate, note)
            && let Some(spec) = opened(&SPECS, &key, spec.value())
            && let Some(row) = opened(&ROWS, &key, row.value()).and_then(voter_of)
            && let Some(register) = self.alike.register(&id, spec, row)
        {
            return Ok(Some(register));
        }
        let Found::This(spec) = refusals.kept_signed(&SPECS, &key, spec.value()) else {
            return Ok(None);
        };
        let row = match row {
            Some(stored) => match refusals.kept_value::<StoredRow>(&ROWS, &key, stored.value()) {
                Found::This(stored) => stored.row,
                Found::Nothing | Found::Refused => return Ok(None),
            },
            None => Voter::EMPTY,
        };
        let certificate = match certificate {
            Some(stored) => refusals.kept_signed(&CERTIFICATES, &key, stored.value()).ok(),
            None => None,
        };
        Ok(Some(LiveRegister::new(&spec, row, certificate, note)))
    }
}

/// Of a stored row what the voter holds.
fn voter_of(row: &[u8]) -> Option<&[u8]> {
    let mut scan = Scan::new(row);
    let members = scan.map()?;
    scan.key("created")?;
    scan.map_of(2)?;
    scan.key("ms")?;
    scan.uint()?;
    scan.key("count")?;
    scan.uint()?;
    scan.key("alone")?;
    scan.simple()?;
    if members == 4 {
        scan.key("expires")?;
        scan.uint()?;
    }
    scan.key("row")?;
    Some(scan.rest())
}

type Row = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// A place in a table that follows the keys that are asked for: mostly the next one is the next row.
struct Beside {
    table: SealedTable,
    rows: Option<Range<'static, &'static [u8], &'static [u8]>>,
    /// The first row from the last key on; `None` behind the last one.
    next: Option<Row>,
    last: Vec<u8>,
}

impl Beside {
    fn open(txn: &ReadTransaction, table: Sealed) -> Result<Self, Fault> {
        Ok(Self { table: txn.open_table(table)?, rows: None, next: None, last: Vec::new() })
    }

    fn find(&mut self, key: &[u8]) -> Result<Option<&AccessGuard<'static, &'static [u8]>>, Fault> {
        if self.rows.is_none() || key < self.last.as_slice() {
            self.seek(key)?;
        }
        let mut passed = 0;
        while self.next.as_ref().is_some_and(|(at, _)| at.value() < key) {
            passed += 1;
            if passed > NEAR {
                self.seek(key)?;
            } else {
                self.step()?;
            }
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(self.next.as_ref().filter(|(at, _)| at.value() == key).map(|(_, stored)| stored))
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), Fault> {
        let from: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(key), Bound::Unbounded);
        self.rows = Some(self.table.range::<&[u8]>(from)?);
        self.step()
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.next = self.rows.as_mut().and_then(Iterator::next).transpose()?;
        Ok(())
    }
}
