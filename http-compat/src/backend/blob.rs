//! Blobs at the port: content that comes and goes in pieces.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use skyclaw_protocol::{Hash, Refusal};

/// Content in pieces, as it comes.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// A blob that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobTaken {
    /// What it is named.
    pub hash: Hash,
    /// Its size.
    pub bytes: u64,
    /// Coordinators that are known to hold it, this one among them.
    pub copies: usize,
}

/// A blob that is read out.
pub struct BlobContent {
    /// Its size.
    pub bytes: u64,
    /// What nodes get before the content, so that they can check it as it comes.
    pub head: Bytes,
    /// Bytes that come: all, or those from the group on that was asked for.
    pub rest: u64,
    /// The content.
    pub pieces: Pieces,
}

impl fmt::Debug for BlobContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobContent").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why a blob was not taken.
#[derive(Debug)]
pub enum BlobRefusal {
    /// It is another one than was announced.
    WrongHash(Hash),
    /// It did not come whole.
    Broken(io::Error),
    /// The node refused.
    Refused(Refusal),
}
