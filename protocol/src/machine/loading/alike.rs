//! Registers that differ from the one before in little: of a million jobs that wait most are such, and
//! what they have in common need not be decoded a million times.
//!
//! Always: what is not said byte by byte as in a register that was decoded and checked is decoded and
//! checked itself.

use std::sync::Arc;

use super::LiveRegister;
use crate::clock::{Hlc, Wall};
use crate::codec::{Scan, decode_kept};
use crate::id::{Hash, JobId};
use crate::machine::entry::{Head, Terms};
use crate::record::Raw;
use crate::record::spec::{RegisterKey, Spec, Subject};
use crate::register::Voter;

/// The registers read last by one reader.
#[derive(Debug, Default)]
pub struct Alike {
    spec: Option<KnownSpec>,
    row: Option<KnownRow>,
}

#[derive(Debug)]
struct KnownSpec {
    signer: Vec<u8>,
    voters: Vec<u8>,
    job: Vec<u8>,
    terms: Arc<Terms>,
}

#[derive(Debug)]
struct KnownRow {
    ballots: Vec<u8>,
    by: Vec<u8>,
    state: Vec<u8>,
    row: Voter,
}

impl Alike {
    /// The register of this job, of the bytes of its spec (a [`Raw`]) and of this node's row, where there is
    /// neither a certificate of it nor a lease. `None` if they hold none; decoding them says why.
    pub fn register(&mut self, id: &JobId, spec: &[u8], row: &[u8]) -> Option<LiveRegister> {
        let head = self.head(id, spec).or_else(|| self.decode_head(spec))?;
        let row = self.row(row).or_else(|| self.decode_row(row))?;
        Some(LiveRegister { head, row, certified: None, heard: None, lease_note: None })
    }

    fn head(&self, id: &JobId, bytes: &[u8]) -> Option<Head> {
        let known = self.spec.as_ref()?;
        let seen = SeenSpec::of(bytes)?;
        let alike = seen.signer == known.signer
            && seen.voters == known.voters
            && seen.job == known.job
            && seen.id == id.as_str().as_bytes()
            && seen.expires_at > seen.created.wall();
        alike.then(|| Head {
            key: RegisterKey { subject: Subject::Job(id.clone()), spec: Hash::of(seen.body) },
            created: seen.created,
            expires_at: seen.expires_at,
            mark: None,
            terms: Arc::clone(&known.terms),
        })
    }

    fn decode_head(&mut self, bytes: &[u8]) -> Option<Head> {
        let raw: Raw = decode_kept(bytes).ok()?;
        let head = Head::of(&raw.recall::<Spec>().ok()?);
        self.spec = SeenSpec::of(bytes).map(|seen| KnownSpec {
            signer: seen.signer.to_vec(),
            voters: seen.voters.to_vec(),
            job: seen.job.to_vec(),
            terms: Arc::clone(&head.terms),
        });
        Some(head)
    }

    fn row(&self, bytes: &[u8]) -> Option<Voter> {
        let known = self.row.as_ref()?;
        let seen = SeenRow::of(bytes)?;
        if seen.ballots != known.ballots || seen.by != known.by || seen.state != known.state {
            return None;
        }
        let mut row = known.row.clone();
        let val = &mut row.accepted.as_mut()?.val;
        (val.ver, val.at, val.display_version) = (seen.ver, seen.at, seen.display_version);
        Some(row)
    }

    fn decode_row(&mut self, bytes: &[u8]) -> Option<Voter> {
        let row: Voter = decode_kept(bytes).ok()?;
        self.row = SeenRow::of(bytes).map(|seen| KnownRow {
            ballots: seen.ballots.to_vec(),
            by: seen.by.to_vec(),
            state: seen.state.to_vec(),
            row: row.clone(),
        });
        Some(row)
    }
}

/// A spec of a job without a key, in parts.
struct SeenSpec<'b> {
    body: &'b [u8],
    signer: &'b [u8],
    id: &'b [u8],
    /// Home, voters and quorum.
    voters: &'b [u8],
    created: Hlc,
    expires_at: Wall,
    /// The job behind its payload.
    job: &'b [u8],
}

impl<'b> SeenSpec<'b> {
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let mut raw = Scan::new(bytes);
        let members = raw.map()?;
        raw.key("body")?;
        let body = raw.bytes()?;
        raw.key("signer")?;
        let signer = raw.bytes()?;
        raw.key("signature")?;
        raw.bytes()?;
        if members > 3 {
            raw.key("path")?;
            for _ in 0..raw.array()? {
                raw.map_of(1)?;
                raw.text()?;
                raw.bytes()?;
            }
        }
        raw.rest().is_empty().then_some(())?;
        let mut scan = Scan::new(body);
        // One more for a key, or an owner.
        scan.map_of(7)?;
        scan.key("subject")?;
        scan.map_of(1)?;
        scan.key("job")?;
        let id = scan.text()?;
        let before = scan;
        scan.key("home")?;
        scan.bytes()?;
        scan.key("voters")?;
        for _ in 0..scan.array()? {
            scan.bytes()?;
        }
        scan.key("quorum")?;
        scan.uint()?;
        let voters = scan.since(&before);
        scan.key("created")?;
        let created = stamp(&mut scan)?;
        scan.key("expires_at")?;
        let expires_at = Wall(scan.uint()?);
        scan.key("job")?;
        // How many members there are is told by what follows.
        scan.map()?;
        scan.key("payload")?;
        scan.bytes()?;
        Some(Self { body, signer, id, voters, created, expires_at, job: scan.rest() })
    }
}

/// A row that accepted a value, in parts.
struct SeenRow<'b> {
    ballots: &'b [u8],
    ver: u64,
    at: Hlc,
    by: &'b [u8],
    display_version: u64,
    state: &'b [u8],
}

impl<'b> SeenRow<'b> {
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let mut scan = Scan::new(bytes);
        let ballot = |scan: &mut Scan<'b>| {
            scan.map_of(2)?;
            scan.key("round")?;
            scan.uint()?;
            scan.key("proposer")?;
            scan.bytes()
        };
        scan.map_of(2)?;
        scan.key("promised")?;
        ballot(&mut scan)?;
        scan.key("accepted")?;
        scan.map_of(2)?;
        scan.key("ballot")?;
        ballot(&mut scan)?;
        let ballots = scan.since(&Scan::new(bytes));
        scan.key("val")?;
        scan.map_of(5)?;
        scan.key("ver")?;
        let ver = scan.uint()?;
        scan.key("at")?;
        let at = stamp(&mut scan)?;
        scan.key("by")?;
        let by = scan.text()?;
        scan.key("display_version")?;
        let display_version = scan.uint()?;
        Some(Self { ballots, ver, at, by, display_version, state: scan.rest() })
    }
}

fn stamp(scan: &mut Scan<'_>) -> Option<Hlc> {
    scan.map_of(2)?;
    scan.key("ms")?;
    let ms = scan.uint()?;
    scan.key("count")?;
    Some(Hlc { ms, count: u16::try_from(scan.uint()?).ok()? })
}
