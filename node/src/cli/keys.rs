//! Keys of the API: who may use it under a name, and how much of it.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::args::{Keys, KeysCreate, KeysWhat};
use super::error::CliError;
use super::output::Output;
use super::show;
use crate::client::{Client, segment};

/// `skyclaw keys`, `skyclaw keys create NAME`, `skyclaw keys revoke NAME`.
pub(super) async fn run(
    client: &Client,
    args: &Keys,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    match &args.what {
        None => list(client, json, output).await,
        Some(KeysWhat::Create(create)) => make(client, create, json, output).await,
        Some(KeysWhat::Revoke { which }) => revoke(client, which, json, output).await,
    }
}

async fn list(client: &Client, json: bool, output: &mut Output) -> Result<ExitCode, CliError> {
    let answer = client.get("/v1/principals").await?;
    let Value::Array(all) = &answer["principals"] else {
        return Err(CliError::Answer("principals"));
    };
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.text(&show::keys_table(all, jiff::Timestamp::now()))?;
    if all.is_empty() {
        output.say("no keys: make one with `skyclaw keys create NAME --scope submit`");
    }
    Ok(ExitCode::SUCCESS)
}

/// The key alone on standard output, so that it can be taken by a script.
async fn make(
    client: &Client,
    create: &KeysCreate,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.post("/v1/principals", &request(create)).await?;
    let Some(key) = answer["key"].as_str() else { return Err(CliError::Answer("key")) };
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.text(&format!("{key}\n"))?;
    let id = show::text(&answer["principal"], "id");
    output
        .say(&format!("made {} ({id}); this is the only time that its key is shown", create.name));
    output.say("give it to its user, who sets SKYCLAW_TOKEN to it");
    Ok(ExitCode::SUCCESS)
}

fn request(create: &KeysCreate) -> Value {
    let mut quotas = Map::new();
    let bounds = [
        ("queued", create.queued.map(Value::from)),
        ("running", create.running.map(Value::from)),
        ("perMinute", create.per_minute.map(Value::from)),
        ("bytesPerDay", create.bytes.map(Value::from)),
    ];
    for (name, bound) in bounds {
        if let Some(bound) = bound {
            quotas.insert(name.to_owned(), bound);
        }
    }
    let mut body = json!({ "name": create.name, "scopes": create.scopes });
    if !quotas.is_empty() {
        body["quotas"] = Value::Object(quotas);
    }
    if let Some(expires) = create.expires {
        body["expiresInMs"] = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX).into();
    }
    body
}

async fn revoke(
    client: &Client,
    which: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.delete(&format!("/v1/principals/{}", segment(which))).await?;
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = show::text(&answer["principal"], "name");
    output.say(&format!("the key {name} is refused from now on; what it submitted goes on"));
    Ok(ExitCode::SUCCESS)
}
