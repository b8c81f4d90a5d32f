//! Derived tables against the records: each record is listed where it belongs, and nothing else is.
//!
//! A job whose time of being compared is over may still be listed as it was before, until it is filed
//! anew; both are right.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableHandle};
use skyclaw_protocol::batch::KeyRow;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::Certificate;
use skyclaw_protocol::repair::{Item, Sum};

use super::{Checked, FaultKind};
use crate::error::Fault;
use crate::index::{Filing, Keeping, Terms};
use crate::seal::{Found, Refusals};
use crate::tables::{
    CERTIFICATES, COMMIT_OF, COMMITS, DUE, HOSTS, Head, JOBS_BY_CREATED, KEYS, KEYS_BY_EXPIRY,
    LIVE, NO_ITEM, PHASE_CODES, ROWS, SPECS, STUBS, StoredRow, host_key, item_key, item_of,
    may_live, phase_code, slot, subject_key, subject_of,
};

const MISSING: &str = "it is not listed as it should be";

/// Compares all of them.
pub(super) fn all(txn: &ReadTransaction, head: &Head, checked: &mut Checked) -> Result<(), Fault> {
    let mut lists = Lists::open(txn, head)?;
    lists.registers(txn, checked)?;
    lists.stubs_and_hosts(txn, checked)?;
    lists.keys(txn, checked)?;
    if checked.has(FaultKind::Record) {
        // What a refused record is listed by cannot be told from what nothing is listed by.
        return Ok(());
    }
    // What is missing shows in these numbers, too.
    if !checked.has(FaultKind::Index) {
        lists.nothing_else(checked)?;
        lists.counts(&head.index, checked)?;
    }
    Ok(())
}

