//! The derived tables: their upkeep with each commit, and their rebuilding from the ground truth.
//!
//! A job is listed by the phase that is known to be chosen, the one a user may be shown: with one
//! voter the one it accepted, if this node is that voter, else the one of the newest certificate
//! (as [`StoredRegister::decided`](skyclaw_protocol::batch::StoredRegister::decided)). The item by
//! which a register is compared with others' is of that value, too.

use redb::{Key, ReadableTable, Table, TableDefinition, Value, WriteTransaction};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::{Accepted, Certificate, Phase, Val, Voter};
use skyclaw_protocol::repair::Item;
use skyclaw_protocol::retention::{Life, Stub, is_quiet};
use skyclaw_protocol::{Hash, JobId};

use crate::error::Fault;
use crate::seal::{Found, Refusals};
use crate::tables::{
    CERTIFICATES, COMMIT_OF, COMMITS, DUE, Filed, HOSTS, INDEX_VERSION, Index, JOBS_BY_CREATED,
    KEYS, KEYS_BY_EXPIRY, LIVE, NO_ITEM, RETIRED, ROWS, SPECS, STUBS, StoredRow, create_all,
    host_key, item_key, item_of, may_live, phase_code, slot, subject_key, subject_of,
};

/// What the derived tables say of one register.
#[derive(Debug)]
pub(crate) struct Filing {
    pub(crate) created: Hlc,
    pub(crate) phase: Option<Phase>,
    pub(crate) ended: bool,
    /// `None` if nothing is known to be chosen, or it is compared with nobody any more.
    pub(crate) item: Option<Item>,
    /// When something is due of it next, if it is a job that has ended.
    pub(crate) due: Option<Wall>,
}

/// What a spec says that filing needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whether the register has one voter only.
    pub(crate) alone: bool,
    pub(crate) expires: Wall,
}

impl Terms {
    pub(crate) fn of(spec: &Spec) -> Self {
        Self { alone: is_alone(spec), expires: spec.expires_at }
    }
}

/// How far deleting went, and how long what has ended is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) floor: Wall,
    pub(crate) retention_ms: u64,
}

impl Filing {
    /// The standing of a register made then.
    pub(crate) fn new(
        subject: &Subject,
        created: Hlc,
        terms: Terms,
        keeping: Keeping,
        row: Option<&Voter>,
        certificate: Option<&Certificate>,
    ) -> Self {
        let chosen = accepted_alone(terms.alone, row)
            .map(|accepted| (accepted.ballot, &accepted.val))
            .or_else(|| certificate.map(|c| (c.ballot, &c.val)));
        let val = chosen.map(|(_, val)| val);
        let phase = val.and_then(Val::job).map(|job| job.phase);
        let ended = val.filter(|val| val.is_terminal()).map(|val| val.at.wall());
        let is_job = matches!(subject, Subject::Job(_));
        let Terms { expires, .. } = terms;
        let life = Life { ended, expires_at: expires, retention_ms: keeping.retention_ms };
        let quiet = is_job && is_quiet(expires, keeping.floor);
        Self {
            created,
            phase,
            ended: ended.is_some(),
            item: chosen
                .filter(|_| !quiet)
                .map(|(ballot, val)| Item::of_value(subject, ballot, val)),
            due: (is_job && ended.is_some()).then(|| life.next(keeping.floor).0),
        }
    }
}

/// What this node's row says to be chosen without anybody else.
pub(crate) fn accepted_alone(alone: bool, row: Option<&Voter>) -> Option<&Accepted> {
    row.filter(|_| alone).and_then(|row| row.accepted.as_ref())
}

/// Whether the register has one voter only.
pub(crate) fn is_alone(spec: &Spec) -> bool {
    spec.voters.len() == 1
}

/// A table that is opened when it is first needed: most batches touch a few of them.
pub(crate) struct Lazy<'txn, K: Key + 'static, V: Value + 'static> {
    txn: &'txn WriteTransaction,
    definition: TableDefinition<'static, K, V>,
    table: Option<Table<'txn, K, V>>,
}

impl<'txn, K: Key + 'static, V: Value + 'static> Lazy<'txn, K, V> {
    pub(crate) const fn new(
        txn: &'txn WriteTransaction,
        definition: TableDefinition<'static, K, V>,
    ) -> Self {
        Self { txn, definition, table: None }
    }

    pub(crate) fn open(&mut self) -> Result<&mut Table<'txn, K, V>, Fault> {
        match self.table {
            Some(ref mut table) => Ok(table),
            None => Ok(self.table.insert(self.txn.open_table(self.definition)?)),
        }
    }
}

