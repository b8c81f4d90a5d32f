//! From a hash to a directory: fetched, checked, unpacked.

use std::path::Path;

use skyclaw_protocol::Hash;

use super::{Blobs, FetchError};
use crate::bundle::{self, BundleError, UnpackError};

impl Blobs {
    /// Makes `into`, which must not be there or be empty, of the bundle with this hash. Given up
    /// while it unpacks, it goes on to its end; `busy` is dropped once nothing is written any more.
    ///
    /// # Errors
    /// [`BundleError`].
    pub async fn unpack(
        &self,
        hash: Hash,
        into: &Path,
        busy: impl Send + 'static,
    ) -> Result<(), BundleError> {
        let held = self.fetch(hash).await.map_err(|error| match &error {
            FetchError::Nowhere { .. } | FetchError::Stopping => {
                BundleError::Unavailable(error.to_string())
            }
            FetchError::Disk(_) => BundleError::Host(error.to_string()),
        })?;
        let into = into.to_owned();
        let done = tokio::task::spawn_blocking(move || {
            let done = bundle::unpack(&held.path, &into);
            drop(busy);
            done
        });
        let done = done.await.map_err(|_| BundleError::Unavailable("the node stops".to_owned()))?;
        done.map(drop).map_err(|error| match &error {
            UnpackError::Io(source) => BundleError::Host(format!("{error}: {source}")),
            _ => BundleError::Broken(error.to_string()),
        })
    }
}
