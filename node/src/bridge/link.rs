//! Calls to one original.
//!
//! Always: each has a deadline and a bound, so that one that stays silent or never ends costs no
//! more than that (F22); the token goes along as clients send it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::{MAX_ANSWER, MAX_NOTE, MAX_WHY, PULL, PULL_SILENCE};
use crate::client::{ClientError, base, builder};
use crate::config::{Secret, mask_urls};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a call came to nothing. The texts are shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// No answer, or not all of it. Unknown whether the call was carried out.
    #[error("{0}")]
    Network(String),
    /// An answer other than 2xx: nothing was done.
    #[error("it answers {status}: {text}")]
    Status {
        /// Its status.
        status: u16,
        /// What it says, shortened.
        text: String,
    },
    /// More than is read.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// Something else answers there.
    #[error("{0}")]
    Nonsense(String),
}

impl Trouble {
    /// The answer's status, if there was one.
    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A client of one original.
#[derive(Debug)]
pub(super) struct Link {
    http: reqwest::Client,
    base: String,
}

impl Link {
    /// To the original at `url`.
    ///
    /// # Errors
    /// The token cannot be sent, or the system's certificates cannot be used.
    pub(super) fn new(url: &str, token: Option<&Secret>) -> Result<Self, String> {
        let builder = builder(&[url.to_owned()], token.map(Secret::expose))?;
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { http, base: base(url) })
    }

    /// A short document.
    pub(super) async fn get(&self, path: &str, patience: Duration) -> Result<Value, Trouble> {
        document(self.call(Method::GET, path, None, patience, MAX_ANSWER).await?)
    }

    /// Its whole state, as it comes.
    pub(super) async fn state(&self, most: usize) -> Result<Bytes, Trouble> {
        let until = Instant::now() + PULL;
        let request = self.http.get(format!("{}/v1/state", self.base));
        let sent = timeout(PULL_SILENCE, request.send()).await;
        let mut response = sent.map_err(|_| silent())?.map_err(|error| self.network(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let length = response.content_length().unwrap_or(0);
        let room = usize::try_from(length).unwrap_or(usize::MAX).min(most);
        let mut body = Vec::with_capacity(room);
        loop {
            let silence = (Instant::now() + PULL_SILENCE).min(until);
            let chunk = timeout_at(silence, response.chunk()).await.map_err(|_| silent())?;
            let Some(chunk) = chunk.map_err(|error| self.network(&error))? else {
                return Ok(body.into());
            };
            if body.len() + chunk.len() > most {
                return Err(Trouble::TooLong(most));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Sends a document and reads the answer.
    pub(super) async fn post(
        &self,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Value, Trouble> {
        document(self.call(Method::POST, path, Some(body), patience, MAX_ANSWER).await?)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        patience: Duration,
        most: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, JSON).body(body);
        }
        let all = async {
            let mut response = request.send().await.map_err(|error| self.network(&error))?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.network(&error))? {
                if body.len() + chunk.len() > most {
                    return Err(Trouble::TooLong(most));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        timeout(patience, all).await.map_err(|_| silent())?
    }

    fn network(&self, error: &reqwest::Error) -> Trouble {
        match ClientError::network(&self.base, error) {
            ClientError::Network { cause, .. } => Trouble::Network(shorten(&cause)),
            other => Trouble::Network(shorten(&other.to_string())),
        }
    }

    /// Where it leads, fit for logs.
    pub(super) fn shown(&self) -> String {
        mask_urls(&self.base)
    }
}

fn silent() -> Trouble {
    Trouble::Network("no answer in time".to_owned())
}

fn document(body: Vec<u8>) -> Result<Value, Trouble> {
    let read = serde_json::from_slice(&body);
    read.map_err(|_| Trouble::Nonsense("its answer is not JSON".to_owned()))
}

/// An answer other than 2xx, with the text in it.
async fn refusal(mut response: Response) -> Trouble {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() < MAX_NOTE
        && let Ok(Ok(Some(chunk))) = timeout(PULL_SILENCE, response.chunk()).await
    {
        body.extend_from_slice(&chunk);
    }
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str());
    let text = said.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    Trouble::Status { status, text: shorten(&text) }
}

/// A text of somebody else on one line.
pub(super) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WHY).collect()
}
