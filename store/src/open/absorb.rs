//! A journal that was in use when its node ended: what it holds goes into the database.

use std::path::Path;

use redb::StorageBackend;

use crate::behind::Unsettled;
use crate::error::OpenError;
use crate::journal::{Body, Bounds, Epoch, Frame, JournalPlace, Scan, owner, scan};
use crate::read::Shared;

/// A journal, and the batches in it that the database has not synced.
#[derive(Debug)]
pub(crate) struct Left {
    file: Box<dyn StorageBackend>,
    frames: Vec<Frame>,
}

/// Looks into the journal of the database at `path`, which names this epoch and has so many batches. Nothing
/// is changed.
pub(crate) fn left(
    path: &Path,
    place: Option<&dyn JournalPlace>,
    epoch: &Epoch,
    batches: u64,
) -> Result<Left, OpenError> {
    let missing = |name: &Path| {
        let name = name.display();
        OpenError::corrupt(
            path,
            format!("its journal {name} is missing, in which the newest of what it holds stands"),
        )
    };
    let place = place.ok_or_else(|| missing(Path::new("")))?;
    let environment = |error| OpenError::environment(place.path(), error);
    let file = place.open().map_err(environment)?.ok_or_else(|| missing(place.path()))?;
    match scan(&*file, epoch, batches, &place.bounds()).map_err(environment)? {
        Scan::Frames(frames) => Ok(Left { file, frames }),
        Scan::Foreign => {
            let name = place.path().display();
            Err(OpenError::corrupt(path, format!("{name} is not its journal")))
        }
        Scan::Cut => {
            let name = place.path().display();
            Err(OpenError::corrupt(path, format!("its journal {name} ends too early")))
        }
        Scan::Gap(number) => {
            let name = place.path().display();
            let detail = format!("batch {number} in its journal {name} does not check out");
            Err(OpenError::corrupt(path, detail))
        }
    }
}

/// A journal that no database names: that of the node `own` holds nothing that its database has not; another's
/// may be all that is left of something.
pub(crate) fn clear(place: &dyn JournalPlace, own: &[u8; 32]) -> std::io::Result<()> {
    let Some(file) = place.open()? else { return Ok(()) };
    match owner(&*file)? {
        Some(owner) if owner != *own => place.set_aside(),
        _ => place.remove(),
    }
}

impl Left {
    /// Whether every batch can be read.
    pub(crate) fn check(&self, path: &Path) -> Result<(), OpenError> {
        self.frames.iter().try_for_each(|frame| self.batch(path, frame).map(drop))
    }

    fn batch(&self, path: &Path, frame: &Frame) -> Result<Unsettled, OpenError> {
        let body = frame.body(&*self.file);
        let body = body.map_err(|error| OpenError::environment(path, error))?;
        Body::read(&body).map_err(|why| {
            OpenError::corrupt(path, format!("batch {} in its journal: {why}", frame.number))
        })
    }

    /// Puts the batches into the database, not synced.
    pub(crate) fn absorb(&self, path: &Path, shared: &Shared) -> Result<(), OpenError> {
        for frame in &self.frames {
            let batch = self.batch(path, frame)?;
            shared.behind.push(batch);
            if shared.behind.is_due(&Bounds::USUAL) {
                shared.settle().map_err(|fault| OpenError::of(path, fault))?;
            }
        }
        shared.settle().map_err(|fault| OpenError::of(path, fault))?;
        if !self.frames.is_empty() {
            let (path, batches) = (path.display(), self.frames.len());
            tracing::info!(%path, batches, "the journal was read: the node had not been stopped");
        }
        Ok(())
    }
}
