//! Coordinators that are known by their urls: where a host looks that talks HTTP only.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use reqwest::header::CONTENT_LENGTH;
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Want;
use tokio_util::io::{ReaderStream, StreamReader};

use super::sources::{Source, Sources, Stream};
use super::{Blobs, Held};
use crate::client::{base, builder};
use crate::config::mask_urls;

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Coordinators at these urls.
#[derive(Clone, Debug)]
pub struct Urls {
    client: reqwest::Client,
    urls: Vec<String>,
}

impl Urls {
    /// Asked with this token.
    ///
    /// # Errors
    /// The text to show, if the token cannot stand in a header or TLS cannot be set up.
    pub fn new(urls: &[String], token: Option<&str>) -> Result<Self, String> {
        let client = builder(urls, token)?.build();
        let client = client.map_err(|error| format!("cannot set up the HTTP client: {error}"))?;
        let urls = urls.iter().map(|url| base(url)).collect();
        Ok(Self { client, urls })
    }
}

impl Sources for Urls {
    fn find(&self, _hash: Hash, _wide: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>> {
        let source = |base: &String| {
            let (client, base) = (self.client.clone(), base.clone());
            Arc::new(Url { client, base }) as Arc<dyn Source>
        };
        std::future::ready(self.urls.iter().map(source).collect()).boxed()
    }

    fn share<'a>(&'a self, _blobs: &'a Blobs, held: &'a Held) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let mut last = "there is no coordinator".to_owned();
            for base in &self.urls {
                match put(&self.client, base, held).await {
                    Ok(()) => return Ok(()),
                    Err(why) => last = format!("{} did not take it: {why}", mask_urls(base)),
                }
            }
            Err(last)
        }
        .boxed()
    }
}

/// Brings a blob to one coordinator.
async fn put(client: &reqwest::Client, base: &str, held: &Held) -> Result<(), String> {
    let file = tokio::fs::File::open(&held.path).await.map_err(|error| error.to_string())?;
    let url = format!("{base}/v1/blobs?hash={}", held.outline.hash().hex());
    let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, PIECE));
    let request = client.put(url).header(CONTENT_LENGTH, held.outline.size()).body(body);
    let plain = |error: reqwest::Error| error.without_url().to_string();
    let answer = request.send().await.map_err(plain)?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("it answers {}", answer.status()))
    }
}

struct Url {
    client: reqwest::Client,
    base: String,
}

impl Source for Url {
    fn name(&self) -> String {
        mask_urls(&self.base)
    }

    fn open(&self, want: Want) -> BoxFuture<'_, io::Result<Stream>> {
        async move {
            let hash = want.hash.hex();
            let url = format!("{}/v1/blobs/{hash}?outline=1&from={}", self.base, want.from);
            // The url of an error may hold a password.
            let plain = |error: reqwest::Error| io::Error::other(error.without_url());
            let response = self.client.get(url).send().await.map_err(plain)?;
            if !response.status().is_success() {
                return Err(io::Error::other(format!("it answers {}", response.status().as_u16())));
            }
            let pieces = response.bytes_stream().map_err(plain);
            Ok(Box::new(StreamReader::new(Box::pin(pieces))) as Stream)
        }
        .boxed()
    }
}
