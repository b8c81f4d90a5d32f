//! The writer's side of the journal: when it begins, when it begins anew, when it ends.

use redb::ReadableTable;

use crate::error::Fault;
use crate::journal::{Bounds, Epoch, Journal, JournalPlace};
use crate::read::Shared;
use crate::seal::{Found, Refusals, seal};
use crate::tables::{FORMAT, FORMAT_WITH_JOURNAL, META, META_FORMAT, META_JOURNAL};

/// The journal of a database, where it has one.
#[derive(Debug)]
pub(crate) struct Journaled {
    place: Option<Box<dyn JournalPlace>>,
    bounds: Bounds,
    owner: [u8; 32],
    open: Option<Journal>,
    entropy: [u8; 32],
    before: Option<Epoch>,
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

    pub(super) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Puts the batch of this number on disk. False if it is left to redb; nothing was written then.
    pub(super) fn keep(
        &mut self,
        shared: &Shared,
        number: u64,
        body: &[u8],
    ) -> Result<bool, Fault> {
        let Some(place) = self.place.as_deref() else { return Ok(false) };
        if !Journal::takes(&self.bounds, body.len()) {
            return Ok(false);
        }
        let journal = match &mut self.open {
            Some(journal) => {
                if !journal.has_room(body.len()) {
                    shared.change(|_, _| Ok(()))?;
                    journal.rewind();
                }
                journal
            }
            None => {
                let epoch = Epoch::new(self.entropy, self.before, number);
                let file = place.create().map_err(io)?;
                let journal = Journal::begin(file, epoch, &self.owner, self.bounds).map_err(io)?;
                // From here on the database is not all there is.
                shared.change(|txn, _| {
                    let mut meta = txn.open_table(META)?;
                    let format = seal(&META, META_FORMAT, &FORMAT_WITH_JOURNAL);
                    meta.insert(META_FORMAT, format.as_slice())?;
                    let named = seal(&META, META_JOURNAL, &epoch.0.to_vec());
                    meta.insert(META_JOURNAL, named.as_slice())?;
                    Ok(())
                })?;
                self.open.insert(journal)
            }
        };
        journal.append(number, body).map_err(io)?;
        Ok(true)
    }

    /// redb has synced everything.
    pub(super) const fn rewind(&mut self) {
        if let Some(journal) = &mut self.open {
            journal.rewind();
        }
    }

    /// The database is all there is again, and is still held.
    pub(super) fn end(&self, shared: &Shared) -> Result<(), Fault> {
        let Some(place) = self.place.as_deref().filter(|_| self.open.is_some()) else {
            return Ok(());
        };
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
