//! An HTTP client that knows several coordinators.
//!
//! Always: they are tried in order, beginning with the last good one; a failure to connect and
//! any answer but 2xx moves on; the last failure is reported. A change carries one idempotency
//! key over all attempts, so that a lost answer does not become a second job (F40).
//!
//! Never here: redirects and proxies. Both could carry the token to a stranger, and the original
//! knew no proxy.

mod blobs;
mod error;
mod look;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Secret, mask_urls};
pub use error::ClientError;
pub use look::Seen;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for an answer, its body included: above the quorum timeout of coordinators.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest life of an answer that comes bit by bit: then it is asked for again.
const LONGEST_STREAM: Duration = Duration::from_secs(7 * 86_400);

const TOKEN: HeaderName = HeaderName::from_static("x-skyclaw-token");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");

/// What is escaped in a path segment: all but what JavaScript's `encodeURIComponent` leaves.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Longest answer: a snapshot of a coordinator's state has at most 64 MiB.
const MAX_ANSWER: usize = 128 << 20;

/// Talks to the first coordinator that answers.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    bases: Vec<String>,
    last_good: AtomicUsize,
    /// Longest answer, in bytes.
    most: usize,
}

impl Client {
    /// A client of these coordinators. Slashes at the end of a url do no harm (F41).
    ///
    /// # Errors
    /// The token cannot be sent, or the system's certificates cannot be used.
    pub fn new(urls: &[String], token: Option<&Secret>) -> Result<Self, ClientError> {
        let builder = builder(urls, token.map(Secret::expose)).map_err(ClientError::Setup)?;
        Self::built(builder, urls)
    }

    /// A client of one coordinator over TLS as it is given: whom that trusts is its affair.
    ///
    /// # Errors
    /// The token cannot be sent, or this TLS cannot be used.
    pub fn over(
        tls: rustls::ClientConfig,
        url: &str,
        token: Option<&Secret>,
    ) -> Result<Self, ClientError> {
        let urls = [url.to_owned()];
        let builder = builder(&urls, token.map(Secret::expose)).map_err(ClientError::Setup)?;
        Self::built(builder.tls_backend_preconfigured(tls), &urls)
    }

    fn built(builder: reqwest::ClientBuilder, urls: &[String]) -> Result<Self, ClientError> {
        let http = builder.timeout(REQUEST_TIMEOUT).build();
        let http = http.map_err(|error| ClientError::Setup(error.to_string()))?;
        let bases = urls.iter().map(|url| base(url)).collect();
        Ok(Self { http, bases, last_good: AtomicUsize::new(0), most: MAX_ANSWER })
    }

    /// The same, reading answers of at most `bytes`.
    #[must_use]
    pub fn at_most(self, bytes: usize) -> Self {
        Self { most: bytes, ..self }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// No coordinator answered with one.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.request(&Method::GET, path, None::<&Value>).await
    }

