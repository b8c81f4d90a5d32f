//! The original's public API (CONTRACT 4).

use serde_json::{Value, json};

use super::routes::Refusal;
use super::tables::{truthy, without};
use crate::server::{Received, Reply};

/// What a key allows.
#[derive(Debug)]
pub(super) struct Credential {
    key: String,
    label: String,
    capabilities: Vec<String>,
    shell: bool,
}

impl Credential {
    pub(super) fn submitter(&self) -> String {
        format!("public:{}", self.label)
    }
}

/// `key:label:cap|cap:shell` entries between commas.
pub(super) fn keys(text: &str) -> Vec<Credential> {
    let entry = |entry: &str| {
        let mut parts = entry.split(':').map(str::trim);
        let key = parts.next().filter(|key| !key.is_empty())?.to_owned();
        let label = parts.next().filter(|label| !label.is_empty()).unwrap_or("anonymous");
        let listed = parts.next().unwrap_or_default().split('|').map(str::trim);
        let mut capabilities: Vec<String> =
            listed.filter(|one| !one.is_empty()).map(str::to_owned).collect();
        if capabilities.is_empty() {
            capabilities.push("openclaw".into());
        }
        let shell = parts.next() == Some("shell");
        Some(Credential { key, label: label.to_owned(), capabilities, shell })
    };
    text.split(',').filter_map(entry).collect()
}

/// Whose key a request shows; a wrong bearer is not rescued by a right `x-api-key`.
pub(super) fn find<'a>(keys: &'a [Credential], request: &Received) -> Option<&'a Credential> {
    let bearer = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let bearer = bearer.map(str::trim).filter(|key| !key.is_empty());
    let shown = bearer.or_else(|| request.header("x-api-key"))?.trim();
    keys.iter().find(|one| one.key == shown)
}

/// The job that a key may submit.
pub(super) fn job(credential: &Credential, body: &Value) -> Result<Value, Refusal> {
    if !truthy(&body["payload"]["kind"]) {
        return Err((400, "payload is required".into()));
    }
    let requirement = match &body["requirement"] {
        Value::Null => json!({ "requiredCapabilities": credential.capabilities }),
        // Empty is taken as it is (F20).
        other => other.clone(),
    };
    let asked = requirement["requiredCapabilities"].as_array().into_iter().flatten();
    let allowed = |one: &Value| credential.capabilities.iter().any(|known| one == known.as_str());
    if !asked.into_iter().all(allowed) {
        let text = "requested capabilities are not allowed for this api key";
        return Err((403, text.into()));
    }
    if body["payload"]["kind"] == "shell" && !credential.shell {
        return Err((403, "shell jobs are not allowed for this api key".into()));
    }
    Ok(json!({ "payload": body["payload"], "requirement": requirement }))
}

/// A job without who submitted it.
pub(super) fn shown(job: &Value) -> Value {
    let mut shown = job.clone();
    without(&mut shown, &["submittedBy"]);
    shown
}

pub(super) fn cors(reply: Reply) -> Reply {
    let headers = "content-type,authorization,x-api-key,x-idempotency-key";
    reply
        .header("access-control-allow-origin", "*")
        .header("access-control-allow-methods", "GET,POST,OPTIONS")
        .header("access-control-allow-headers", headers)
}
