//! Frames: one batch each, in whole sectors of the file.
//!
//! ```text
//! magic 8 | number u64 | length of the body u32 | zero u32 | checksum 16 | body | zeros to the sector's end
//! ```
//!
//! Numbers are little-endian. The checksum is keyed by the epoch, which is new with each opening of the
//! database: what an earlier one left in the file, or what a client sends as a payload, is no frame.

use std::io;

use redb::StorageBackend;

use super::{Bounds, MAX_FRAME};

/// Disks write no less than this at once.
pub(super) const SECTOR: u64 = 4096;

/// Number of the frame with which a journal begins: it stays there, and says whose journal it is (its body
/// is the id of the node).
pub(super) const FIRST: u64 = 0;

const MAGIC: [u8; 8] = *b"skyclJ1\n";
const SUM: usize = 16;
/// Bytes before the body.
const HEAD: usize = 8 + 8 + 4 + 4 + SUM;

/// Which opening of the database wrote a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) [u8; 16]);

impl Epoch {
    /// Of fresh `entropy`, and of what stood there before: a process that opens the same file twice may
    /// bring the same entropy.
    pub(crate) fn new(entropy: [u8; 32], before: Option<Self>, batches: u64) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 epoch of a journal");
        hash.update(&entropy);
        hash.update(&before.map_or([0; 16], |epoch| epoch.0));
        hash.update(&batches.to_le_bytes());
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Self(epoch)
    }

    fn sum(&self, head: &[u8], body: &[u8]) -> [u8; SUM] {
        let key = blake3::derive_key("skyclaw/1 checksum of a frame of a journal", &self.0);
        let mut hash = blake3::Hasher::new_keyed(&key);
        hash.update(head);
        hash.update(body);
        let mut sum = [0; SUM];
        sum.copy_from_slice(&hash.finalize().as_bytes()[..SUM]);
        sum
    }
}

/// Bytes of the file that a frame takes.
pub(super) const fn room(body: usize) -> u64 {
    ((HEAD + body) as u64).next_multiple_of(SECTOR)
}

/// The bytes of a frame.
pub(super) fn framed(epoch: &Epoch, number: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(room(body.len()) as usize);
    bytes.extend(MAGIC);
    bytes.extend(number.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend([0; 4]);
    let sum = epoch.sum(&bytes, body);
    bytes.extend(sum);
    bytes.extend(body);
    bytes.resize(room(body.len()) as usize, 0);
    bytes
}

/// Where a frame stands whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    at: u64,
    len: usize,
}

impl Frame {
    /// What it holds.
    pub(crate) fn body(&self, file: &dyn StorageBackend) -> io::Result<Vec<u8>> {
        let mut body = vec![0; self.len];
        file.read(self.at + HEAD as u64, &mut body)?;
        Ok(body)
    }
}

/// What a journal holds of an epoch behind a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// These, without a gap.
    Frames(Vec<Frame>),
    /// The batch of this number is missing, though there are later ones.
    Gap(u64),
    /// It is not of this epoch, or does not begin as one.
    Foreign,
    /// Some of it is cut off: it grows in whole steps.
    Cut,
}

/// Finds the frames of `epoch` with numbers above `after`, in their order. Where a frame does not
/// check out, the next sector may begin one: those of earlier rounds lie behind those of this one.
pub(crate) fn scan(
    file: &dyn StorageBackend,
    epoch: &Epoch,
    after: u64,
    bounds: &Bounds,
) -> io::Result<Scan> {
    let end = file.len()?;
    if end < SECTOR || look(file, epoch, 0, end)?.is_none_or(|frame| frame.number != FIRST) {
        return Ok(Scan::Foreign);
    }
    if !end.is_multiple_of(bounds.step) {
        return Ok(Scan::Cut);
    }
    let mut found = Vec::new();
    let mut at = SECTOR;
    while at + HEAD as u64 <= end {
        let Some(frame) = look(file, epoch, at, end)? else {
            at += SECTOR;
            continue;
        };
        at += room(frame.len);
        if frame.number > after {
            found.push(frame);
        }
    }
    found.sort_by_key(|frame| frame.number);
    for (expected, frame) in (after + 1..).zip(&found) {
        if frame.number != expected {
            return Ok(Scan::Gap(expected));
        }
    }
    Ok(Scan::Frames(found))
}

/// Whose journal a file seems to be, if it is one: nobody's checksum is looked at.
pub(crate) fn owner(file: &dyn StorageBackend) -> io::Result<Option<[u8; 32]>> {
    let mut first = [0; HEAD + 32];
    if file.len()? < first.len() as u64 {
        return Ok(None);
    }
    file.read(0, &mut first)?;
    let mut owner = [0; 32];
    owner.copy_from_slice(&first[HEAD..]);
    Ok((first[..8] == MAGIC).then_some(owner))
}

fn look(file: &dyn StorageBackend, epoch: &Epoch, at: u64, end: u64) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD];
    file.read(at, &mut head)?;
    let (fields, sum) = head.split_at(HEAD - SUM);
    let number = |range: std::ops::Range<usize>| {
        fields[range].iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let len = number(16..20) as usize;
    if fields[..8] != MAGIC || len > MAX_FRAME || at + (HEAD + len) as u64 > end {
        return Ok(None);
    }
    let frame = Frame { number: number(8..16), at, len };
    let body = frame.body(file)?;
    Ok((epoch.sum(fields, &body) == sum).then_some(frame))
}
