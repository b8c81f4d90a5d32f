//! The port to the code that travels.

use std::fmt;
use std::path::Path;

use futures::future::BoxFuture;
use skyclaw_protocol::Hash;

/// Why a bundle is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Nobody who has it answers now; later somebody may.
    #[error("its bundle cannot be fetched: {0}")]
    Unavailable(String),
    /// It is no bundle that may be unpacked, and never will be one.
    #[error("its bundle cannot be unpacked: {0}")]
    Broken(String),
    /// This host has no room for it, or cannot write.
    #[error("its bundle cannot be kept here: {0}")]
    Host(String),
}

/// Fetches bundles.
pub trait Bundles: fmt::Debug + Send + Sync {
    /// Brings the bundle of that hash and unpacks it into an empty directory. Dropping the future
    /// gives it up.
    fn fetch_and_unpack<'a>(
        &'a self,
        hash: Hash,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), BundleError>>;
}

/// No bundles.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBundles;

impl Bundles for NoBundles {
    fn fetch_and_unpack<'a>(
        &'a self,
        _hash: Hash,
        _into: &'a Path,
    ) -> BoxFuture<'a, Result<(), BundleError>> {
        let text = "this host takes none (it has no store of bundles)";
        Box::pin(async move { Err(BundleError::Broken(text.to_owned())) })
    }
}
