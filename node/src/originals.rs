//! What coordinators of the original (v0.1.0) hold, as far as they told this node: a copy beside its
//! own database, never mixed with registers. It is shown, and tells which of their jobs wait.
//!
//! Always: a merge is durable when it is answered, runs beside the async threads, and one at a time;
//! a record that is malformed, hostile or ours is passed over alone and counted; the bytes of a
//! record that was judged once are not read again, since originals send all they have for every
//! heartbeat. A copy that is damaged is put aside and begun anew.

mod merge;
mod numbers;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::collector::Collector;
use skyclaw_http_compat::snapshot::{Kind, Malformed, Reason, Stamp};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{JobId, Refusal};
use skyclaw_store::OpenError;
use skyclaw_store::originals::{
    Class, Mark, MergeError as StoreError, Originals as Store, OriginalsOptions,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::{Shared, chain};
use crate::time;
use numbers::Numbers;
pub(crate) use views::{AsHeld, PART_BYTES, job as job_view};

/// Between two looks for jobs that ended too long ago.
const SWEEP: Duration = Duration::from_secs(600);

/// Refused records that are remembered, so that each is counted once however often it is sent; all
/// are forgotten when there are more.
const MAX_REFUSED: usize = 100_000;

/// What a merge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Whose records they are, if it says so.
    pub node_id: Option<String>,
    /// Records that were taken.
    pub changed: usize,
    /// Records that were not above what is held, or are registers here.
    pub held: usize,
    /// Records that were refused, by the word for the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// The largest version of all records that could be read so far.
    pub highest_version: u64,
    /// Records of nodes of ours that came back, ours among them.
    pub exported: Vec<(Kind, Stamp)>,
}

/// Why nothing was merged, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// It is no snapshot. Nothing was taken.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The copy cannot be written now; a part may have been taken.
    #[error("the copy of what originals hold cannot be written: {0}")]
    Store(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A job that waits at originals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its id.
    pub id: JobId,
    /// When it was taken there.
    pub created: Wall,
    /// What a host must be able to do.
    pub required: Vec<String>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Originals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    options: OriginalsOptions,
    /// What is decided here.
    own: Arc<Shared>,
    /// None until something is merged, and after a failure.
    store: RwLock<Option<Arc<Store>>>,
    /// One merge at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    refused: Mutex<HashMap<Mark, Reason>>,
    numbers: Numbers,
    changes: watch::Sender<u64>,
    highest: AtomicU64,
}