    /// Asks for a change, at most once.
    ///
    /// # Errors
    /// No coordinator answered that it was made.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.request(&Method::POST, path, Some(body)).await
    }

    /// The same, with a body that is not made of values first.
    ///
    /// # Errors
    /// No coordinator answered that it was made.
    pub async fn post_of<B: Serialize>(&self, path: &str, body: &B) -> Result<Value, ClientError> {
        self.request(&Method::POST, path, Some(body)).await
    }

    /// Asks for a part of a record to be changed, at most once.
    ///
    /// # Errors
    /// No coordinator answered that it was changed.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.request(&Method::PATCH, path, Some(body)).await
    }

    /// Asks for a record to be removed, at most once.
    ///
    /// # Errors
    /// No coordinator answered that it was removed.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.request(&Method::DELETE, path, None::<&Value>).await
    }

    /// Asks for an answer that comes bit by bit, for as long as it may take: how long a silence is
    /// too long, the reader knows.
    ///
    /// # Errors
    /// No coordinator began to answer.
    pub async fn open(&self, path: &str) -> Result<Pieces, ClientError> {
        let mut last = ClientError::NoCoordinators;
        for at in self.turns() {
            match self.begin(&self.bases[at], path).await {
                Ok(pieces) => {
                    self.last_good.store(at, Ordering::Relaxed);
                    return Ok(pieces);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn begin(&self, base: &str, path: &str) -> Result<Pieces, ClientError> {
        let request = self.http.get(format!("{base}{path}")).timeout(LONGEST_STREAM);
        let silent = |_| ClientError::Network {
            url: mask_urls(base),
            cause: "no answer in time".to_owned(),
        };
        let beginning = async {
            let sent = request.send().await;
            let mut response = sent.map_err(|error| ClientError::network(base, &error))?;
            if !response.status().is_success() {
                read(base, &mut response, self.most).await?;
            }
            Ok(Pieces { response, url: base.to_owned() })
        };
        tokio::time::timeout(REQUEST_TIMEOUT, beginning).await.map_err(silent)?
    }

    /// Url of the coordinator that answered last, or of the first one.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        self.bases.get(self.last_good.load(Ordering::Relaxed)).map(String::as_str)
    }

    /// Whom to ask, in this order.
    fn turns(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.bases.len();
        let first = self.last_good.load(Ordering::Relaxed);
        (0..count).map(move |step| (first + step) % count)
    }

    async fn request<B: Serialize>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Value, ClientError> {
        let key = uuid::Uuid::new_v4().to_string();
        let mut last = ClientError::NoCoordinators;
        for at in self.turns() {
            let base = &self.bases[at];
            let mut request = self.http.request(method.clone(), format!("{base}{path}"));
            if *method != Method::GET {
                request = request.header(IDEMPOTENCY_KEY, &key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match attempt(base, request, self.most).await {
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

/// An answer that comes bit by bit.
#[derive(Debug)]
pub struct Pieces {
    response: reqwest::Response,
    url: String,
}

impl Pieces {
    /// The next bytes; none at its end.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        match self.response.chunk().await {
            Ok(bytes) => Ok(bytes.map(|bytes| bytes.to_vec())),
            Err(error) => Err(ClientError::network(&self.url, &error)),
        }
    }
}

async fn attempt(
    base: &str,
    request: reqwest::RequestBuilder,
    most: usize,
) -> Result<Value, ClientError> {
    let sent = request.send().await;
    let mut response = sent.map_err(|error| ClientError::network(base, &error))?;
    let body = read(base, &mut response, most).await?;
    object(base, &body)
}

/// The document of a 2xx answer. Whoever reads its members need not ask what it is.
fn object(base: &str, body: &[u8]) -> Result<Value, ClientError> {
    let url = || mask_urls(base);
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| ClientError::NotJson { url: url() })?;
    if answer.is_object() { Ok(answer) } else { Err(ClientError::NoObject { url: url() }) }
}

/// The body of a 2xx answer.
async fn read(
    base: &str,
    response: &mut reqwest::Response,
    most: usize,
) -> Result<Vec<u8>, ClientError> {
    let network = |error| ClientError::network(base, &error);
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > most {
            return Err(ClientError::TooLong { url: mask_urls(base) });
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(ClientError::Status { status: status.as_u16(), body });
    }
    Ok(body)
}

/// `id` as one segment of a path.
#[must_use]
pub fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// The common part of all clients of coordinators: it sends the token to them and to nobody else.
///
/// # Errors
/// The text to show, if the token cannot stand in a header.
pub(crate) fn builder(
    urls: &[String],
    token: Option<&str>,
) -> Result<reqwest::ClientBuilder, String> {
    install_crypto();
    let mut headers = HeaderMap::new();
    // HTTP knows no blanks around a value; the original's client dropped them too.
    if let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) {
        let mut value = HeaderValue::from_bytes(token.as_bytes())
            .map_err(|_| "SKYCLAW_TOKEN cannot be sent in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(TOKEN, value);
    }
    let builder = reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if urls.iter().any(|url| base(url).to_ascii_lowercase().starts_with("https:")) {
        return Ok(builder);
    }
    // Without https no certificate is looked at, and a machine may have none.
    Ok(builder.tls_certs_only([]))
}

/// A url as paths are appended to it.
pub(crate) fn base(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

/// Makes `ring` the process's provider of TLS arithmetic. A second call changes nothing.
pub fn install_crypto() {
    // An error only says that another part of the process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
}