type ByPlace<V> = ReadOnlyTable<(u64, &'static str), V>;

struct Lists {
    jobs: ByPlace<(u8, &'static [u8; 24], u64)>,
    live: ByPlace<()>,
    due: ReadOnlyTable<(u64, &'static [u8]), ()>,
    keys: ReadOnlyTable<(u64, &'static [u8; 32]), ()>,
    commits: ReadOnlyTable<&'static [u8; 24], &'static [u8]>,
    commit_of: ReadOnlyTable<&'static [u8], &'static [u8; 24]>,
    refusals: Refusals,
    keeping: [Keeping; 2],
    /// How many rows each table should have.
    wanted: Wanted,
}

#[derive(Default)]
struct Wanted {
    jobs: u64,
    live: u64,
    due: u64,
    keys: u64,
    commits: u64,
    commit_of: u64,
    by_code: [u64; PHASE_CODES],
}

impl Lists {
    fn open(txn: &ReadTransaction, head: &Head) -> Result<Self, Fault> {
        let retention_ms = head.index.retention_ms;
        Ok(Self {
            jobs: txn.open_table(JOBS_BY_CREATED)?,
            live: txn.open_table(LIVE)?,
            due: txn.open_table(DUE)?,
            keys: txn.open_table(KEYS_BY_EXPIRY)?,
            commits: txn.open_table(COMMITS)?,
            commit_of: txn.open_table(COMMIT_OF)?,
            refusals: Refusals::default(),
            keeping: [head.gc_floor, Wall(0)].map(|floor| Keeping { floor, retention_ms }),
            wanted: Wanted::default(),
        })
    }

    fn registers(&mut self, txn: &ReadTransaction, checked: &mut Checked) -> Result<(), Fault> {
        let (specs, rows) = (txn.open_table(SPECS)?, txn.open_table(ROWS)?);
        let certificates = txn.open_table(CERTIFICATES)?;
        for entry in specs.iter()? {
            let (key, stored) = entry?;
            let key = key.value();
            let Some(subject) = subject_of(key) else { continue };
            let spec: Found<Signed<Spec>> = self.refusals.signed(&SPECS, key, stored.value());
            let Found::This(spec) = spec else { continue };
            let row: Option<StoredRow> = match self.refusals.get(&rows, &ROWS, key)? {
                Found::This(row) => Some(row),
                Found::Nothing => None,
                Found::Refused => continue,
            };
            let certificate: Option<Signed<Certificate>> =
                self.refusals.get_signed(&certificates, &CERTIFICATES, key)?.ok();
            let certificate = certificate.as_ref().map(Signed::body);
            let created = row.as_ref().map_or_else(|| spec.body().created, |row| row.created);
            let row = row.as_ref().map(|stored| &stored.row);
            let terms = Terms::of(spec.body());
            let standings = self
                .keeping
                .map(|keeping| Filing::new(&subject, created, terms, keeping, row, certificate));
            match &subject {
                Subject::Job(id) => self.job(key, id.as_str(), &standings, checked)?,
                Subject::Service(id) => {
                    self.item(key, standings[0].item, id.as_str(), checked)?;
                }
            }
        }
        Ok(())
    }

    fn job(
        &mut self,
        key: &[u8],
        id: &str,
        standings: &[Filing; 2],
        checked: &mut Checked,
    ) -> Result<(), Fault> {
        let place = (standings[0].created.rank(), id);
        let code = phase_code(standings[0].phase);
        let filed = self.jobs.get(place)?.map(|filed| {
            let (code, item, due) = filed.value();
            (code, *item, due)
        });
        self.wanted.jobs += 1;
        self.wanted.by_code[slot(code)] += 1;
        let right = |standing: &Filing| {
            let item = standing.item.map_or(NO_ITEM, |item| item_key(&item));
            (code, item, standing.due.map_or(0, |due| due.0))
        };
        let Some((code, item, due)) = filed.filter(|it| standings.iter().any(|s| right(s) == *it))
        else {
            checked.find(FaultKind::Index, JOBS_BY_CREATED.name(), id.to_owned(), MISSING);
            return Ok(());
        };
        if may_live(code) {
            self.wanted.live += 1;
            if self.live.get(place)?.is_none() {
                checked.find(FaultKind::Index, LIVE.name(), id.to_owned(), MISSING);
            }
        }
        if due > 0 {
            self.due(key, due, id, checked)?;
        }
        if item != NO_ITEM {
            self.commit(key, &item, id, checked)?;
        }
        Ok(())
    }

    fn due(&mut self, key: &[u8], due: u64, id: &str, checked: &mut Checked) -> Result<(), Fault> {
        self.wanted.due += 1;
        if self.due.get((due, key))?.is_none() {
            checked.find(FaultKind::Index, DUE.name(), id.to_owned(), MISSING);
        }
        Ok(())
    }

    fn commit(
        &mut self,
        key: &[u8],
        item: &[u8; 24],
        id: &str,
        checked: &mut Checked,
    ) -> Result<(), Fault> {
        self.wanted.commits += 1;
        if self.commits.get(item)?.is_none_or(|of| of.value() != key) {
            checked.find(FaultKind::Index, COMMITS.name(), id.to_owned(), MISSING);
        }
        Ok(())
    }

    /// The item of what is not in the list of jobs.
    fn item(
        &mut self,
        key: &[u8],
        item: Option<Item>,
        id: &str,
        checked: &mut Checked,
    ) -> Result<(), Fault> {
        let Some(item) = item.map(|item| item_key(&item)) else { return Ok(()) };
        self.wanted.commit_of += 1;
        if self.commit_of.get(key)?.is_none_or(|held| *held.value() != item) {
            checked.find(FaultKind::Index, COMMIT_OF.name(), id.to_owned(), MISSING);
        }
        self.commit(key, &item, id, checked)
    }

    fn stubs_and_hosts(
        &mut self,
        txn: &ReadTransaction,
        checked: &mut Checked,
    ) -> Result<(), Fault> {
        for entry in txn.open_table(STUBS)?.iter()? {
            let (key, stored) = entry?;
            let Found::This(stub) = self.refusals.stub(key.value(), stored.value()) else {
                continue;
            };
            let Subject::Job(id) = stub.subject() else { continue };
            let key = subject_key(stub.subject());
            self.due(&key, stub.drop_at().0, id.as_str(), checked)?;
            let item = Item::of_value(stub.subject(), stub.certificate.body().ballot, stub.val());
            self.item(&key, Some(item), id.as_str(), checked)?;
        }
        for entry in txn.open_table(HOSTS)?.iter()? {
            let (key, stored) = entry?;
            let host: Found<Signed<HostDesc>> =
                self.refusals.signed(&HOSTS, key.value(), stored.value());
            let Found::This(host) = host else { continue };
            let item = Item::of_host(host.body(), host.signer());
            let id = &host.body().id;
            self.item(&host_key(id), Some(item), id.as_str(), checked)?;
        }
        Ok(())
    }

    fn keys(&mut self, txn: &ReadTransaction, checked: &mut Checked) -> Result<(), Fault> {
        for entry in txn.open_table(KEYS)?.iter()? {
            let (scope, stored) = entry?;
            let Ok(hash) = <[u8; 32]>::try_from(scope.value()) else { continue };
            let row: Found<KeyRow> = self.refusals.value(&KEYS, &hash, stored.value());
            let Found::This(row) = row else { continue };
            self.wanted.keys += 1;
            if self.keys.get((row.expires_at.0, &hash))?.is_none() {
                let key = hash.escape_ascii().to_string();
                checked.find(FaultKind::Index, KEYS_BY_EXPIRY.name(), key, MISSING);
            }
        }
        Ok(())
    }

    /// No table has more rows than it should.
    fn nothing_else(&self, checked: &mut Checked) -> Result<(), Fault> {
        let wanted = &self.wanted;
        let tables = [
            (JOBS_BY_CREATED.name(), self.jobs.len()?, wanted.jobs),
            (LIVE.name(), self.live.len()?, wanted.live),
            (DUE.name(), self.due.len()?, wanted.due),
            (KEYS_BY_EXPIRY.name(), self.keys.len()?, wanted.keys),
            (COMMITS.name(), self.commits.len()?, wanted.commits),
            (COMMIT_OF.name(), self.commit_of.len()?, wanted.commit_of),
        ];
        for (table, rows, wanted) in tables {
            if rows != wanted {
                let what = format!("it has {rows} rows where {wanted} belong");
                checked.find(FaultKind::Index, table, String::new(), what);
            }
        }
        Ok(())
    }

    /// The counts by which a start trusts the tables are those of the tables.
    fn counts(&self, index: &crate::tables::Index, checked: &mut Checked) -> Result<(), Fault> {
        let mut sum = Sum::EMPTY;
        for entry in self.commits.iter()? {
            sum.add(&item_of(entry?.0.value()));
        }
        let wanted = &self.wanted;
        let same = index.jobs == wanted.by_code
            && index.keys == wanted.keys
            && index.due == wanted.due
            && index.items + wanted.commit_of == wanted.commits
            && index.commits == sum;
        if !same {
            let what = "the counts in it are not those of the lists";
            checked.find(FaultKind::Index, "meta-1", "head".to_owned(), what);
        }
        Ok(())
    }
}
