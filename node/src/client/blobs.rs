//! Blobs over HTTP: whether a coordinator holds one, and bringing it there.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use skyclaw_protocol::Hash;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{Client, ClientError, Pieces, attempt};
use crate::config::mask_urls;

/// Longest upload: the largest blob over a line of a megabit a second.
const LONGEST_UPLOAD: Duration = Duration::from_secs(2 * 3600);

/// Read at once.
const PIECE: usize = 64 << 10;

impl Client {
    /// Whether the coordinator that is asked next holds this blob. One that does not answer has not.
    pub async fn has_blob(&self, hash: Hash) -> bool {
        let Some(base) = self.base() else { return false };
        let asked = self.http.head(format!("{base}/v1/blobs/{}", hash.hex())).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// The bytes of a blob, from a coordinator that has it. Whether they are those of the hash, the
    /// reader checks.
    ///
    /// # Errors
    /// No coordinator has it.
    pub async fn get_blob(&self, hash: Hash) -> Result<Pieces, ClientError> {
        self.open(&format!("/v1/blobs/{}", hash.hex())).await
    }

    /// Brings a blob to the first coordinator that takes it; `open` gives its content anew for each
    /// that is tried.
    ///
    /// # Errors
    /// No coordinator took it.
    pub async fn put_blob<R: AsyncRead + Send + 'static>(
        &self,
        hash: Hash,
        bytes: u64,
        open: impl Fn() -> io::Result<R>,
    ) -> Result<(), ClientError> {
        let mut last = ClientError::NoCoordinators;
        for at in self.turns() {
            let base = &self.bases[at];
            let content = open().map_err(|error| ClientError::Setup(error.to_string()))?;
            let content = Body::wrap_stream(ReaderStream::with_capacity(content, PIECE));
            let request = self
                .http
                .put(format!("{base}/v1/blobs?hash={}", hash.hex()))
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, bytes)
                .timeout(LONGEST_UPLOAD)
                .body(content);
            match attempt(base, request, self.most).await {
                Ok(answer) if answer["hash"] == hash.hex() => {
                    self.last_good.store(at, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(_) => last = ClientError::NotJson { url: mask_urls(base) },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
