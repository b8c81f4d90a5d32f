//! Finding nodes by the urls of their HTTP APIs.
//!
//! Always: a coordinator of the original, which knows no `/v1/network`, is told to the bridge and
//! otherwise left alone; that is said once.

use std::collections::HashMap;
use std::time::Instant;

use futures::future::join_all;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::address;
use super::book::Backoff;
use super::kinds::Kinds;
use super::limits::{BACKOFF, MAX_ADDRESSES, MAX_SEEK_BYTES, SEEK_AGAIN};
use super::swarm::Word;
use crate::client::{Client, ClientError};
use crate::config::{Secret, mask_urls};

/// The urls as of now; others may join.
pub(super) type Urls = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// How often the list of urls is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(250);

struct Place {
    client: Client,
    backoff: Backoff,
    /// Its last trouble, said once.
    said: Option<String>,
    /// It was told to be an original.
    original: bool,
}

/// Asks every url for addresses, again and again, until stopped. Without a swarm only originals are
/// of interest.
pub(super) async fn run(
    urls: Urls,
    token: Option<Secret>,
    kinds: Kinds,
    swarm: Option<mpsc::Sender<Word>>,
    stop: CancellationToken,
) {
    let mut places: HashMap<String, Place> = HashMap::new();
    loop {
        let wanted = urls();
        places.retain(|url, _| wanted.contains(url));
        kinds.keep(&wanted);
        for (url, place) in &mut places {
            if place.original && !kinds.has(url) {
                // It was replaced, as the bridge has seen.
                place.original = false;
                place.backoff = Backoff::at(Instant::now());
            }
        }
        for url in wanted {
            if places.contains_key(&url) {
                continue;
            }
            match Client::new(std::slice::from_ref(&url), token.as_ref()) {
                Ok(client) => {
                    let client = client.at_most(MAX_SEEK_BYTES);
                    let backoff = Backoff::at(Instant::now());
                    let place = Place { client, backoff, said: None, original: false };
                    places.insert(url, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "coordinators cannot be asked for peers");
                    return;
                }
            }
        }
        // Side by side: one that does not answer must not keep the others waiting.
        let now = Instant::now();
        let due = places.iter_mut().filter(|(_, place)| place.backoff.next <= now);
        let asked = join_all(due.map(|(url, place)| ask(url, place, &kinds, swarm.as_ref())));
        tokio::select! {
            () = stop.cancelled() => return,
            _ = asked => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn ask(url: &str, place: &mut Place, kinds: &Kinds, swarm: Option<&mpsc::Sender<Word>>) {
    match place.client.get("/v1/network").await {
        Ok(answer) => {
            place.backoff.reset(Instant::now() + SEEK_AGAIN);
            place.said = None;
            place.original = false;
            kinds.is_ours(url);
            if let (Some(swarm), Some((peer, addresses))) = (swarm, found(url, &answer)) {
                // A swarm that has ended needs none.
                let _ = swarm.send(Word::Heard { peer, addresses, call: true }).await;
            }
        }
        Err(error) => {
            let trouble = match &error {
                ClientError::Status { status: 404, .. } => {
                    "it is an original coordinator, which has no libp2p".to_owned()
                }
                other => other.to_string(),
            };
            place.backoff.fail(Instant::now(), BACKOFF.1, rand::random());
            if matches!(error, ClientError::Status { status: 404, .. }) {
                // It may be replaced by one of ours some day.
                place.backoff.wait_until(Instant::now() + BACKOFF.1);
                place.original = true;
                kinds.is_original(url);
            }
            if place.said.as_ref() != Some(&trouble) {
                tracing::info!(url = mask_urls(url), trouble, "a coordinator names no peers");
                place.said = Some(trouble);
            }
        }
    }
}

/// The peer behind the url, if the answer says so in a way that can be used.
fn found(url: &str, answer: &Value) -> Option<(PeerId, Vec<Multiaddr>)> {
    let peer: PeerId = answer["peerId"].as_str()?.parse().ok()?;
    let told = answer["addresses"].as_array()?.iter().take(4 * MAX_ADDRESSES);
    let told = told.filter_map(|text| text.as_str()?.parse().ok());
    let addresses = address::of_peer(peer, told, is_local(url));
    (!addresses.is_empty()).then_some((peer, addresses))
}

/// Whether the url leads to this machine: only then loopback addresses are meant for us.
fn is_local(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => {
            address::is_loopback(&Multiaddr::empty().with(Protocol::Ip4(ip)))
        }
        Some(url::Host::Ipv6(ip)) => {
            address::is_loopback(&Multiaddr::empty().with(Protocol::Ip6(ip)))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn loopback_addresses_count_for_urls_of_this_machine_only() {
        let peer = PeerId::random();
        let answer = json!({
            "peerId": peer.to_string(),
            "addresses": [format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}"), "/ip4/10.0.0.1/tcp/1", "x"],
        });
        assert_eq!(found("http://127.0.0.1:8787", &answer).unwrap().1.len(), 2);
        assert_eq!(found("http://a.example", &answer).unwrap().1.len(), 1);
        assert_eq!(found("http://a.example", &json!({ "peers": [] })), None);
        assert_eq!(found("http://a.example", &json!({ "peerId": "x", "addresses": [] })), None);
    }
}
