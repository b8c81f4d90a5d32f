//! What the gateway is told at start. Values are resolved elsewhere; nothing here reads them.

use std::net::IpAddr;
use std::time::Duration;

use super::workers::MAX_THREADS;
use crate::auth::{PublicKey, Secret};
use crate::tls::Tls;

/// Shortest and longest period of the gateway's timers. Beyond a day nobody means it, and clocks of
/// timers do not overflow.
const PERIODS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(86_400));

/// Settings of the gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The network's token: what equals it is not passed on to services.
    pub token: Option<Secret>,
    /// Keys of the public API: what equals one of them is not passed on either.
    pub public_keys: Vec<PublicKey>,
    /// With a domain `D`, a request for the host `S.D` goes to the service of the name `S`.
    pub domain: Option<String>,
    /// Between two checks of an endpoint.
    pub probe_every: Duration,
    /// What a check asks for, where the service itself names nothing.
    pub probe_path: String,
    /// Longest time a check may take.
    pub probe_timeout: Duration,
    /// Further endpoints that are tried for a request with an idempotent method.
    pub retry_attempts: u32,
    /// How long an endpoint that failed is passed over.
    pub cooldown: Duration,
    /// Longest time to reach an endpoint; tunnels get twice as long.
    pub connect_timeout: Duration,
    /// How long a tunnel through a relay is used for one request after the other. Then a new one is
    /// opened, which may find a direct way.
    pub relayed_for: Duration,
    /// Longest time from the end of a request, or the last of its body that was taken, to the head
    /// of the answer.
    pub answer_timeout: Duration,
    /// Longest silence inside a body, either way.
    pub body_idle: Duration,
    /// Longest silence, both ways together, on an upgraded connection.
    pub tunnel_idle: Duration,
    /// How long a connection may wait for its next request, and a request head may take to arrive.
    pub front_idle: Duration,
    /// How long a caller may take no byte of an answer.
    pub front_stall: Duration,
    /// Proxies in front of the gateway whose `x-forwarded-*` are believed, beside loopback.
    pub trusted_proxies: Vec<IpAddr>,
    /// TLS towards callers, if it is spoken.
    pub tls: Option<Tls>,
    /// Threads that serve callers, each for itself; with 0, the runtime that serves the listener
    /// does it. 0 costs a third of the throughput where the machine has other things to do.
    pub threads: usize,
    /// Callers' connections held at once, upgraded ones included; what comes beyond that waits in
    /// the listener's backlog.
    pub max_connections: usize,
    /// Requests under way at once; beyond that 503. One service gets at most half of them, so that
    /// a slow one does not take the others along.
    pub max_in_flight: usize,
}

impl Default for GatewayConfig {
    /// The original's defaults (checks every 5 s, 1.5 s each, of `/health`; one retry; 10 s of
    /// cooldown), and bounds that fit 4,096 connections.
    fn default() -> Self {
        Self {
            token: None,
            public_keys: Vec::new(),
            domain: None,
            probe_every: Duration::from_secs(5),
            probe_path: "/health".to_owned(),
            probe_timeout: Duration::from_millis(1500),
            retry_attempts: 1,
            cooldown: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            relayed_for: Duration::from_secs(10),
            // Longer than any sensible request, shorter than callers' own patience mostly is.
            answer_timeout: Duration::from_secs(60),
            // Event streams send something every half minute or so.
            body_idle: Duration::from_secs(300),
            // A WebSocket may well say nothing for long; this is for peers that are gone.
            tunnel_idle: Duration::from_secs(3600),
            front_idle: Duration::from_secs(30),
            front_stall: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
            tls: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            // Two descriptors each: within the 10,000 or so that a daemon usually may open.
            max_connections: 4_096,
            max_in_flight: 8_192,
        }
    }
}

impl GatewayConfig {
    /// The same with periods brought into what timers bear.
    pub(super) fn bounded(mut self) -> Self {
        let (least, most) = PERIODS;
        for period in [
            &mut self.probe_every,
            &mut self.probe_timeout,
            &mut self.cooldown,
            &mut self.connect_timeout,
            &mut self.relayed_for,
            &mut self.answer_timeout,
            &mut self.body_idle,
            &mut self.tunnel_idle,
            &mut self.front_idle,
            &mut self.front_stall,
        ] {
            *period = (*period).clamp(least, most);
        }
        self.threads = self.threads.min(MAX_THREADS);
        self.max_connections = self.max_connections.clamp(1, 1 << 20);
        self.max_in_flight = self.max_in_flight.clamp(2, 1 << 20);
        self.domain = self
            .domain
            .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
            .filter(|domain| !domain.is_empty());
        self
    }

    /// Whether that text is one of the network's secrets.
    pub(super) fn is_secret(&self, shown: &[u8]) -> bool {
        let shown = shown.trim_ascii();
        self.token.is_some_and(|token| token.is(shown))
            || self.public_keys.iter().any(|key| key.is(shown))
    }

    /// Whether a caller of that address is a proxy whose word counts.
    pub(super) fn trusts(&self, caller: IpAddr) -> bool {
        let caller = caller.to_canonical();
        caller.is_loopback() || self.trusted_proxies.contains(&caller)
    }
}
