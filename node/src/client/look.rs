//! One look at one coordinator, for those who want to know how it is rather than what it holds.

use std::time::Duration;

use reqwest::header::DATE;
use serde_json::Value;

use super::{Client, ClientError, read};
use crate::config::mask_urls;

/// Longest wait for such an answer: who looks wants to know of all of them soon.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one coordinator answered.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The status.
    pub status: u16,
    /// The body, if it is a JSON object; else null.
    pub body: Value,
    /// What its clock says, if it tells, in seconds since 1970.
    pub date: Option<i64>,
}

impl Client {
    /// The coordinators, as they may be shown.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.bases.iter().map(|base| mask_urls(base)).collect()
    }

    /// Asks the coordinator at this place of the list, and no other.
    ///
    /// # Errors
    /// It does not answer. An answer that is a refusal is no error.
    pub async fn look(&self, at: usize, path: &str) -> Result<Seen, ClientError> {
        let Some(base) = self.bases.get(at) else { return Err(ClientError::NoCoordinators) };
        let request = self.http.get(format!("{base}{path}")).timeout(PATIENCE);
        let sent = request.send().await;
        let mut response = sent.map_err(|error| ClientError::network(base, &error))?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let date = date.map(|zoned| zoned.timestamp().as_second());
        let body = match read(base, &mut response, self.most).await {
            Ok(body) => body,
            Err(ClientError::Status { body, .. }) => body.into_bytes(),
            Err(error) => return Err(error),
        };
        // What is no object has no members to look at.
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let body = body.filter(Value::is_object).unwrap_or_default();
        Ok(Seen { status, body, date })
    }
}
