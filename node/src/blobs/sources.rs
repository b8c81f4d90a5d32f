//! The port to who else may have a blob.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Want;
use tokio::io::AsyncRead;

use super::{Blobs, Held};

/// What comes from a source: a head in its frame, then content. Nothing of it is believed.
pub type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// Somebody who may have a blob.
pub trait Source: Send + Sync {
    /// Who it is, for logs; equal names are one source.
    fn name(&self) -> String;
    /// Asks for the blob.
    fn open(&self, want: Want) -> BoxFuture<'_, io::Result<Stream>>;
}

/// Knows whom to ask.
pub trait Sources: Send + Sync {
    /// Who may have it, the likeliest first. They are hints; `wide`: also those that take long to find.
    fn find(&self, hash: Hash, wide: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>>;
    /// Brings a blob that arose here to where it outlives this node. The error is for the user.
    fn share<'a>(
        &'a self,
        _blobs: &'a Blobs,
        _held: &'a Held,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// The blob has come here.
    fn had(&self, _blobs: &Blobs, _hash: Hash) {}
}
