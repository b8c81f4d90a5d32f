//! Whether an instance serves: it answers `GET path` below 500, or, where its service names no
//! path, takes a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use skyclaw_protocol::HealthCheck;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between looks at an instance that does not serve yet: short at first, as most start quickly.
pub(super) const LOOK: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(500));

/// Between looks at one that serves, where its service names no interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// No shorter interval, whatever a service asks for.
const SHORTEST: Duration = Duration::from_millis(100);

/// So many looks in vain, one after the other, end an instance.
pub(super) const MISSES: u32 = 3;

/// The two addresses of this machine on which a service may listen that listens on few.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Looks at one instance.
#[derive(Debug)]
pub(super) struct Probe {
    port: u16,
    path: Option<String>,
    interval: Duration,
    client: reqwest::Client,
}

impl Probe {
    pub(super) fn new(client: &reqwest::Client, port: u16, check: Option<&HealthCheck>) -> Self {
        let interval = check.map_or(INTERVAL, |check| Duration::from_millis(check.interval_ms));
        Self {
            port,
            path: check.map(|check| check.path.clone()),
            interval: interval.clamp(SHORTEST, Duration::from_secs(3600)),
            client: client.clone(),
        }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// What it is asked, for texts.
    pub(super) fn what(&self) -> String {
        match &self.path {
            Some(path) => format!("GET {path}"),
            None => format!("a connection to port {}", self.port),
        }
    }

    /// Where it serves.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub(super) async fn look(&self) -> Result<SocketAddr, String> {
        let mut worst = None;
        for ip in LOOPBACK {
            let address = SocketAddr::new(ip, self.port);
            match self.look_at(address).await {
                Ok(()) => return Ok(address),
                // What the first one says is what most need to know.
                Err(text) => worst = worst.or(Some(text)),
            }
        }
        Err(worst.unwrap_or_default())
    }

    async fn look_at(&self, address: SocketAddr) -> Result<(), String> {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no connection in 5 s".to_owned()),
        }
        let Some(path) = &self.path else { return Ok(()) };
        let ask = self.client.get(format!("http://{address}{path}")).timeout(PATIENCE).send();
        match ask.await {
            Ok(answer) if answer.status().as_u16() < 500 => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
            Err(error) if error.is_timeout() => Err("no answer in 5 s".to_owned()),
            Err(error) if error.is_builder() => Err("the path is not fit for a url".to_owned()),
            Err(_) => Err("no answer that is HTTP".to_owned()),
        }
    }
}

/// The client of all looks: no proxy, no redirects, no connection kept that a stopping instance
/// would wait for.
pub(super) fn client() -> Result<reqwest::Client, String> {
    crate::client::install_crypto();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .tls_certs_only([])
        .build()
        .map_err(|error| format!("cannot set up the HTTP client: {error}"))
}
