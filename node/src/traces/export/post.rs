//! The HTTP client of the exporter: that of the rest of the node, so that no second one comes in.
//!
//! Always: bounded in time and in what is read of an answer. Url, password and headers of the collector are known
//! here alone: the library, whose errors and logs name what it is told, has a url that leads nowhere, and of the
//! headers that it reads of the environment by itself none is sent.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use percent_encoding::percent_decode_str;
use reqwest::Method;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use tokio::runtime::Handle;
use url::Url;

use crate::client;
use crate::config::{Secret, TraceConfig};

/// Most that is read of an answer: it says at most that some spans were refused.
const ANSWER: usize = 64 << 10;

/// What the library says of a request: how its body is written, and who wrote it.
const OF_THE_LIBRARY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, USER_AGENT];

#[derive(Clone)]
pub(super) struct Post {
    client: reqwest::Client,
    runtime: Handle,
    url: Url,
    headers: HeaderMap,
}

impl Post {
    /// Headers that cannot be sent are added to `warnings`.
    pub(super) fn new(
        traces: &TraceConfig,
        runtime: Handle,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let url = Url::parse(traces.endpoint.expose());
        let url = url.map_err(|_| "the collector's url cannot be read".to_owned())?;
        let client = client::builder(&[url.to_string()], None)?.timeout(traces.timeout).build();
        let client = client.map_err(|error| error.without_url().to_string())?;
        let (headers, odd) = headers(traces);
        if odd > 0 {
            warnings.push(format!(
                "{odd} of OTEL_EXPORTER_OTLP_HEADERS or OTEL_EXPORTER_OTLP_TRACES_HEADERS are no `name=value` \
                 that can be sent: they are left out"
            ));
        }
        Ok(Self { client, runtime, url, headers })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut ours = reqwest::Request::new(Method::POST, self.url);
        *ours.headers_mut() = self.headers;
        for name in OF_THE_LIBRARY {
            if let Some(value) = parts.headers.get(&name) {
                ours.headers_mut().insert(name, value.clone());
            }
        }
        *ours.body_mut() = Some(body.into());
        let mut answer = self.client.execute(ours).await.map_err(reqwest::Error::without_url)?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + piece.len() > ANSWER {
                return Err("the collector's answer is too long".into());
            }
            body.extend_from_slice(&piece);
        }
        let mut response = Response::new(body.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Asked from a thread of the library, which is none of a runtime's.
        self.runtime.spawn(self.clone().send(request)).await?
    }
}

/// Neither url nor headers.
impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post(..)")
    }
}

/// What is sent along, as OpenTelemetry writes it in a variable, and how many of them cannot be. A header goes
/// before what stands in the url.
fn headers(traces: &TraceConfig) -> (HeaderMap, usize) {
    let text = traces.headers.as_ref().map_or("", Secret::expose);
    let (mut headers, mut odd) = (HeaderMap::new(), 0);
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        match header(pair) {
            Some((name, value)) => drop(headers.insert(name, value)),
            None => odd += 1,
        }
    }
    if let Some(basic) = &traces.basic
        && !headers.contains_key(AUTHORIZATION)
        && let Some(value) = hidden(&format!("Basic {}", BASE64.encode(basic.expose().as_bytes())))
    {
        headers.insert(AUTHORIZATION, value);
    }
    (headers, odd)
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some((name, hidden(&value)?))
}

fn hidden(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
