//! Whom an original knows, and that it knows us (CONTRACT 6, N5-N7).
//!
//! Always: urls are bounded in number; this node's own is none of them, nor one that an operator
//! forgot, which originals never do. It joins only where it is not known yet.

use bytes::Bytes;
use serde_json::{Value, json};
use skyclaw_http_compat::normalize_url;
use skyclaw_protocol::limits::MAX_PEER_URLS;

use super::limits::SHORT;
use super::link::Trouble;
use super::{Ctx, Peer};

/// Urls that an answer names, its own included; as they are written here.
fn named(answer: &Value) -> Vec<String> {
    let peers = answer["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = peers.iter().take(MAX_PEER_URLS).chain([&answer["self"]]);
    let http = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    all.filter_map(|url| normalize_url(url.as_str()?)).filter(http).collect()
}

/// Asks for peers, and joins.
pub(super) async fn ask(ctx: &Ctx, peer: &Peer) -> Result<(), Trouble> {
    let known = named(&peer.link.get("/v1/network/peers", SHORT).await?);
    for url in &known {
        ctx.parts.handle.discovered(url);
    }
    let Some(own) = ctx.settings.public_url.as_ref().filter(|own| !known.contains(own)) else {
        return Ok(());
    };
    let body = Bytes::from(json!({ "url": own }).to_string());
    peer.link.post("/v1/network/join", body, SHORT).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_and_the_one_that_answers_are_learned() {
        let answer = json!({
            "nodeId": "node_1", "self": "http://A.example:80/",
            "peers": ["http://b.example:8787/", "nonsense", 7, "ftp://c.example"],
        });
        assert_eq!(named(&answer), ["http://b.example:8787", "http://a.example"]);
        assert!(named(&json!({ "peers": "http://a" })).is_empty());
        let many: Vec<String> = (0..1000).map(|n| format!("http://h{n}")).collect();
        assert_eq!(named(&json!({ "peers": many })).len(), MAX_PEER_URLS);
    }
}
