//! Where a service can be called.
//!
//! Always: a gateway is asked without the token, and named only once it has said that it has the
//! service.

use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use crate::client::{Client, segment};
use crate::config::{Key, SETTINGS};

/// A gateway hears of a new instance within moments, one that asks coordinators in a few seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);

const GLANCE: Duration = Duration::from_millis(100);

/// Most gateways that are asked and named.
const MOST: usize = 4;

/// Path of a service at a gateway.
pub(super) fn path(name: &str) -> String {
    format!("/v1/gateway/{}/", segment(name))
}

/// Urls of the service at the gateways that have it.
pub(super) async fn urls(client: &Client, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let began = Instant::now();
    let candidates = candidates(client).await;
    while found.is_empty() && began.elapsed() < PATIENCE {
        let mut any = false;
        for base in &candidates {
            match has(base, name).await {
                Some(true) => found.push(format!("{base}{}", path(name))),
                Some(false) => any = true,
                None => {}
            }
        }
        if !any {
            break;
        }
        tokio::time::sleep(GLANCE).await;
    }
    found
}

/// Gateways that the coordinator knows of, else the one that may be beside it.
async fn candidates(client: &Client) -> Vec<String> {
    let network = client.get("/v1/network").await.unwrap_or_default();
    let peers = network["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told =
        std::iter::once(&network).chain(peers).filter_map(|node| node["gatewayUrl"].as_str());
    let mut all: Vec<String> = told.take(MOST).map(trimmed).collect();
    if all.is_empty() {
        all.extend(client.base().and_then(beside));
    }
    all.sort();
    all.dedup();
    all
}

/// The same machine at the port that gateways have.
fn beside(coordinator: &str) -> Option<String> {
    let mut url = Url::parse(coordinator).ok().filter(|url| url.scheme() == "http")?;
    let setting = SETTINGS.iter().find(|setting| setting.key == Key::GatewayPort)?;
    let port = setting.fallback.constant()?;
    url.set_port(port.parse().ok()).ok()?;
    url.set_path("");
    url.set_query(None);
    // Its password is for the coordinator alone, and this is shown.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(trimmed(url.as_str()))
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Whether the gateway there has the service; none if there is no gateway.
async fn has(base: &str, name: &str) -> Option<bool> {
    let client = Client::new(&[base.to_owned()], None).ok()?.at_most(1 << 20);
    let answer = tokio::time::timeout(ANSWER, client.get("/health")).await.ok()?.ok()?;
    let names = answer["services"].as_array()?;
    Some(names.iter().any(|known: &Value| known == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_looked_for_beside_the_coordinator() {
        let port = |url| beside(url);
        assert_eq!(port("http://10.0.0.1:8787"), Some("http://10.0.0.1:8790".into()));
        assert_eq!(port("http://[::1]:1/x"), Some("http://[::1]:8790".into()));
        let with_password = port("http://me:secret@10.0.0.1:8787/?token=t");
        assert_eq!(with_password, Some("http://10.0.0.1:8790".into()), "it is for one alone");
        assert_eq!(port("https://example.org"), None);
        assert_eq!(port("nonsense"), None);
    }
}
