//! `services`, `service`, `scale` and `remove`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Scale;
use super::error::CliError;
use super::original;
use super::output::Output;
use super::show;
use crate::client::{Client, ClientError, segment};

pub(super) async fn services(
    client: &Client,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.get("/v1/services?details=1").await?;
    let all = list_of(&answer)?;
    if json {
        output.json(&answer)?;
    } else {
        output.text(&show::service::services_table(all, jiff::Timestamp::now()))?;
        if all.is_empty() {
            output.say("no services: `skyclaw deploy DIR -- COMMAND` makes one");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn service(
    client: &Client,
    name: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let service = find(client, name).await?;
    if json {
        output.json(&json!({ "service": service }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = host_names(client).await;
    let name_of = |id: &str| names.get(id).cloned();
    output.text(&show::service::service(&service, name_of, jiff::Timestamp::now()))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn scale(
    client: &Client,
    args: &Scale,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let id = id_of(&find(client, &args.name).await?)?;
    let path = format!("{}?details=1", path(&id));
    let answer = client.patch(&path, &json!({ "replicas": args.replicas })).await?;
    let service = service_of(&answer)?;
    if json {
        output.json(&answer)?;
    } else {
        let running = show::service::running(service);
        let wanted = show::text(service, "replicas");
        output.text(&format!("{id}: {wanted} wanted, {running} running\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(
    client: &Client,
    name: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let id = id_of(&find(client, name).await?)?;
    let answer = client.delete(&path(&id)).await?;
    if json {
        output.json(&answer)?;
    } else {
        output.text(&format!("{id} removed\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of the hosts by id. They are for people, and ids do as well: a key that may not see hosts gets
/// none.
pub(super) async fn host_names(client: &Client) -> BTreeMap<String, String> {
    let answer = original::hosts(client).await.unwrap_or_default();
    let hosts = answer["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |host: &Value| Some((host["id"].as_str()?.into(), host["name"].as_str()?.into()));
    hosts.iter().filter_map(pair).collect()
}

/// The service of that id, else the only one of that name.
pub(super) async fn find(client: &Client, name: &str) -> Result<Value, CliError> {
    if let Some(service) = by_id(client, name).await? {
        return Ok(service);
    }
    let answer = client.get("/v1/services?details=1").await?;
    let named: Vec<&Value> =
        list_of(&answer)?.iter().filter(|service| service["name"] == *name).collect();
    match named.as_slice() {
        [] => Err(CliError::NoService(name.to_owned())),
        [only] => Ok((*only).clone()),
        many => Err(CliError::ManyServices {
            name: name.to_owned(),
            ids: many.iter().map(|service| show::text(service, "id")).collect(),
        }),
    }
}

/// The service of that id, if there is one.
pub(super) async fn by_id(client: &Client, id: &str) -> Result<Option<Value>, CliError> {
    match client.get(&format!("{}?details=1", path(id))).await {
        Ok(mut answer) => {
            service_of(&answer)?;
            Ok(Some(answer["service"].take()))
        }
        Err(ClientError::Status { status: 404, body }) if body.contains("service not found") => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn path(id: &str) -> String {
    format!("/v1/services/{}", segment(id))
}

pub(super) fn service_of(answer: &Value) -> Result<&Value, CliError> {
    answer.get("service").filter(|service| service.is_object()).ok_or(CliError::Answer("service"))
}

pub(super) fn id_of(service: &Value) -> Result<String, CliError> {
    service["id"].as_str().map(str::to_owned).ok_or(CliError::Answer("id"))
}

pub(super) fn list_of(answer: &Value) -> Result<&[Value], CliError> {
    answer["services"].as_array().map(Vec::as_slice).ok_or(CliError::Answer("services"))
}
