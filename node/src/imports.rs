//! Answers that originals remembered, as `skyclaw import` brought them: a file beside the database,
//! made when the first ones come.
//!
//! Always: they are read where a request carries a key and there are some, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use skyclaw_protocol::{ImportedKey, Refusal};
use skyclaw_store::{ImportedKeys, OpenError, PutKeys};

use crate::engine::chain;
use crate::tasks::Tasks;
use crate::time;

/// How often what has expired is looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// Between two sweeps while there is more than one takes.
const SWEEP_ON: Duration = Duration::from_millis(100);

/// Cheap to clone. All calls block while the disk answers.
#[derive(Clone, Debug)]
pub struct Imports(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    retention: Duration,
    keys: RwLock<Option<Arc<ImportedKeys>>>,
    /// One maker of the file.
    making: Mutex<()>,
}

impl Imports {
    /// Those beside the database at `db_path`; jobs that ended before `retention` are not taken.
    #[must_use]
    pub fn open(db_path: &Path, retention: Duration) -> Self {
        let mut path = db_path.to_owned().into_os_string();
        path.push(".imported");
        let path = PathBuf::from(path);
        let keys = match fs::symlink_metadata(&path) {
            Ok(_) => open(&path),
            Err(_) => None,
        };
        let keys = RwLock::new(keys.map(Arc::new));
        Self(Arc::new(Inner { path, retention, keys, making: Mutex::default() }))
    }

    /// How long after its end a job is kept here.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.0.retention
    }

    fn keys(&self) -> Option<Arc<ImportedKeys>> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an original answered to the request of that route and key, if it counts still.
    ///
    /// # Errors
    /// The disk did not answer.
    pub fn get(&self, route: &str, key: &str) -> Result<Option<ImportedKey>, Refusal> {
        let Some(keys) = self.keys() else { return Ok(None) };
        keys.get(route, key, time::wall()).map_err(|error| Refusal::Store(chain(&error)))
    }

    /// How many of them are there.
    ///
    /// # Errors
    /// The disk did not answer.
    pub fn known(&self, keys: &[ImportedKey]) -> Result<u64, Refusal> {
        let Some(held) = self.keys() else { return Ok(0) };
        let mut known = 0;
        for key in keys {
            let has = held.has(&key.route, &key.key);
            known += u64::from(has.map_err(|error| Refusal::Store(chain(&error)))?);
        }
        Ok(known)
    }

    /// Takes those that are not there.
    ///
    /// # Errors
    /// The disk takes none.
    pub fn put(&self, keys: &[ImportedKey]) -> Result<PutKeys, Refusal> {
        if keys.is_empty() {
            return Ok(PutKeys::default());
        }
        let held = self.made().map_err(|error| Refusal::Store(chain(&error)))?;
        held.put(keys).map_err(|error| {
            // After a failed commit the file is opened anew.
            *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = None;
            Refusal::Store(chain(&error))
        })
    }

    fn made(&self) -> Result<Arc<ImportedKeys>, OpenError> {
        let _turn = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = self.keys() {
            return Ok(keys);
        }
        let made = Arc::new(ImportedKeys::open(&self.0.path)?);
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Forgets what has expired, now and then, until `tasks` are stopped.
    pub fn keep(&self, tasks: &Tasks) {
        let (imports, stop) = (self.clone(), tasks.token());
        tasks.spawn(async move {
            let mut pause = SWEEP_ON;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                let imports = imports.clone();
                let sweep = move || imports.keys().map(|keys| keys.sweep(time::wall()));
                pause = match tokio::task::spawn_blocking(sweep).await {
                    Ok(Some(Ok(true))) => SWEEP_ON,
                    Ok(Some(Err(error))) => {
                        tracing::warn!(error = chain(&error), "old answers are not forgotten");
                        SWEEP
                    }
                    _ => SWEEP,
                };
            }
        });
    }
}

/// A file that cannot be used is put aside: without it requests are carried out that would have been
/// answered, and the node runs.
fn open(path: &Path) -> Option<ImportedKeys> {
    let error = match ImportedKeys::open(path) {
        Ok(keys) => return Some(keys),
        Err(error) => error,
    };
    tracing::error!(error = chain(&error), "what originals had answered cannot be read");
    if matches!(error, OpenError::Corrupt { .. } | OpenError::NotOurs { .. }) {
        let mut aside = path.to_owned().into_os_string();
        aside.push(".damaged");
        if let Err(error) = fs::rename(path, &aside) {
            tracing::error!(%error, "it cannot be put aside");
        }
    }
    None
}
