//! Other coordinators: who is there, and that one is gone for good.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use super::{args, show};
use crate::client::Client;

/// `skyclaw peers`, and `skyclaw peers forget URL`.
pub(super) async fn run(
    client: &Client,
    args: &args::Peers,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    match &args.what {
        None => list(client, json, output).await,
        Some(args::PeersWhat::Forget { url }) => forget(client, url, json, output).await,
    }
}

async fn list(client: &Client, json: bool, output: &mut Output) -> Result<ExitCode, CliError> {
    let answer = client.get("/v1/network").await?;
    let Value::Array(peers) = &answer["peers"] else { return Err(CliError::Answer("peers")) };
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.text(&show::peers_table(peers, jiff::Timestamp::now()))?;
    if peers.is_empty() && answer["peerId"].is_null() {
        output.say("libp2p is off on that coordinator (SKYCLAW_P2P=0)");
    } else if peers.is_empty() {
        output.say("no peers: start another node and name this one with --bootstrap:");
        for address in answer["addresses"].as_array().into_iter().flatten() {
            output.hint(&format!("  {}", address.as_str().unwrap_or("-")));
        }
    }
    for line in show::troubles(peers) {
        output.say(&line);
    }
    for line in show::refusals(&answer["refused"], jiff::Timestamp::now()) {
        output.say(&line);
    }
    Ok(ExitCode::SUCCESS)
}

async fn forget(
    client: &Client,
    url: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.post("/v1/network/forget", &json!({ "url": url })).await?;
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.say(&format!("{url} is forgotten; take it out of SKYCLAW_PEER_URLS, too"));
    if answer["left"].is_string() {
        let left = show::text(&answer, "left");
        output
            .say(&format!("its jobs and services stay as they are: {left} is, or may be, another"));
    }
    let adopted = &answer["adopted"];
    if adopted.is_object() {
        let (jobs, services) = (show::text(adopted, "jobs"), show::text(adopted, "services"));
        output.say(&format!(
            "it was the last original: {jobs} jobs and {services} services were taken over"
        ));
        if adopted["waiting"].as_u64().is_some_and(|waiting| waiting > 0) {
            let waiting = show::text(adopted, "waiting");
            output.say(&format!("{waiting} jobs are with hosts, and follow when their lease ends"));
        }
        if adopted["complete"] == Value::Bool(false) {
            output.say("taking over goes on; its end is told in the coordinator's log");
        }
    }
    Ok(ExitCode::SUCCESS)
}
