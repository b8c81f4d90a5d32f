//! Bringing a blob to a coordinator.
//!
//! Always: a blob goes out in pieces, with little memory, and takes as long as it needs while it moves.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::CONTENT_LENGTH;
use serde_json::Value;
use skyclaw_protocol::Hash;
use tokio_util::io::ReaderStream;

use super::{Client, ClientError, attempt};
use crate::config::mask_urls;

/// How long nothing may move: more than a coordinator takes to make a blob durable and to bring it
/// to others.
const STILL: Duration = Duration::from_secs(60);

/// Longest upload: the largest blob at 25 KB/s.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Bytes read at once.
const PIECE: usize = 256 << 10;

impl Client {
    /// Whether the coordinator that is asked first holds a blob. One that does not answer, or knows no
    /// blobs, does not.
    pub async fn has_blob(&self, hash: Hash) -> bool {
        let Some(base) = self.base() else { return false };
        let answer = self.http.head(format!("{base}/v1/blobs/{}", hash.hex())).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Brings a blob to the first coordinator that takes it. `open` opens it from its beginning,
    /// `sent` is told how many bytes went out in all.
    ///
    /// # Errors
    /// No coordinator took it.
    pub async fn put_blob(
        &self,
        hash: Hash,
        bytes: u64,
        open: impl Fn() -> io::Result<File>,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<Value, ClientError> {
        let mut last = ClientError::NoCoordinators;
        for at in self.turns() {
            let base = &self.bases[at];
            let file = open().map_err(|error| ClientError::Setup(error.to_string()))?;
            let moved = Arc::new(AtomicU64::new(0));
            let (count, sent) = (Arc::clone(&moved), sent.clone());
            let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
            let pieces = pieces.inspect(move |piece| {
                let more = piece.as_ref().map_or(0, bytes::Bytes::len) as u64;
                sent(count.fetch_add(more, Ordering::Relaxed) + more);
            });
            let request = self
                .http
                .put(format!("{base}/v1/blobs?hash={}", hash.hex()))
                .timeout(LONGEST)
                .header(CONTENT_LENGTH, bytes)
                .body(reqwest::Body::wrap_stream(pieces));
            let answer = tokio::select! {
                answer = attempt(base, request, self.most) => answer,
                () = stands_still(&moved) => Err(ClientError::Network {
                    url: mask_urls(base),
                    cause: "the upload stands still".to_owned(),
                }),
            };
            match answer {
                Ok(answer) => {
                    self.last_good.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Returns once nothing has moved for long.
async fn stands_still(moved: &AtomicU64) {
    let mut before = None;
    while before != Some(moved.load(Ordering::Relaxed)) {
        before = Some(moved.load(Ordering::Relaxed));
        tokio::time::sleep(STILL).await;
    }
}