/// The derived tables, open for writing, and their counts.
pub(crate) struct Derived<'txn> {
    jobs: Lazy<'txn, (u64, &'static str), Filed>,
    live: Lazy<'txn, (u64, &'static str), ()>,
    due: Lazy<'txn, (u64, &'static [u8]), ()>,
    keys: Lazy<'txn, (u64, &'static [u8; 32]), ()>,
    commits: Lazy<'txn, &'static [u8; 24], &'static [u8]>,
    commit_of: Lazy<'txn, &'static [u8], &'static [u8; 24]>,
    pub(crate) counts: Index,
}

impl<'txn> Derived<'txn> {
    pub(crate) const fn new(txn: &'txn WriteTransaction, counts: Index) -> Self {
        Self {
            jobs: Lazy::new(txn, JOBS_BY_CREATED),
            live: Lazy::new(txn, LIVE),
            due: Lazy::new(txn, DUE),
            keys: Lazy::new(txn, KEYS_BY_EXPIRY),
            commits: Lazy::new(txn, COMMITS),
            commit_of: Lazy::new(txn, COMMIT_OF),
            counts,
        }
    }

    /// Files a register where its standing belongs.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        subject: &Subject,
        standing: &Filing,
    ) -> Result<(), Fault> {
        match subject {
            Subject::Job(id) => self.put_job(key, id, standing),
            Subject::Service(_) => self.put_item(key, standing.item),
        }
    }

    /// The item of a service or host is this one now, in place of any other.
    pub(crate) fn put_item(&mut self, key: &[u8], item: Option<Item>) -> Result<(), Fault> {
        let new = item.map(|item| item_key(&item));
        let old = match &new {
            Some(new) => self.commit_of.open()?.insert(key, new)?.map(|old| *old.value()),
            None => self.commit_of.open()?.remove(key)?.map(|old| *old.value()),
        };
        self.replace(key, old, new)
    }

    /// One key of [`COMMITS`] takes the place of another.
    fn replace(
        &mut self,
        key: &[u8],
        old: Option<[u8; 24]>,
        new: Option<[u8; 24]>,
    ) -> Result<(), Fault> {
        if old == new {
            return Ok(());
        }
        if let Some(old) = old
            && self.commits.open()?.remove(&old)?.is_some()
        {
            self.counts.commits.remove(&item_of(&old));
        }
        if let Some(new) = new
            && self.commits.open()?.insert(&new, key)?.is_none()
        {
            self.counts.commits.add(&item_of(&new));
        }
        Ok(())
    }

    fn put_job(&mut self, key: &[u8], id: &JobId, standing: &Filing) -> Result<(), Fault> {
        let code = phase_code(standing.phase);
        let new = standing.item.map(|item| item_key(&item));
        let place = (standing.created.rank(), id.as_str());
        let due = standing.due.map_or(0, |due| due.0);
        let filed = (code, new.as_ref().unwrap_or(&NO_ITEM), due);
        let old = self.jobs.open()?.insert(place, filed)?.map(|old| parts(old.value()));
        self.move_from(key, place, old, Some((code, new, due)))
    }

    /// Takes a job, whose subject has this key, from the place of a stamp that was replaced, and
    /// its item from the others.
    pub(crate) fn forget_place(
        &mut self,
        key: &[u8],
        created: Hlc,
        id: &JobId,
    ) -> Result<(), Fault> {
        let place = (created.rank(), id.as_str());
        let old = self.jobs.open()?.remove(place)?.map(|old| parts(old.value()));
        self.move_from(key, place, old, None)
    }

    /// What is derived from the row of a job's place follows it.
    fn move_from(
        &mut self,
        key: &[u8],
        place: (u64, &str),
        old: Option<Parts>,
        new: Option<Parts>,
    ) -> Result<(), Fault> {
        self.count(old.map(|(code, ..)| code), new.map(|(code, ..)| code));
        let lives = |parts: Option<Parts>| parts.is_some_and(|(code, ..)| may_live(code));
        match (lives(old), lives(new)) {
            (false, true) => drop(self.live.open()?.insert(place, ())?),
            (true, false) => drop(self.live.open()?.remove(place)?),
            _ => {}
        }
        let item = |parts: Option<Parts>| parts.and_then(|(_, item, _)| item);
        self.counts.items += u64::from(item(new).is_some());
        self.counts.items = self.counts.items.saturating_sub(u64::from(item(old).is_some()));
        let due = |parts: Option<Parts>| parts.map_or(0, |(.., due)| due);
        if due(old) != due(new) {
            self.forget_due(key, due(old))?;
            self.put_due(key, due(new))?;
        }
        self.replace(key, item(old), item(new))
    }

    fn put_due(&mut self, key: &[u8], due: u64) -> Result<(), Fault> {
        if due > 0 {
            let new = self.due.open()?.insert((due, key), ())?.is_none();
            self.counts.due += u64::from(new);
        }
        Ok(())
    }

    /// Nothing is due of this subject then.
    pub(crate) fn forget_due(&mut self, key: &[u8], due: u64) -> Result<(), Fault> {
        if due > 0 {
            let old = self.due.open()?.remove((due, key))?.is_some();
            self.counts.due = self.counts.due.saturating_sub(u64::from(old));
        }
        Ok(())
    }

    /// Files a stub.
    pub(crate) fn put_stub(&mut self, key: &[u8], stub: &Stub) -> Result<(), Fault> {
        self.put_due(key, stub.drop_at().0)?;
        let ballot = stub.certificate.body().ballot;
        self.put_item(key, Some(Item::of_value(stub.subject(), ballot, stub.val())))
    }

    /// A stub is gone.
    pub(crate) fn forget_stub(&mut self, key: &[u8], stub: &Stub) -> Result<(), Fault> {
        self.forget_due(key, stub.drop_at().0)?;
        self.put_item(key, None)
    }

    fn count(&mut self, old: Option<u8>, new: Option<u8>) {
        if let Some(code) = old {
            let slot = &mut self.counts.jobs[slot(code)];
            *slot = slot.saturating_sub(1);
        }
        if let Some(code) = new {
            self.counts.jobs[slot(code)] += 1;
        }
    }

    pub(crate) fn put_key(&mut self, expires_at: Wall, scope: &Hash) -> Result<(), Fault> {
        let new = self.keys.open()?.insert((expires_at.0, &scope.0), ())?.is_none();
        self.counts.keys += u64::from(new);
        Ok(())
    }

    pub(crate) fn forget_key(&mut self, expires_at: Wall, scope: &Hash) -> Result<(), Fault> {
        let old = self.keys.open()?.remove((expires_at.0, &scope.0))?.is_some();
        self.counts.keys = self.counts.keys.saturating_sub(u64::from(old));
        Ok(())
    }
}

