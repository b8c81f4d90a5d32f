//! Whether the port at which a coordinator listens for nodes is let through to this machine.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Finding;
use super::facts::Facts;

const NAME: &str = "ports";

/// Longest wait for a connection: what drops packets in silence takes all of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Addresses that are tried, at once.
const MOST: usize = 8;

/// A place where the coordinator says that it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    address: SocketAddr,
    /// Whether a connection came about, or why not.
    open: Result<(), String>,
}

/// Tries the places that a coordinator names, from here. Those on its own loopback say nothing.
pub(super) async fn look(network: &Value) -> Vec<Port> {
    let all = network["addresses"].as_array().into_iter().flatten();
    let mut places: Vec<SocketAddr> = all.filter_map(|place| tcp(place.as_str()?)).collect();
    places.retain(|place| !place.ip().is_loopback());
    places.sort_unstable();
    places.dedup();
    places.truncate(MOST);
    let attempt = |address: SocketAddr| async move {
        let open = match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        Port { address, open }
    };
    futures::future::join_all(places.into_iter().map(attempt)).await
}

/// The address of `/ip4/192.0.2.1/tcp/4787/p2p/...`; none of other ways, such as through a relay.
fn tcp(multiaddr: &str) -> Option<SocketAddr> {
    let mut parts = multiaddr.strip_prefix('/')?.split('/');
    let (kind, ip) = (parts.next()?, parts.next()?);
    let ip = matches!(kind, "ip4" | "ip6").then(|| ip.parse().ok()).flatten()?;
    let port = (parts.next()? == "tcp").then(|| parts.next()?.parse().ok()).flatten()?;
    (!parts.any(|part| part == "p2p-circuit")).then(|| SocketAddr::new(ip, port))
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(first) = facts.ports.first() else { return Vec::new() };
    if let Some(open) = facts.ports.iter().find(|port| port.open.is_ok()) {
        return vec![Finding::ok(NAME, format!("{} is open to this machine", open.address))];
    }
    let told = |port: &Port| {
        let why = port.open.as_ref().err().map(String::as_str).unwrap_or_default();
        format!("{}: {why}", port.address)
    };
    let what = facts.ports.iter().map(told).collect::<Vec<_>>().join("; ");
    vec![Finding::warn(
        NAME,
        format!("no port for nodes is open to this machine: {what}"),
        format!(
            "if nodes here are to join, let TCP and UDP {port} through at that machine's firewall and \
             router (`ss -tlnu | grep {port}` there shows whether it is bound); others may still reach it \
             through relays",
            port = first.address.port()
        ),
    )]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn only_plain_addresses_are_tried() {
        let place = |text| tcp(text).map(|place| place.to_string());
        assert_eq!(place("/ip4/192.0.2.1/tcp/4787/p2p/12D3"), Some("192.0.2.1:4787".to_owned()));
        assert_eq!(place("/ip6/2001:db8::1/tcp/1"), Some("[2001:db8::1]:1".to_owned()));
        for other in [
            "/ip4/192.0.2.1/udp/4787/quic-v1",
            "/ip4/192.0.2.1/tcp/1/p2p/x/p2p-circuit",
            "/dns4/x/tcp/1",
            "",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_coordinators_own_loopback_says_nothing_of_a_firewall() {
        let network = json!({ "addresses": ["/ip4/127.0.0.1/tcp/9/p2p/x", "/ip6/::1/tcp/9"] });
        assert_eq!(look(&network).await, []);
    }

    #[test]
    fn one_open_port_is_enough_and_none_is_told_with_its_number() {
        let port = |last: u8, open: Result<(), &str>| Port {
            address: SocketAddr::from(([192, 0, 2, last], 4787)),
            open: open.map_err(str::to_owned),
        };
        let judged = |ports: Vec<Port>| check(&Facts { ports, ..Facts::default() });
        assert_eq!(judged(Vec::new()), []);
        assert_eq!(judged(vec![port(1, Err("refused")), port(2, Ok(()))])[0].level, Level::Ok);
        let closed = judged(vec![port(1, Err("no answer within 2 s"))]);
        assert_eq!(closed[0].level, Level::Warn);
        assert!(closed[0].what.contains("192.0.2.1:4787: no answer"), "{closed:?}");
        assert!(closed[0].fix.as_ref().is_some_and(|fix| fix.contains("TCP and UDP 4787")));
    }
}
