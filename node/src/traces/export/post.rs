//! The HTTP client of the exporter: that of the rest of the node, so that no second one comes in.
//!
//! Always: bounded in time and in what is read of an answer; errors do not name the url, which may hold a password.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use crate::client;

/// Longest wait for the collector, as OpenTelemetry has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most that is read of an answer: it says at most that some spans were refused.
const ANSWER: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Post {
    client: reqwest::Client,
    runtime: Handle,
}

impl Post {
    pub(super) fn new(endpoint: &str, runtime: Handle) -> Result<Self, String> {
        let client = client::builder(&[endpoint.to_owned()], None)?.timeout(PATIENCE).build();
        let client = client.map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, runtime })
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // Asked from a thread of the library, which is none of the runtime's.
        self.runtime.spawn(async move { send(&client, request).await }).await?
    }
}

async fn send(
    client: &reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request).map_err(reqwest::Error::without_url)?;
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
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