impl Originals {
    /// The copy beside the database at `db_path`, of a node whose own store is `own`. A file is
    /// made with the first merge.
    pub async fn open(
        db_path: &Path,
        retention: Duration,
        min_free_bytes: u64,
        own: Arc<Shared>,
    ) -> Self {
        let mut path = db_path.to_owned().into_os_string();
        path.push(".originals");
        let options = OriginalsOptions {
            retention_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX),
            min_free_bytes,
            ..OriginalsOptions::default()
        };
        let originals = Self(Arc::new(Inner {
            path: path.into(),
            options,
            own,
            store: RwLock::default(),
            turn: Arc::default(),
            refused: Mutex::default(),
            numbers: Numbers::default(),
            changes: watch::Sender::new(0),
            highest: AtomicU64::new(0),
        }));
        let opened = originals.clone();
        let open = move || {
            if opened.0.path.exists() { opened.opened().map(drop) } else { Ok(()) }
        };
        match tokio::task::spawn_blocking(open).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error, "what originals held is not shown until it can be read");
            }
            Err(error) => tracing::error!(%error, "the copy of what originals hold was not opened"),
        }
        originals
    }

    /// The open file; opened, or made, if it is not. Only by who has the turn, or at the start.
    fn opened(&self) -> Result<Arc<Store>, String> {
        if let Some(store) = self.held() {
            return Ok(store);
        }
        let open = || Store::open(&self.0.path, self.0.options.clone());
        let opened = match open() {
            Err(error) if !error.can_heal() => {
                self.set_aside(&error).map_err(|error| chain(&error))?;
                open()
            }
            opened => opened,
        };
        let opened = Arc::new(opened.map_err(|error| chain(&error))?);
        self.0.highest.fetch_max(opened.highest_version(), Ordering::Relaxed);
        let held = Some(Arc::clone(&opened));
        *self.0.store.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(opened)
    }

    /// It is a copy: originals tell it again.
    fn set_aside(&self, error: &OpenError) -> std::io::Result<()> {
        let mut aside = self.0.path.clone().into_os_string();
        aside.push(".damaged");
        tracing::warn!(%error, aside = %Path::new(&aside).display(), "it is begun anew");
        std::fs::rename(&self.0.path, aside)
    }

    /// The file, if it is open.
    fn held(&self) -> Option<Arc<Store>> {
        self.0.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a failed commit; the next merge opens it again.
    fn give_up(&self, error: &StoreError) -> String {
        if matches!(error, StoreError::Commit(_) | StoreError::Read(_)) {
            *self.0.store.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        chain(error)
    }

    /// Does `work` beside the async threads, alone. It goes on where the caller does not wait.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&this)
        });
        done.await.ok()
    }

    /// Takes what a body holds. What it says was taken is on disk.
    ///
    /// # Errors
    /// [`MergeError`].
    pub async fn merge(&self, body: Bytes) -> Result<Merged, MergeError> {
        let merged = self.alone(move |this| this.merge_now(&body)).await;
        merged.unwrap_or(Err(MergeError::Stopping))
    }

    /// Forgets everything, as the last original was forgotten.
    ///
    /// # Errors
    /// [`Refusal::Store`] if it is still there.
    pub async fn clear(&self) -> Result<(), Refusal> {
        let cleared = self.alone(|this| match this.held() {
            Some(store) => store.clear().map_err(|error| this.give_up(&error)),
            None => Ok(()),
        });
        cleared.await.unwrap_or(Ok(())).map_err(Refusal::Store)?;
        self.changed();
        Ok(())
    }

    /// Drops jobs that ended too long ago, again and again, until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let work = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                let sweep = |this: &Self| {
                    let Some(store) = this.held() else { return 0 };
                    store.sweep(time::wall()).unwrap_or_else(|error| {
                        let error = this.give_up(&error);
                        tracing::warn!(error, "what originals hold could not be swept");
                        0
                    })
                };
                if self.alone(sweep).await.is_some_and(|swept| swept > 0) {
                    self.changed();
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Moves each time something that is held changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Jobs that wait at originals, the oldest first, without those that are registers here. From
    /// memory but for that.
    #[must_use]
    pub fn queued(&self) -> Vec<Queued> {
        let Some(store) = self.held() else { return Vec::new() };
        let queued = store.queued().into_iter().filter_map(|job| {
            let id = JobId::new(&*job.id).ok()?;
            Some(Queued { id, created: job.created, required: job.required.to_vec() })
        });
        let queued: Vec<_> = queued.collect();
        let ids = queued.iter().map(|job| (Class::Job, job.id.as_str()));
        // A job that cannot be looked up is none to be run twice.
        let Ok(known) = self.are_own(ids) else { return Vec::new() };
        queued.into_iter().zip(known).filter(|(_, known)| !known).map(|(job, _)| job).collect()
    }

    /// How many records are held.
    #[must_use]
    pub fn count(&self) -> usize {
        let all = [Class::Host, Class::Job, Class::Service];
        self.held().map_or(0, |store| all.into_iter().map(|class| store.count(class)).sum())
    }

    /// The largest version that originals showed for a record, also before a restart.
    #[must_use]
    pub fn highest_version(&self) -> u64 {
        self.0.highest.load(Ordering::Relaxed)
    }

    /// What is held and what was refused, for metrics.
    #[must_use]
    pub fn numbers(&self) -> Box<dyn Collector> {
        Box::new(numbers::Shown(self.clone()))
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Mark, Reason>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
