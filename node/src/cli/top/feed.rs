//! Where `top` hears what there is, and what becomes of it.
//!
//! Always: after each connection the lists are read anew, so nothing that happened meanwhile is missing.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::world::{JOBS, News};
use crate::cli::logs::Events;
use crate::cli::passes;
use crate::client::{Client, ClientError};

/// Longest silence: a coordinator says every ten seconds that it is there.
const SILENCE: Duration = Duration::from_secs(25);

/// How often counts are asked for, and lists at most: a node that tells too much to follow says so
/// each time.
const COUNTS: Duration = Duration::from_secs(1);

/// How often hosts and gateways are asked for: they send heartbeats about as often.
const HOSTS: Duration = Duration::from_secs(3);

/// Longest wait for counts or hosts, and for lists, which are several answers and long ones: who looks must not
/// take what was true before for what is.
const LOOK: Duration = Duration::from_secs(5);
const LISTS: Duration = Duration::from_secs(20);
const NO_ANSWER: &str = "it gives no answer in time";

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
        gateways: gateways(client).await.unwrap_or_default(),
    })
}

fn members(list: Value) -> Vec<Value> {
    match list {
        Value::Array(members) => members,
        _ => Vec::new(),
    }
}

/// Urls of gateways, as far as the coordinator knows any and tells this caller.
async fn gateways(client: &Client) -> Option<Vec<String>> {
    let network = client.get("/v1/network").await.ok()?;
    let peers = network["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes = std::iter::once(&network).chain(peers);
    let mut all: Vec<String> =
        nodes.filter_map(|node| node["gatewayUrl"].as_str()).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    Some(all)
}

async fn around(client: &Client) -> Result<News, ClientError> {
    let hosts = members(client.get("/v1/hosts").await?["hosts"].take());
    Ok(News::Around { hosts, gateways: gateways(client).await })
}

/// When what is asked for next.
struct Due {
    /// If nothing comes until then, the connection is lost.
    silent: Instant,
    counts: Instant,
    hosts: Instant,
    /// If something was missed.
    lists: Option<Instant>,
    /// When lists were read last.
    read: Instant,
}

impl Due {
    /// As it stands once all lists were read.
    fn after_lists() -> Self {
        let read = Instant::now();
        let (silent, counts) = (read + SILENCE, read + COUNTS);
        Self { silent, counts, hosts: read + HOSTS, lists: None, read }
    }

    /// The lists are to be read, but not as often as that is said.
    fn missed(&mut self) {
        self.lists.get_or_insert(self.read + COUNTS);
    }

    fn next(&self) -> Instant {
        let first = self.silent.min(self.counts).min(self.hosts);
        self.lists.map_or(first, |lists| first.min(lists))
    }

    /// What is due now, if anything is. None of an answer that does not come.
    async fn look(&mut self, client: &Client) -> Result<Option<Vec<News>>, ClientError> {
        let now = Instant::now();
        if self.lists.is_some_and(|at| at <= now) {
            let Ok(lists) = timeout(LISTS, lists(client)).await else { return Ok(None) };
            *self = Self { silent: self.silent, ..Self::after_lists() };
            return Ok(Some(vec![lists?]));
        }
        let mut news = Vec::new();
        if self.counts <= now {
            let Ok(status) = timeout(LOOK, client.get("/v1/status")).await else {
                return Ok(None);
            };
            news.push(News::Status(status?));
            self.counts = Instant::now() + COUNTS;
        }
        if self.hosts <= now {
            let Ok(around) = timeout(LOOK, around(client)).await else { return Ok(None) };
            news.push(around?);
            self.hosts = Instant::now() + HOSTS;
        }
        Ok(Some(news))
    }
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
    let Ok(lists) = timeout(LISTS, lists(client)).await else { return Ok(NO_ANSWER) };
    _ = tell.send(lists?).await;
    *pause = FIRST_PAUSE;
    let mut events = Events::default();
    let mut due = Due::after_lists();
    loop {
        if let Ok(piece) = timeout_at(due.next(), pieces.next()).await {
            let Some(bytes) = piece? else { return Ok("it ended the connection") };
            due.silent = Instant::now() + SILENCE;
            let Ok(complete) = events.push(&bytes) else { return Ok("its events are too long") };
            for event in complete {
                if event.name == "missed" {
                    due.missed();
                    continue;
                }
                let Ok(value) = serde_json::from_str::<Value>(&event.data) else { continue };
                _ = tell.send(News::Event { kind: event.name, value }).await;
            }
        } else if Instant::now() >= due.silent {
            return Ok("it fell silent");
        }
        // Also between events that come without a pause.
        let Some(news) = due.look(client).await? else { return Ok(NO_ANSWER) };
        for one in news {
            _ = tell.send(one).await;
        }
    }
}
