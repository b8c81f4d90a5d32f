//! A client of one service behind several gateways: whoever of them is gone, its caller does not see.
//!
//! Always: only what may be asked twice is asked twice, so it does GET alone. A gateway that failed
//! rests for a moment while another one answers; a request is tried a few times and then given up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for one attempt, its body included.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Longest wait for a connection: a gateway that is there takes one at once.
const CONNECT: Duration = Duration::from_millis(500);

/// Attempts of one request: each of two gateways three times.
const ATTEMPTS: u32 = 6;

/// How long a gateway that failed is passed over while another one may answer.
const REST: Duration = Duration::from_secs(1);

/// Pause once all gateways have failed; it doubles.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks gateways, the last good one first.
#[derive(Debug)]
pub(crate) struct Failover {
    http: reqwest::Client,
    gateways: Vec<Gateway>,
    preferred: AtomicUsize,
    began: Instant,
}

#[derive(Debug)]
struct Gateway {
    url: String,
    /// Milliseconds since the beginning until which it is passed over.
    rests_until: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// Attempts it took.
    pub(crate) attempts: u32,
}

/// What one gateway did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Its url.
    pub(crate) url: String,
    /// Requests it answered.
    pub(crate) answered: u64,
    /// Attempts that failed there.
    pub(crate) failed: u64,
}

/// No gateway answered.
#[derive(Debug)]
pub(crate) struct GivenUp(pub(crate) String);

impl Failover {
    /// A client of these gateways.
    ///
    /// # Errors
    /// The system refuses sockets or certificates.
    pub(crate) fn new(gateways: impl IntoIterator<Item = String>) -> Result<Self, reqwest::Error> {
        skyclaw_node::client::install_crypto();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ATTEMPT)
            // What the service answers is the caller's to follow.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let gateway = |url: String| Gateway {
            url: url.trim_end_matches('/').to_owned(),
            rests_until: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        let gateways = gateways.into_iter().map(gateway).collect();
        Ok(Self { http, gateways, preferred: AtomicUsize::new(0), began: Instant::now() })
    }

    /// Asks for `path`, at as many gateways as it takes.
    ///
    /// # Errors
    /// None answered in a few attempts.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, GivenUp> {
        let mut last = "no gateway is named".to_owned();
        let mut pause = PAUSE;
        for attempts in 1..=ATTEMPTS {
            let Some((at, gateway)) = self.choose() else { break };
            match self.attempt(gateway, path).await {
                Ok((status, body)) => {
                    gateway.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(Answer { status, body, attempts });
                }
                Err(why) => {
                    last = format!("{}: {why}", gateway.url);
                    self.pass_over(at, gateway);
                }
            }
            if (attempts as usize).is_multiple_of(self.gateways.len()) {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Err(GivenUp(last))
    }

    /// What each gateway did so far.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let tally = |gateway: &Gateway| Tally {
            url: gateway.url.clone(),
            answered: gateway.answered.load(Ordering::Relaxed),
            failed: gateway.failed.load(Ordering::Relaxed),
        };
        self.gateways.iter().map(tally).collect()
    }

    async fn attempt(&self, gateway: &Gateway, path: &str) -> Result<(u16, Vec<u8>), String> {
        let sent = self.http.get(format!("{}{path}", gateway.url)).send().await;
        let answer = sent.map_err(|error| chain(&error))?;
        let status = answer.status().as_u16();
        // An answer that breaks off is none.
        let body = answer.bytes().await.map_err(|error| chain(&error))?;
        match status {
            // The gateway's words for having nobody to ask: another one may have.
            502..=504 => Err(format!("status {status}")),
            _ => Ok((status, body.to_vec())),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The preferred gateway, or the next one that does not rest; if all do, the preferred one.
    fn choose(&self) -> Option<(usize, &Gateway)> {
        let count = self.gateways.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let now = self.now();
        let awake = (0..count)
            .map(|step| (first + step) % count)
            .find(|at| self.gateways[*at].rests_until.load(Ordering::Relaxed) <= now);
        let at = awake.unwrap_or(first);
        Some((at, self.gateways.get(at)?))
    }

    fn pass_over(&self, at: usize, gateway: &Gateway) {
        gateway.failed.fetch_add(1, Ordering::Relaxed);
        let rest = u64::try_from(REST.as_millis()).unwrap_or(0);
        gateway.rests_until.store(self.now() + rest, Ordering::Relaxed);
        let next = (at + 1) % self.gateways.len();
        // Unless another request has moved on already.
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text = inner.to_string();
        next = inner.source();
    }
    text
}
