//! The port to the code that travels.

use std::fmt;
use std::path::Path;

use futures::future::BoxFuture;
use skyclaw_protocol::Hash;
use tokio::sync::oneshot;

use crate::bundle::BundleError;

/// Held while a directory is written to. Nothing is said over it: the other end sees it close.
pub type Busy = oneshot::Sender<()>;

/// Fetches bundles.
pub trait Bundles: fmt::Debug + Send + Sync {
    /// Brings the bundle of that hash and unpacks it into an empty directory. Dropping the future
    /// gives it up; what was unpacking then may go on to its end, and `busy` is dropped with that.
    fn fetch_and_unpack<'a>(
        &'a self,
        hash: Hash,
        into: &'a Path,
        busy: Busy,
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
        _busy: Busy,
    ) -> BoxFuture<'a, Result<(), BundleError>> {
        let text = "this host takes none (it has no store of bundles)";
        Box::pin(async move { Err(BundleError::Broken(text.to_owned())) })
    }
}
