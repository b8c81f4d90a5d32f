//! From a hash to a directory: fetched, checked, unpacked.

use std::path::Path;

use skyclaw_protocol::Hash;

use super::{Blobs, FetchError};
use crate::bundle::{self, UnpackError};

/// Why a directory could not be made of a bundle. It is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// Nobody who has it answers now; later somebody may.
    #[error("{0}")]
    Unavailable(String),
    /// It is no bundle that may be unpacked, and never will be one.
    #[error("{0}")]
    Broken(String),
    /// This machine has no room for it, or cannot write.
    #[error("{0}")]
    Host(String),
}

impl Blobs {
    /// Makes `into`, which must not be there or be empty, of the bundle with this hash. Given up
    /// while it unpacks, it goes on to its end; nobody else knows the directory meanwhile.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub async fn unpack(&self, hash: Hash, into: &Path) -> Result<(), BundleFault> {
        let held = self.fetch(hash).await.map_err(|error| match &error {
            FetchError::Nowhere { .. } | FetchError::Stopping => {
                BundleFault::Unavailable(error.to_string())
            }
            FetchError::Disk(_) => BundleFault::Host(error.to_string()),
        })?;
        let into = into.to_owned();
        let done = tokio::task::spawn_blocking(move || bundle::unpack(&held.path, &into));
        let done = done.await.map_err(|_| BundleFault::Unavailable("the node stops".to_owned()))?;
        done.map(drop).map_err(|error| match &error {
            UnpackError::Io(source) => BundleFault::Host(format!("{error}: {source}")),
            _ => BundleFault::Broken(error.to_string()),
        })
    }
}
