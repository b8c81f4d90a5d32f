//! The writer's side of the journal: when it begins, when redb is to have what it holds, when it ends.

use std::sync::Arc;

use redb::ReadableTable;

use crate::behind::Unsettled;
use crate::error::Fault;
use crate::journal::{Bounds, Epoch, Journal, JournalPlace};
use crate::read::Shared;
use crate::seal::{Found, Refusals, seal};
use crate::settler::{Settler, Task};
use crate::tables::{FORMAT, FORMAT_WITH_JOURNAL, META, META_FORMAT, META_JOURNAL};

/// The journal of a database, where it has one.
#[derive(Debug)]
pub(crate) struct Journaled {
    place: Option<Box<dyn JournalPlace>>,
    bounds: Bounds,
    owner: [u8; 32],
    open: Option<Open>,
    entropy: [u8; 32],
    before: Option<Epoch>,
}

/// A journal that is in use, and who empties it.
#[derive(Debug)]
struct Open {
    journal: Journal,
    settler: Settler,
}

impl Journaled {
    /// At that place, or none, of that node. `before` is what wrote there last.
    pub(crate) fn new(
        place: Option<Box<dyn JournalPlace>>,
        owner: [u8; 32],
        entropy: [u8; 32],
        before: Option<Epoch>,
    ) -> Self {
        let bounds = place.as_ref().map_or(Bounds::USUAL, |place| place.bounds());
        Self { place, bounds, owner, open: None, entropy, before }
    }

    /// Puts the batch of this number, with these bytes, on disk and lets it wait for redb. Gives it back if it is
    /// left to redb; nothing was written then.
    pub(super) fn keep(
        &mut self,
        shared: &Arc<Shared>,
        number: u64,
        batch: Unsettled,
        body: &[u8],
    ) -> Result<Option<Unsettled>, Fault> {
        let Some(place) = self.place.as_deref() else { return Ok(Some(batch)) };
        if !Journal::takes(&self.bounds, body.len()) {
            return Ok(Some(batch));
        }
        let Open { journal, settler } = match &mut self.open {
            Some(open) => open,
            None => {
                let epoch = Epoch::new(self.entropy, self.before, number);
                let file = place.create().map_err(io)?;
                let journal = Journal::begin(file, epoch, &self.owner, self.bounds).map_err(io)?;
                let settler = Settler::begin(shared, place.settles_apart()).map_err(io)?;
                // From here on the database is not all there is.
                shared.change(|txn, _| {
                    let mut meta = txn.open_table(META)?;
                    let format = seal(&META, META_FORMAT, &FORMAT_WITH_JOURNAL);
                    meta.insert(META_FORMAT, format.as_slice())?;
                    let named = seal(&META, META_JOURNAL, &epoch.0.to_vec());
                    meta.insert(META_JOURNAL, named.as_slice())?;
                    Ok(())
                })?;
                self.open.insert(Open { journal, settler })
            }
        };
        // Before the batch is anywhere: where this fails, nothing of it is kept.
        while shared.behind.is_full(&self.bounds, batch.changes(), body.len()) {
            settler.wait(Task::Settle)?;
        }
        journal.release(shared.behind.synced());
        while !journal.has_room(body.len()) {
            settler.wait(Task::Sync)?;
            journal.release(shared.behind.synced());
        }
        journal.append(number, body).map_err(io)?;
        shared.behind.push(batch);
        if journal.is_due() {
            settler.ask(Task::Sync);
        } else if shared.behind.is_due(&self.bounds) {
            settler.ask(Task::Settle);
        }
        Ok(None)
    }

    /// Has redb given what waits, beside the caller. False if there is nobody to do it.
    pub(super) fn settle_beside(&self, shared: &Shared) -> bool {
        if let Some(open) = self.open.as_ref().filter(|_| shared.behind.count() > 0) {
            open.settler.ask(Task::Settle);
        }
        self.open.is_some()
    }

    #[cfg(test)]
    pub(super) fn settler(&self) -> Option<&Settler> {
        self.open.as_ref().map(|open| &open.settler)
    }

    #[cfg(test)]
    pub(super) fn takes_at_once(&self, shared: &Shared, changes: usize, body: usize) -> bool {
        self.open.as_ref().is_some_and(|open| {
            Journal::takes(&self.bounds, body)
                && open.journal.has_room(body)
                && !shared.behind.is_full(&self.bounds, changes, body)
        })
    }

    /// The database is all there is again, and is still held.
    pub(super) fn end(&mut self, shared: &Shared) -> Result<(), Fault> {
        // With it the settler, which ends what it is at.
        let was_open = self.open.take().is_some();
        let Some(place) = self.place.as_deref().filter(|_| was_open) else { return Ok(()) };
        leave(shared)?;
        if let Err(error) = place.remove() {
            tracing::debug!(path = %place.path().display(), %error, "an old journal was left");
        }
        Ok(())
    }
}

fn io(error: std::io::Error) -> Fault {
    Fault(Box::new(redb::Error::Io(error)))
}

/// Puts into redb what waits, and takes the journal's name out of it.
pub(crate) fn leave(shared: &Shared) -> Result<(), Fault> {
    shared.change(|txn, _| {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_FORMAT, seal(&META, META_FORMAT, &FORMAT).as_slice())?;
        meta.remove(META_JOURNAL)?;
        Ok(())
    })
}

/// The journal that a database names.
pub(crate) fn named(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
    refusals: &Refusals,
) -> Result<Result<Option<Epoch>, ()>, Fault> {
    let found: Found<Vec<u8>> = refusals.get(meta, &META, META_JOURNAL)?;
    Ok(match found {
        Found::Nothing => Ok(None),
        Found::Refused => Err(()),
        Found::This(epoch) => epoch.try_into().map(|epoch| Some(Epoch(epoch))).map_err(|_| ()),
    })
}
