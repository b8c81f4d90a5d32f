//! Reading at coordinators of the original too, which tell of jobs and hosts only in `/v1/state` (F35).

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::client::{Client, ClientError};

/// Whether the last coordinator that was asked has no such route, which is not the same as having no
/// such record.
pub(super) fn has_no_route(error: &ClientError) -> bool {
    let ClientError::Status { status: 404, body } = error else { return false };
    serde_json::from_str::<Value>(body).is_ok_and(|body| body["error"] == "not found")
}

/// A job, as `GET /v1/jobs/ID` would answer.
pub(super) async fn job(client: &Client, id: &str) -> Result<Value, ClientError> {
    let found = list(client, "jobs").await?.into_iter().find(|job| job["id"] == id);
    found.map(|job| json!({ "job": job })).ok_or_else(|| ClientError::Status {
        status: 404,
        body: format!("{:#}", json!({ "error": "job not found" })),
    })
}

/// The newest `most` jobs of that status, the oldest of them first.
pub(super) async fn jobs(
    client: &Client,
    status: Option<&str>,
    most: usize,
) -> Result<VecDeque<Value>, ClientError> {
    let all = list(client, "jobs").await?;
    let wanted = all.into_iter().rev().filter(|job| status.is_none_or(|it| job["status"] == it));
    let mut newest = VecDeque::new();
    wanted.take(most).for_each(|job| newest.push_front(job));
    Ok(newest)
}

/// All hosts, as `GET /v1/hosts` answers or would.
pub(super) async fn hosts(client: &Client) -> Result<Value, ClientError> {
    match client.get("/v1/hosts").await {
        Err(error) if has_no_route(&error) => Ok(json!({ "hosts": list(client, "hosts").await? })),
        answer => answer,
    }
}

async fn list(client: &Client, kind: &str) -> Result<Vec<Value>, ClientError> {
    match client.get("/v1/state").await?[kind].take() {
        Value::Array(all) => Ok(all),
        _ => Ok(Vec::new()),
    }
}
