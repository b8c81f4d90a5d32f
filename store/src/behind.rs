//! What is in the journal and not in redb yet, and how it gets there.
//!
//! Always: whoever reads finds every batch that was committed before. One register, result or key is looked up in
//! what waits; for all else what waits is put into redb first, by the thread that reads. Batches get there in their
//! order and one by one, as if each had been a transaction of its own; one leaves only after redb shows it. A failure
//! leaves redb at a whole batch, and then nobody reads any more until the file is opened again: what was promised
//! must not look as if it were not there.

mod broken;
mod index;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Durability, ReadTransaction, WriteTransaction};
use skyclaw_protocol::Hash;
use skyclaw_protocol::batch::Write;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::spec::Subject;

use crate::commit::Writer;
use crate::error::{Fault, guard};
use crate::journal::{Bounds, OutboxRow};
use crate::read::Shared;
use crate::seal::seal;
use crate::tables::{Head, META, META_HEAD};
use broken::Broken;
use index::Queue;
pub(crate) use index::Touch;

/// Changes that redb gets in one transaction, which takes it some milliseconds: nobody else writes meanwhile.
const AT_ONCE: usize = Bounds::USUAL.waiting;

/// A batch that is on disk.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// Where the machine's clock and counter stand; none if it is not the machine's.
    pub(crate) stamp: Option<(Hlc, u64)>,
    pub(crate) writes: Vec<Write>,
    /// Changes of the outbox: those of a host are batches of their own.
    pub(crate) outbox: Vec<OutboxRow>,
    /// Bytes of it in the journal.
    pub(crate) bytes: usize,
}

impl Unsettled {
    /// How much there is to be done with it. One without changes counts, too: it moves the clock.
    pub(crate) fn changes(&self) -> usize {
        (self.writes.len() + self.outbox.len()).max(1)
    }
}

/// What waits, and up to where redb is.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Changes that wait, so that a reader need not take a lock where there are none.
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// Batches that redb has on disk.
    synced: AtomicU64,
    /// Whether redb failed: what [`Applied::broken`] says at length.
    broken: AtomicBool,
    queue: Mutex<Queue>,
    /// Held by whoever writes to redb; taken before the queue's.
    applied: Mutex<Applied>,
}

#[derive(Debug)]
struct Applied {
    head: Head,
    broken: Option<Broken>,
}

impl Behind {
    /// Behind a database that is on disk up to there.
    pub(crate) fn new(head: Head) -> Self {
        let synced = AtomicU64::new(head.batches);
        let applied = Applied { head, broken: None };
        Self {
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            synced,
            broken: AtomicBool::new(false),
            queue: Mutex::default(),
            applied: Mutex::new(applied),
        }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        // A panic in redb is caught inside, and sets `broken`.
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that wait.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether redb failed to take what waits.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Nothing is to be had here any more.
    pub(crate) fn close(&self) {
        *self.queue() = Queue::default();
        self.count.store(0, Ordering::Release);
    }

    /// Batches that redb has on disk.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether redb should be given what waits.
    pub(crate) fn is_due(&self, bounds: &Bounds) -> bool {
        self.count() >= bounds.waiting || self.bytes.load(Ordering::Acquire) >= bounds.waiting_bytes
    }

    /// Whether this much more may not wait with what does.
    pub(crate) fn is_full(&self, bounds: &Bounds, changes: usize, bytes: usize) -> bool {
        let (count, waiting) = (self.count(), self.bytes.load(Ordering::Acquire));
        let many = count + changes > bounds.waiting * Bounds::BACKLOG;
        let long = waiting + bytes > bounds.waiting_bytes * Bounds::BACKLOG;
        count > 0 && (many || long)
    }

    /// Nothing gets into redb any more, since whoever had to see to it is gone.
    pub(crate) fn give_up(&self, why: &str) {
        let fault = Fault(Box::new(redb::Error::Corrupted(why.to_owned())));
        self.break_off(&mut self.applied(), &fault);
    }

    fn break_off(&self, applied: &mut Applied, fault: &Fault) {
        if applied.broken.is_none() {
            applied.broken = Some(Broken::of(fault));
            // Whoever reads more than what waits comes here and hears why not.
            self.count.fetch_add(1, Ordering::Release);
            self.broken.store(true, Ordering::Release);
        }
    }

    /// redb shows the first batches to whoever asks from now on.
    fn done(&self, batches: &[Arc<Unsettled>]) {
        self.queue().drop_first(batches.len());
        let changes = batches.iter().map(|batch| batch.changes()).sum();
        self.count.fetch_sub(changes, Ordering::Release);
        let bytes = batches.iter().map(|batch| batch.bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::Release);
    }

    /// What redb says of itself, or will once nothing waits.
    pub(crate) fn head(&self) -> Head {
        self.applied().head.clone()
    }

    /// The changes of a register that wait, in their order.
    pub(crate) fn of(&self, subject: &Subject) -> Vec<Touch> {
        if self.count() == 0 { Vec::new() } else { self.queue().of(subject) }
    }

    /// The last change of a key that waits.
    pub(crate) fn key(&self, scope: &Hash) -> Option<Touch> {
        if self.count() == 0 { None } else { self.queue().key(scope) }
    }

    /// The last change of the outbox under this key that waits: what stands there then.
    pub(crate) fn outbox(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        if self.count() == 0 { None } else { self.queue().outbox(key) }
    }

    /// A batch became durable.
    pub(crate) fn push(&self, batch: Unsettled) {
        let mut queue = self.queue();
        self.count.fetch_add(batch.changes(), Ordering::Release);
        self.bytes.fetch_add(batch.bytes, Ordering::Release);
        queue.push(batch);
    }
}

impl Shared {
    /// Puts into redb what waits. Cheap where nothing does.
    pub(crate) fn settle(&self) -> Result<(), Fault> {
        self.settle_in_parts(|| {})
    }

