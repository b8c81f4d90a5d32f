//! An original among its peers: pushes, pulls, discovery (CONTRACT 6: R, N).

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::{Core, lock};
use crate::http::{Connection, Response};

/// How long it waits for a peer. The original has no limit of its own (F22); tests end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A url as originals compare them; none if it is none.
pub(super) fn normalized(text: &str) -> Option<String> {
    let mut url = Url::parse(text.trim()).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for urls that cannot have user info.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Some(url.as_str().strip_suffix('/').unwrap_or(url.as_str()).to_owned())
}

impl Core {
    pub(super) fn public_url(&self) -> Option<String> {
        if self.setup.public {
            return self.url.get().cloned();
        }
        self.setup.public_url.as_deref().and_then(normalized)
    }

    /// Whether it is a url. Its own public one is never added; without one it may well learn of
    /// itself (F23).
    pub(super) fn add_peer(&self, url: &str) -> bool {
        let Some(url) = normalized(url) else { return false };
        let peers = &mut lock(&self.state).peers;
        if Some(&url) != self.public_url().as_ref() && !peers.contains(&url) {
            peers.push(url);
        }
        true
    }

    /// Sends the whole state to all peers and waits for all (F22, F38); how many answered 2xx,
    /// whatever they stored (F24).
    pub(super) fn push(&self, snapshot: &Value, peers: &[String]) -> usize {
        let body = snapshot.to_string();
        thread::scope(|scope| {
            let calls = peers.iter().map(|peer| {
                let body = body.as_bytes();
                scope.spawn(move || self.call(peer, "POST", "/v1/replicate/snapshot", body))
            });
            let calls: Vec<_> = calls.collect();
            let answers = calls.into_iter().filter_map(|call| call.join().ok().flatten());
            answers.filter(|answer| answer.status / 100 == 2).count()
        })
    }

    /// One round of pulls; what fails is passed over.
    pub(super) fn pull(self: &Arc<Self>) {
        let (run, peers) = {
            let state = lock(&self.state);
            (state.run, state.peers.clone())
        };
        for peer in peers {
            let get = |path: &str| {
                let answer = self.call(&peer, "GET", path, b"")?;
                (answer.status / 100 == 2).then_some(())?;
                serde_json::from_slice::<Value>(&answer.body).ok()
            };
            if let Some(theirs) = get("/v1/state") {
                let mut state = lock(&self.state);
                if state.run != run {
                    return;
                }
                // A malformed record ends the merge of this peer.
                let _ = state.tables.merge(&theirs);
                state.tables.requeue();
            }
            if !self.setup.discovery {
                continue;
            }
            if let Some(known) = get("/v1/network/peers") {
                let others = known["peers"].as_array().into_iter().flatten();
                for url in others.chain([&known["self"]]).filter_map(Value::as_str) {
                    self.add_peer(url);
                }
            }
            if let Some(url) = self.public_url() {
                let body = json!({ "url": url }).to_string();
                self.call(&peer, "POST", "/v1/network/join", body.as_bytes());
            }
        }
    }

    fn call(&self, peer: &str, method: &str, path: &str, body: &[u8]) -> Option<Response> {
        let (address, base) = place(peer)?;
        let mut headers = vec![("content-type", "application/json")];
        if let Some(token) = &self.setup.token {
            headers.push(("x-skyclaw-token", token));
        }
        let mut connection = Connection::open_within(address, PATIENCE).ok()?;
        connection.exchange(method, &format!("{base}{path}"), &headers, body).ok()
    }
}

/// Where a url leads, and the path before all others.
fn place(url: &str) -> Option<(SocketAddr, String)> {
    let url = Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let host = host.trim_matches(['[', ']']);
    let mut all = (host, port).to_socket_addrs().ok()?;
    // Everything here listens on 127.0.0.1.
    let address = all.find(SocketAddr::is_ipv4)?;
    Some((address, url.path().trim_end_matches('/').to_owned()))
}
