//! Where `top` hears what there is, and what becomes of it.
//!
//! Always: after each connection the lists are read anew, so nothing that happened meanwhile is missing.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout_at};

use super::world::{JOBS, News};
use crate::cli::logs::Events;
use crate::cli::passes;
use crate::client::{Client, ClientError};

/// Longest silence: a coordinator says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(25);

/// How often counts are asked for.
const COUNTS: Duration = Duration::from_secs(1);

/// First and longest pause before a new connection.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// All that there is now.
pub(super) async fn lists(client: &Client) -> Result<News, ClientError> {
    let status = client.get("/v1/status").await?;
    // The newest, and what waits or runs, however old it is.
    let mut jobs = Vec::new();
    for part in ["", "&status=leased", "&status=queued"] {
        let path = format!("/v1/jobs?view=brief&order=newest&limit={JOBS}{part}");
        jobs.extend(members(client.get(&path).await?["jobs"].take()));
    }
    Ok(News::Lists {
        status,
        jobs,
        hosts: members(client.get("/v1/hosts").await?["hosts"].take()),
        services: members(client.get("/v1/services?details=1").await?["services"].take()),
        gateways: gateways(client).await,
    })
}

fn members(list: Value) -> Vec<Value> {
    match list {
        Value::Array(members) => members,
        _ => Vec::new(),
    }
}

/// Urls of gateways, as far as the coordinator knows any and tells this caller.
async fn gateways(client: &Client) -> Vec<String> {
    let network = client.get("/v1/network").await.unwrap_or_default();
    let peers = network["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes = std::iter::once(&network).chain(peers);
    let mut all: Vec<String> =
        nodes.filter_map(|node| node["gatewayUrl"].as_str()).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all
}

/// Tells what happens, over as many connections as it takes. Returns what does not pass by itself.
pub(super) async fn follow(client: &Client, tell: Sender<News>) -> ClientError {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match connection(client, &tell, &mut pause).await {
            Err(error) if !passes(&error) => return error,
            Err(ClientError::Network { cause, .. }) => cause,
            Err(error) => error.to_string(),
            Ok(why) => why.to_owned(),
        };
        // Whoever listened is gone: then this is dropped soon.
        _ = tell.send(News::Lost(why)).await;
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection, until it is lost. Returns why.
async fn connection(
    client: &Client,
    tell: &Sender<News>,
    pause: &mut Duration,
) -> Result<&'static str, ClientError> {
    let mut pieces = client.open("/v1/events").await?;
    // What happens from here on is told, so the lists may be read now.
    _ = tell.send(lists(client).await?).await;
    *pause = FIRST_PAUSE;
    let mut events = Events::default();
    let (mut silent, mut count) = (Instant::now() + SILENCE, Instant::now() + COUNTS);
    loop {
        let Ok(piece) = timeout_at(count.min(silent), pieces.next()).await else {
            if Instant::now() >= silent {
                return Ok("it fell silent");
            }
            _ = tell.send(News::Status(client.get("/v1/status").await?)).await;
            count = Instant::now() + COUNTS;
            continue;
        };
        let Some(bytes) = piece? else { return Ok("it ended the connection") };
        silent = Instant::now() + SILENCE;
        let Ok(complete) = events.push(&bytes) else { return Ok("its events are too long") };
        for event in complete {
            let Ok(value) = serde_json::from_str::<Value>(&event.data) else { continue };
            let news = match event.name.as_str() {
                "missed" => lists(client).await?,
                _ => News::Event { kind: event.name, value },
            };
            _ = tell.send(news).await;
        }
    }
}