/// Code, item and time that a job is filed under.
type Parts = (u8, Option<[u8; 24]>, u64);

fn parts((code, item, due): (u8, &[u8; 24], u64)) -> Parts {
    (code, Some(*item).filter(|item| *item != NO_ITEM), due)
}

/// True if the derived tables hold as many rows as they should, in the form of this version and by
/// this retention. Nothing is scanned: what has ended must not delay a start.
pub(crate) fn holds(
    txn: &WriteTransaction,
    index: &Index,
    retention_ms: u64,
) -> Result<bool, Fault> {
    use redb::ReadableTableMetadata;
    let commits = txn.open_table(COMMITS)?.len()?;
    Ok(index.version == INDEX_VERSION
        && index.retention_ms == retention_ms
        && txn.open_table(KEYS_BY_EXPIRY)?.len()? == index.keys
        && txn.open_table(JOBS_BY_CREATED)?.len()? == index.jobs.iter().sum::<u64>()
        && txn.open_table(LIVE)?.len()? == index.live()
        && txn.open_table(DUE)?.len()? == index.due
        && commits == index.commits.count()
        && commits == index.items + txn.open_table(COMMIT_OF)?.len()?)
}

/// Empties the derived tables and refills them; those of earlier versions go. Returns their counts.
pub(crate) fn rebuild(
    txn: &WriteTransaction,
    keeping: Keeping,
    refusals: &Refusals,
) -> Result<Index, Fault> {
    txn.delete_table(JOBS_BY_CREATED)?;
    txn.delete_table(LIVE)?;
    txn.delete_table(DUE)?;
    txn.delete_table(KEYS_BY_EXPIRY)?;
    txn.delete_table(COMMITS)?;
    txn.delete_table(COMMIT_OF)?;
    for table in RETIRED {
        txn.delete_table(table)?;
    }
    create_all(txn)?;
    let mut derived = Derived::new(txn, Index::empty(keeping.retention_ms));
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
        let certificate = certificate.as_ref().map(Signed::body);
        let created = row.as_ref().map_or_else(|| spec.body().created, |row| row.created);
        let row = row.as_ref().map(|stored| &stored.row);
        let terms = Terms::of(spec.body());
        let standing = Filing::new(&subject, created, terms, keeping, row, certificate);
        derived.put(key, &subject, &standing)?;
    }
    for entry in txn.open_table(STUBS)?.iter()? {
        let (key, stored) = entry?;
        if let Found::This(stub) = refusals.stub(key.value(), stored.value()) {
            derived.put_stub(&subject_key(stub.subject()), &stub)?;
        }
    }
    for entry in txn.open_table(HOSTS)?.iter()? {
        let (key, stored) = entry?;
        if let Found::This(host) = refusals.signed::<HostDesc>(&HOSTS, key.value(), stored.value())
        {
            let item = Item::of_host(host.body(), host.signer());
            derived.put_item(&host_key(&host.body().id), Some(item))?;
        }
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
