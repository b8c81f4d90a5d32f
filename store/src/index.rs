//! The derived tables: their upkeep with each commit, and their rebuilding from the ground truth.
//!
//! A job is listed by the phase that is known to be chosen, the one a user may be shown: with one
//! voter the one it accepted, else the one of the newest certificate.

use redb::{ReadableTable, Table, WriteTransaction};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Certificate, Phase, Val};
use skyclaw_protocol::{Hash, JobId};

use crate::error::Fault;
use crate::seal::{Found, Refusals};
use crate::tables::{
    CERTIFICATES, Index, JOBS_BY_CREATED, KEYS, KEYS_BY_EXPIRY, LIVE, LIVE_ALONE, NOTHING_CHOSEN,
    ROWS, SPECS, StoredRow, phase_code, rank, subject_of,
};

/// What the derived tables say of one register.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) created: Hlc,
    pub(crate) alone: bool,
    pub(crate) phase: Option<Phase>,
    pub(crate) ended: bool,
}

impl Standing {
    /// The standing of a register with this spec (its stamp, and whether it has one voter only).
    pub(crate) fn new(
        spec: (Hlc, bool),
        row: Option<&StoredRow>,
        certificate: Option<&Val>,
    ) -> Self {
        let (created, alone) = spec;
        let chosen = if alone {
            row.and_then(|r| r.row.accepted.as_ref()).map(|accepted| &accepted.val)
        } else {
            certificate
        };
        Self {
            created: row.map_or(created, |r| r.created),
            alone,
            phase: chosen.and_then(Val::job).map(|job| job.phase),
            ended: chosen.is_some_and(Val::is_terminal),
        }
    }

    /// True if a node need not start with it. A removed service stays: its name is still known.
    pub(crate) const fn is_over(&self, subject: &Subject) -> bool {
        self.ended && matches!(subject, Subject::Job(_))
    }
}

/// The spec's part of [`Standing::new`].
pub(crate) fn head_of(spec: &Spec) -> (Hlc, bool) {
    (spec.created, spec.voters.len() == 1)
}

/// The derived tables, open for writing, and their counts.
pub(crate) struct Derived<'txn> {
    jobs: Table<'txn, (u64, &'static str), u8>,
    live: Table<'txn, &'static [u8], u8>,
    keys: Table<'txn, (u64, &'static [u8; 32]), ()>,
    pub(crate) counts: Index,
}

impl<'txn> Derived<'txn> {
    pub(crate) fn open(txn: &'txn WriteTransaction, counts: Index) -> Result<Self, Fault> {
        Ok(Self {
            jobs: txn.open_table(JOBS_BY_CREATED)?,
            live: txn.open_table(LIVE)?,
            keys: txn.open_table(KEYS_BY_EXPIRY)?,
            counts,
        })
    }

    /// Files a register where its standing belongs.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        subject: &Subject,
        standing: &Standing,
    ) -> Result<(), Fault> {
        if let Subject::Job(id) = subject {
            let code = phase_code(standing.phase);
            let place = (rank(standing.created), id.as_str());
            let old = self.jobs.insert(place, code)?.map(|old| old.value());
            self.count(old, Some(code));
        }
        if standing.is_over(subject) {
            let old = self.live.remove(key)?.is_some();
            self.counts.live = self.counts.live.saturating_sub(u64::from(old));
        } else {
            let flags = if standing.alone { LIVE_ALONE } else { 0 };
            let new = self.live.insert(key, flags)?.is_none();
            self.counts.live += u64::from(new);
        }
        Ok(())
    }

    /// Takes a job from the place of a stamp that was replaced.
    pub(crate) fn forget_place(&mut self, created: Hlc, id: &JobId) -> Result<(), Fault> {
        let old = self.jobs.remove((rank(created), id.as_str()))?.map(|old| old.value());
        self.count(old, None);
        Ok(())
    }

    fn count(&mut self, old: Option<u8>, new: Option<u8>) {
        if let Some(code) = old {
            let slot = &mut self.counts.jobs[usize::from(code.min(NOTHING_CHOSEN))];
            *slot = slot.saturating_sub(1);
        }
        if let Some(code) = new {
            self.counts.jobs[usize::from(code.min(NOTHING_CHOSEN))] += 1;
        }
    }

    /// Whether this node is the only voter, if the register is filed as live.
    pub(crate) fn alone(&self, key: &[u8]) -> Result<Option<bool>, Fault> {
        Ok(self.live.get(key)?.map(|flags| flags.value() & LIVE_ALONE != 0))
    }

    pub(crate) fn put_key(&mut self, expires_at: Wall, scope: &Hash) -> Result<(), Fault> {
        let new = self.keys.insert((expires_at.0, &scope.0), ())?.is_none();
        self.counts.keys += u64::from(new);
        Ok(())
    }

    pub(crate) fn forget_key(&mut self, expires_at: Wall, scope: &Hash) -> Result<(), Fault> {
        let old = self.keys.remove((expires_at.0, &scope.0))?.is_some();
        self.counts.keys = self.counts.keys.saturating_sub(u64::from(old));
        Ok(())
    }
}

/// True if the derived tables hold as many rows as they should, in the form of this version.
pub(crate) fn holds(txn: &WriteTransaction, index: &Index) -> Result<bool, Fault> {
    use redb::ReadableTableMetadata;
    Ok(index.version == Index::EMPTY.version
        && txn.open_table(JOBS_BY_CREATED)?.len()? == index.jobs.iter().sum::<u64>()
        && txn.open_table(LIVE)?.len()? == index.live
        && txn.open_table(KEYS_BY_EXPIRY)?.len()? == index.keys)
}

/// Empties the derived tables and refills them. Returns their counts.
pub(crate) fn rebuild(txn: &WriteTransaction, refusals: &Refusals) -> Result<Index, Fault> {
    txn.delete_table(JOBS_BY_CREATED)?;
    txn.delete_table(LIVE)?;
    txn.delete_table(KEYS_BY_EXPIRY)?;
    let mut derived = Derived::open(txn, Index::EMPTY)?;
    let rows = txn.open_table(ROWS)?;
    let certificates = txn.open_table(CERTIFICATES)?;
    for entry in txn.open_table(SPECS)?.iter()? {
        let (key, stored) = entry?;
        let key = key.value();
        let Some(subject) = subject_of(key) else { continue };
        let spec: Found<Signed<Spec>> = refusals.signed(&SPECS, key, stored.value());
        let Found::This(spec) = spec else { continue };
        let row: Option<StoredRow> = match refusals.get(&rows, &ROWS, key)? {
            Found::This(row) => Some(row),
            Found::Nothing => None,
            Found::Refused => continue,
        };
        let certificate: Option<Signed<Certificate>> =
            refusals.get_signed(&certificates, &CERTIFICATES, key)?.ok();
        let chosen = certificate.as_ref().map(|c| &c.body().val);
        let standing = Standing::new(head_of(spec.body()), row.as_ref(), chosen);
        derived.put(key, &subject, &standing)?;
    }
    for entry in txn.open_table(KEYS)?.iter()? {
        let (scope, stored) = entry?;
        let Ok(hash) = <[u8; 32]>::try_from(scope.value()) else { continue };
        let row: Found<skyclaw_protocol::batch::KeyRow> =
            refusals.value(&KEYS, scope.value(), stored.value());
        if let Found::This(row) = row {
            derived.put_key(row.expires_at, &Hash(hash))?;
        }
    }
    Ok(derived.counts)
}
