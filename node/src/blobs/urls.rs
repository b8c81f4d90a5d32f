//! Coordinators that are known by their urls: where a host looks that talks HTTP only.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use reqwest::header::{HeaderMap, HeaderValue};
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::Want;
use tokio_util::io::StreamReader;

use super::sources::{Source, Sources, Stream};
use crate::client::install_crypto;
use crate::config::mask_urls;

/// How long a connection may take: a coordinator that is down must not hold up the next one.
const CONNECT: Duration = Duration::from_secs(5);

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
        install_crypto();
        let mut headers = HeaderMap::new();
        if let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) {
            let mut value = HeaderValue::from_bytes(token.as_bytes())
                .map_err(|_| "the token holds characters that cannot be sent".to_owned())?;
            value.set_sensitive(true);
            headers.insert("x-skyclaw-token", value);
        }
        let builder = || {
            // Redirects and proxies would carry the token to strangers.
            let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            builder.no_proxy().connect_timeout(CONNECT).default_headers(headers.clone())
        };
        // A machine without root certificates can still talk plain HTTP.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        let client = client.map_err(|error| format!("cannot set up the HTTP client: {error}"))?;
        let urls = urls.iter().map(|url| url.trim().trim_end_matches('/').to_owned()).collect();
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
