//! The door of one run: a socket, and the connections through it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skyclaw_http_compat::egress::{Patience, Way, serve};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::dial::Dial;
use super::limits::CONNECTIONS;
use super::numbers::count;

/// Pause where the machine has no room for another connection.
const SCARCE: Duration = Duration::from_millis(100);

/// The way out of one run, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Door {
    path: PathBuf,
    /// Ends with the door, and with it every connection.
    _served: AbortOnDropHandle<()>,
}

impl Door {
    pub(super) fn open(dial: Arc<Dial>, folder: &Path) -> io::Result<Self> {
        // Another run of the same user could use a door whose name it knew.
        let path = folder.join(format!("out-{:016x}", rand::random::<u64>()));
        let listener = UnixListener::bind(&path)?;
        // Whoever runs what is behind it may be another user; the folder is closed to all others.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let served = AbortOnDropHandle::new(tokio::spawn(accept(listener, dial)));
        Ok(Self { path, _served: served })
    }

    /// The socket.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It goes with the run's folder in any case.
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves until it is dropped.
async fn accept(listener: UnixListener, dial: Arc<Dial>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // What is too much waits: answered before it was read, it would be cut off without a word.
        let place = match Arc::clone(&room).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                count(&dial.numbers.crowded);
                // Never closed.
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                place
            }
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let way = Arc::clone(&dial) as Arc<dyn Way>;
                connections.spawn(async move {
                    serve(stream, way, Patience::default()).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to the proxy can be taken for now");
                tokio::time::sleep(SCARCE).await;
            }
        }
    }
}
