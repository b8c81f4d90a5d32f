//! Which addresses a host may give for its services (F34): its own, so that nobody's requests are
//! sent to a third machine because a host says so.
//!
//! Always: an address counts as a host's own if it is where the host's connection comes from, or, for
//! a host on this machine, any of this machine; what else is allowed an operator has named.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use url::{Host, Url};

use crate::error::ApiError;

/// Longest wait for the addresses of a name.
const LOOKUP: Duration = Duration::from_secs(2);

/// Refuses an endpoint at an address that is not the caller's own. `allowed` are names and addresses
/// that any host may give, or `*`. Callers within the process have no address and are trusted.
///
/// # Errors
/// [`ApiError::BadField`], saying what to do.
pub(crate) async fn check(
    endpoint: &str,
    caller: Option<SocketAddr>,
    allowed: &[String],
) -> Result<(), ApiError> {
    let Some(caller) = caller else { return Ok(()) };
    if is_allowed(endpoint, allowed) {
        return Ok(());
    }
    let own = caller.ip().to_canonical();
    let Some((name, port)) = place(endpoint) else {
        return Err(ApiError::BadField(format!("endpoint {endpoint} is no http url")));
    };
    let found = match name.parse::<IpAddr>() {
        Ok(ip) => BTreeSet::from([ip.to_canonical()]),
        Err(_) => addresses(&name, port).await,
    };
    // All of them: a name may lead elsewhere with the next look.
    if !found.is_empty() && found.iter().all(|ip| is_own(*ip, own)) {
        return Ok(());
    }
    Err(ApiError::BadField(format!(
        "endpoint {endpoint} is no address of the host that reports it, which is {own}: set \
         SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL there to one of its own, or name {name} in \
         SKYCLAW_ENDPOINT_HOSTS here"
    )))
}

/// Whether an operator named the host part of an endpoint.
#[must_use]
pub fn is_allowed(endpoint: &str, allowed: &[String]) -> bool {
    let Some((name, _)) = place(endpoint) else { return false };
    allowed.iter().any(|entry| entry == "*" || entry.eq_ignore_ascii_case(&name))
}

fn place(endpoint: &str) -> Option<(String, u16)> {
    let url = Url::parse(endpoint.trim()).ok()?;
    let name = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    Some((name, url.port_or_known_default().unwrap_or(80)))
}

async fn addresses(name: &str, port: u16) -> BTreeSet<IpAddr> {
    match tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        Ok(Err(_)) | Err(_) => BTreeSet::new(),
    }
}

fn is_own(ip: IpAddr, caller: IpAddr) -> bool {
    ip == caller || (is_here(caller) && is_here(ip))
}

/// An address of this machine: one that a socket can be bound to.
fn is_here(ip: IpAddr) -> bool {
    let usable = !ip.is_unspecified() && !ip.is_multicast();
    usable && (ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn says(endpoint: &str, caller: &str, allowed: &[&str]) -> Result<(), String> {
        let allowed: Vec<String> = allowed.iter().map(|word| (*word).to_owned()).collect();
        let caller = format!("{caller}:999").parse().ok();
        check(endpoint, caller, &allowed).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn f34_a_host_may_give_its_own_address_and_no_other() {
        for (endpoint, caller, fine) in [
            ("http://10.0.0.7:3100", "10.0.0.7", true),
            ("http://10.0.0.8:3100", "10.0.0.7", false),
            ("http://127.0.0.1:3100", "10.0.0.7", false),
            ("http://169.254.169.254/", "10.0.0.7", false),
            ("http://127.0.0.1:3100", "127.0.0.1", true),
            ("http://localhost:3100/v1/", "127.0.0.1", true),
            ("http://[::ffff:10.0.0.7]:3100", "10.0.0.7", true),
            ("http://0.0.0.0:3100", "127.0.0.1", false),
            ("http://203.0.113.9:3100", "127.0.0.1", false),
            ("http://no-such-name.invalid:3100", "10.0.0.7", false),
            ("file:///etc/passwd", "10.0.0.7", false),
            ("nothing", "10.0.0.7", false),
        ] {
            let said = says(endpoint, caller, &[]).await;
            assert_eq!(said.is_ok(), fine, "{endpoint} of {caller}: {said:?}");
        }
    }

    #[tokio::test]
    async fn f34_what_an_operator_names_any_host_may_give() {
        let endpoint = "http://api.example:3100";
        assert_eq!(says(endpoint, "10.0.0.7", &["API.example"]).await, Ok(()));
        assert_eq!(says(endpoint, "10.0.0.7", &["*"]).await, Ok(()));
        let refused = says("http://10.0.0.8:1", "10.0.0.7", &["api.example"]).await.unwrap_err();
        assert!(refused.contains("SKYCLAW_ENDPOINT_HOSTS"), "{refused}");
    }
}