    /// As [`settle`](Self::settle); says so after each of its transactions: whoever waits for some room need not
    /// wait for all.
    pub(crate) fn settle_in_parts(&self, mut done: impl FnMut()) -> Result<(), Fault> {
        if self.behind.count() == 0 {
            return Ok(());
        }
        self.health()?;
        // What comes meanwhile is no matter here, or this might go on for ever.
        let (goal, _) = self.behind.queue().marks();
        loop {
            let (all, gone) = self.behind.queue().marks();
            if gone >= goal || gone == all {
                return Ok(());
            }
            self.write(Durability::None, AT_ONCE, None, |_, _| Ok(()))?;
            done();
        }
    }

    /// Has redb put on disk what waits by now, or most of it.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        self.write(Durability::Immediate, AT_ONCE, None, |_, _| Ok(()))
    }

    /// Why redb takes nothing more, if it does not.
    pub(crate) fn health(&self) -> Result<(), Fault> {
        match self.behind.is_broken().then(|| self.behind.applied()) {
            Some(applied) => applied.broken.as_ref().map_or(Ok(()), |broken| Err(broken.fault())),
            None => Ok(()),
        }
    }

    /// Changes redb behind what waits. All of it is on disk then.
    pub(crate) fn change(
        &self,
        act: impl FnOnce(&WriteTransaction, &mut Head) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // Apart, so that no reader waits for the sync.
        self.settle()?;
        self.write(Durability::Immediate, usize::MAX, None, act)
    }

    /// Puts a batch on disk in redb, behind what waits. Nobody sees it before.
    pub(crate) fn commit(&self, batch: Unsettled) -> Result<(), Fault> {
        self.settle()?;
        self.write(Durability::Immediate, usize::MAX, Some(Arc::new(batch)), |_, _| Ok(()))
    }

    /// The changes of a register that wait, and what redb has without them.
    pub(crate) fn look(&self, subject: &Subject) -> Result<(Vec<Touch>, ReadTransaction), Fault> {
        // Under its lock, or a batch behind these could come into redb between.
        let queue = self.behind.queue();
        let touches = queue.of(subject);
        let txn = self.begin_read_settled()?;
        drop(queue);
        Ok((touches, txn))
    }

    fn write(
        &self,
        durability: Durability,
        most: usize,
        more: Option<Arc<Unsettled>>,
        act: impl FnOnce(&WriteTransaction, &mut Head) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let behind = &self.behind;
        let mut applied = behind.applied();
        if let Some(broken) = &applied.broken {
            return Err(broken.fault());
        }
        // They stay where they are until redb has them: who asks for one of them finds it.
        let waiting = behind.queue().first(most);
        let synced = matches!(durability, Durability::Immediate);
        if waiting.is_empty() && !synced {
            return Ok(());
        }
        let written = guard(|| {
            let mut txn = self.begin_write()?;
            txn.set_durability(durability)?;
            let mut head = self.apply(&txn, &applied.head, waiting.iter().chain(&more))?;
            act(&txn, &mut head)?;
            if head != applied.head {
                txn.open_table(META)?
                    .insert(META_HEAD, seal(&META, META_HEAD, &head).as_slice())?;
            }
            txn.commit()?;
            applied.head = head;
            behind.done(&waiting);
            if synced {
                behind.synced.store(applied.head.batches, Ordering::Release);
            }
            Ok(())
        });
        if let Err(fault) = &written {
            behind.break_off(&mut applied, fault);
        }
        written
    }

    fn apply<'w>(
        &self,
        txn: &WriteTransaction,
        head: &Head,
        batches: impl Iterator<Item = &'w Arc<Unsettled>>,
    ) -> Result<Head, Fault> {
        let mut head = head.clone();
        let mut batches = batches.peekable();
        if batches.peek().is_none() {
            return Ok(head);
        }
        let mut writer = Writer::open(txn, &head, &self.refusals)?;
        for batch in batches {
            for write in &batch.writes {
                writer.apply(write)?;
            }
            writer.file()?;
            for row in &batch.outbox {
                writer.outbox(row)?;
            }
            if let Some(stamp) = batch.stamp {
                (head.clock, head.version) = stamp;
            }
            head.batches = head.batches.saturating_add(1);
        }
        (head.index, head.gc_floor) = writer.finish();
        Ok(head)
    }
}
