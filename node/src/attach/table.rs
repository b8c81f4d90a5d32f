//! Which node speaks for which host, and the claim of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use skyclaw_protocol::attach::{HostTell, Nonce};
use skyclaw_protocol::limits::MAX_HOSTS;
use skyclaw_protocol::{HostId, NodeId, Refusal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::OUTCOME_KEPT;

/// How long a host's record is taken to say what it said: a look at it costs a way to the engine.
const SPEAKER_LIFE: Duration = Duration::from_secs(2);

/// What a claim came to; none while it is under way.
pub(super) type Outcome = Option<Result<HostTell, Refusal>>;

/// A claim, under way or ended.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) nonce: Nonce,
    pub(super) outcome: watch::Receiver<Outcome>,
    /// Has it answered now.
    pub(super) withdraw: CancellationToken,
    /// Questions that wait for it.
    pub(super) askers: Arc<AtomicUsize>,
    /// When it was made.
    since: Instant,
}

impl Open {
    fn is_over(&self) -> bool {
        self.outcome.borrow().is_some() && self.since.elapsed() > OUTCOME_KEPT
    }
}

#[derive(Debug)]
struct Attached {
    node: NodeId,
    /// When its record said so.
    told: Instant,
    claim: Option<Open>,
    heard: Instant,
}

/// Bounded as the machine's hosts are. What falls out is found in the host's record again; only an
/// outcome that was not fetched is lost, and its leases run out.
#[derive(Debug, Default)]
pub(super) struct Table {
    hosts: HashMap<HostId, Attached>,
    /// When outcomes nobody fetches were last looked for.
    swept: Option<Instant>,
}

impl Table {
    pub(super) fn speaker(&mut self, host: &HostId) -> Option<NodeId> {
        let known = self.hosts.get_mut(host)?;
        known.heard = Instant::now();
        // It may be removed, or another's by now.
        (known.told.elapsed() < SPEAKER_LIFE).then_some(known.node)
    }

    /// The record does not name a node any more.
    pub(super) fn forget(&mut self, host: &HostId) {
        if let Some(known) = self.hosts.remove(host)
            && let Some(claim) = known.claim
        {
            claim.withdraw.cancel();
        }
    }

    pub(super) fn register(&mut self, host: &HostId, node: NodeId) {
        if let Some(known) = self.hosts.get_mut(host) {
            let now = Instant::now();
            (known.node, known.told, known.heard) = (node, now, now);
            return;
        }
        if self.hosts.len() >= MAX_HOSTS {
            let oldest = self.hosts.iter().min_by_key(|(_, known)| known.heard);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.hosts.remove(&oldest);
            }
        }
        self.hosts.insert(host.clone(), {
            let now = Instant::now();
            Attached { node, told: now, claim: None, heard: now }
        });
    }

    /// The claim of this nonce, or a new one with where its outcome goes.
    pub(super) fn claim(
        &mut self,
        host: &HostId,
        nonce: Nonce,
    ) -> Option<(Open, Option<watch::Sender<Outcome>>)> {
        self.sweep();
        let known = self.hosts.get_mut(host)?;
        if let Some(open) = known.claim.as_ref().filter(|open| open.nonce == nonce) {
            return Some((open.clone(), None));
        }
        if let Some(earlier) = known.claim.take() {
            // The host has given it up.
            earlier.withdraw.cancel();
        }
        let (sender, outcome) = watch::channel(None);
        let withdraw = CancellationToken::new();
        let open = Open { nonce, outcome, withdraw, askers: Arc::default(), since: Instant::now() };
        known.claim = Some(open.clone());
        Some((open, Some(sender)))
    }

    pub(super) fn open(&self, host: &HostId, nonce: Nonce) -> Option<&Open> {
        self.hosts.get(host)?.claim.as_ref().filter(|open| open.nonce == nonce)
    }

    /// Outcomes hold jobs' payloads: they go once nobody can ask for them any more.
    fn sweep(&mut self) {
        if self.swept.is_some_and(|at| at.elapsed() < OUTCOME_KEPT / 4) {
            return;
        }
        self.swept = Some(Instant::now());
        for known in self.hosts.values_mut() {
            known.claim.take_if(|open| open.is_over());
        }
    }
}
