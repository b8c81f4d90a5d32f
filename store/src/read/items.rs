//! What can be handed to other coordinators: the items of all records, and the records of items.

use redb::ReadTransaction;
use skyclaw_protocol::JobId;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::repair::{Inventory, Item, Range, Sum};
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::shards::{Shard, ShardSet};

use super::Reader;
use super::jobs::{JobRecord, record};
use super::view::View;
use crate::error::{Fault, ReadError};
use crate::seal::{Found, Refusals};
use crate::tables::{
    COMMITS, HOSTS, Head, Index, META, META_HEAD, STUBS, host_of, item_key, item_of, subject_key,
    subject_of,
};

/// The record an item stands for.
#[derive(Clone, Debug)]
pub enum Held {
    /// A register at the value of the item.
    Register(Box<JobRecord>),
    /// What is left of a job.
    Stub(Box<Stub>),
    /// A host as last described.
    Host(Box<Signed<HostDesc>>),
}

impl Reader {
    /// The record of `item`; `None` if a newer one took its place or it does not check out.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn held(&self, item: &Item) -> Result<Option<Held>, ReadError> {
        self.read(|txn, refusals| held(txn, refusals, item))
    }
}

impl Inventory for Reader {
    type Error = ReadError;

    fn sum(&self, range: Range) -> Result<Sum, ReadError> {
        self.read(|txn, refusals| {
            if range == Range::ALL {
                let head: Found<Head> = refusals.get(&txn.open_table(META)?, &META, META_HEAD)?;
                return Ok(head.ok().map_or(Index::empty(0), |head| head.index).commits);
            }
            let mut sum = Sum::EMPTY;
            scan(txn, range, usize::MAX, |_| true, |item| sum.add(&item))?;
            Ok(sum)
        })
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, ReadError> {
        self.read(|txn, _| {
            let mut items = Vec::new();
            scan(txn, range, most, |_| true, |item| items.push(item))?;
            Ok(items)
        })
    }
}

/// What of a store lies in some shards, and what lies in none: services and hosts.
///
/// The sums of all items are kept, those of shards are not: each comparison reads the keys in its ranges. Of 200,000
/// records these are 20 MB; whoever keeps a part of all has fewer.
#[derive(Clone, Debug)]
pub struct InShards {
    reader: Reader,
    scope: ShardSet,
}

impl Reader {
    /// What of it lies in these shards, and in none.
    #[must_use]
    pub const fn in_shards(self, scope: ShardSet) -> InShards {
        InShards { reader: self, scope }
    }
}

/// Part of the jobs that lie in other shards than some.
#[derive(Clone, Debug, Default)]
pub struct Strays {
    /// Each with the item that stands for it, in the order of items.
    pub jobs: Vec<(Item, JobId)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Item>,
}

impl Reader {
    /// At most `most` jobs whose shards are not in `scope`, from the item `from` on, among no more than `looked` records.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn strays(
        &self,
        scope: &ShardSet,
        from: Item,
        looked: usize,
        most: usize,
    ) -> Result<Strays, ReadError> {
        self.read(|txn, _| {
            let mut strays = Strays::default();
            let (from, to) = (item_key(&from), item_key(&Item::END));
            let commits = txn.open_table(COMMITS)?;
            for (n, entry) in commits.range::<&[u8; 24]>(&from..&to)?.enumerate() {
                let (item, key) = entry?;
                if n == looked || strays.jobs.len() == most {
                    strays.next = Some(item_of(item.value()));
                    break;
                }
                if let Some(Subject::Job(job)) = subject_of(key.value())
                    && !scope.holds(Shard::of(&job))
                {
                    strays.jobs.push((item_of(item.value()), job));
                }
            }
            Ok(strays)
        })
    }

    /// The item that stands for each of these jobs, and the version of its value; `None` for one of which nothing is known to be chosen.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn items_of<'a>(
        &self,
        jobs: impl IntoIterator<Item = &'a JobId>,
    ) -> Result<Vec<Option<(Item, u64)>>, ReadError> {
        self.read(|txn, refusals| {
            let view = View::open(txn, refusals)?;
            let stubs = txn.open_table(STUBS)?;
            let mut items = Vec::new();
            for job in jobs {
                let subject = Subject::Job(job.clone());
                let register = view.register(&subject)?;
                let stub = match register {
                    Some(_) => None,
                    None => refusals.get_stub(&stubs, &subject_key(&subject))?.ok(),
                };
                let decided = match (&register, &stub) {
                    (Some(register), _) => register.decided(),
                    (None, stub) => {
                        stub.as_ref().map(|stub| (stub.certificate.body().ballot, stub.val()))
                    }
                };
                let item =
                    decided.map(|(ballot, val)| (Item::of_value(&subject, ballot, val), val.ver));
                items.push(item);
            }
            Ok(items)
        })
    }
}

impl InShards {
    /// All of the store.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    fn holds(&self, key: &[u8]) -> bool {
        match subject_of(key) {
            Some(Subject::Job(job)) => self.scope.holds(Shard::of(&job)),
            Some(Subject::Service(_)) | None => true,
        }
    }
}

impl Inventory for InShards {
    type Error = ReadError;

    fn sum(&self, range: Range) -> Result<Sum, ReadError> {
        self.reader.read(|txn, _| {
            let mut sum = Sum::EMPTY;
            scan(txn, range, usize::MAX, |key| self.holds(key), |item| sum.add(&item))?;
            Ok(sum)
        })
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, ReadError> {
        self.reader.read(|txn, _| {
            let mut items = Vec::new();
            scan(txn, range, most, |key| self.holds(key), |item| items.push(item))?;
            Ok(items)
        })
    }
}

fn scan(
    txn: &ReadTransaction,
    range: Range,
    most: usize,
    holds: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(Item),
) -> Result<(), Fault> {
    // What the other side asked for may be upside down, which redb does not take.
    if range.from >= range.to {
        return Ok(());
    }
    let (from, to) = (item_key(&range.from), item_key(&range.to));
    let mut left = most;
    for entry in txn.open_table(COMMITS)?.range::<&[u8; 24]>(&from..&to)? {
        if left == 0 {
            break;
        }
        let (item, key) = entry?;
        if holds(key.value()) {
            each(item_of(item.value()));
            left -= 1;
        }
    }
    Ok(())
}

fn held(txn: &ReadTransaction, refusals: &Refusals, item: &Item) -> Result<Option<Held>, Fault> {
    let commits = txn.open_table(COMMITS)?;
    let Some(key) = commits.get(&item_key(item))? else { return Ok(None) };
    if let Some(id) = host_of(key.value()) {
        let hosts = txn.open_table(HOSTS)?;
        let host: Option<Signed<HostDesc>> =
            refusals.get_signed(&hosts, &HOSTS, id.as_str().as_bytes())?.ok();
        let host = host.filter(|host| Item::of_host(host.body(), host.signer()) == *item);
        return Ok(host.map(|host| Held::Host(Box::new(host))));
    }
    let Some(subject) = subject_of(key.value()) else { return Ok(None) };
    if let Found::This(stub) = refusals.get_stub(&txn.open_table(STUBS)?, key.value())? {
        let ballot = stub.certificate.body().ballot;
        let this = Item::of_value(&subject, ballot, stub.val()) == *item;
        return Ok(this.then(|| Held::Stub(Box::new(stub))));
    }
    let record = record(&View::open(txn, refusals)?, &subject)?.filter(|record| {
        let decided = record.register.decided();
        decided.is_some_and(|(ballot, val)| Item::of_value(&subject, ballot, val) == *item)
    });
    Ok(record.map(|record| Held::Register(Box::new(record))))
}
