//! Receipts: what a host signs of each run, whichever way it talks to coordinators.
//!
//! Always: a receipt is made when the outcome is there and before it is told to anybody, of the very
//! texts that are told. A host without a key gives none, and works all the same.

use std::fmt;
use std::sync::Arc;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::record::{Raw, Record, Signed};
use skyclaw_protocol::{Completion, Hash, NetworkId};

use crate::supervisor::Terms;
use crate::time;

/// Signs them. Cheap to clone.
#[derive(Clone)]
pub struct Receipts {
    /// The key of a coordinator is known once its store was opened.
    key: Arc<dyn Fn() -> Option<NodeKey> + Send + Sync>,
    network: NetworkId,
    network_name: Arc<str>,
}

/// What is known of a run before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Hash of what was asked for.
    pub payload: Hash,
    /// Hash of the job's spec, where it came.
    pub spec: Option<Hash>,
    /// When it began.
    pub started: Wall,
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("network", &self.network_name).finish_non_exhaustive()
    }
}

impl Receipts {
    /// Signed with what `key` gives, in the network of that name.
    #[must_use]
    pub fn new(
        key: impl Fn() -> Option<NodeKey> + Send + Sync + 'static,
        network: NetworkId,
        network_name: &str,
    ) -> Self {
        Self { key: Arc::new(key), network, network_name: network_name.into() }
    }

    /// The receipt of a run that has just ended, of what is told of it.
    #[must_use]
    pub fn sign(
        &self,
        told: &Completion,
        attempt: u32,
        run: &Run,
        terms: Terms,
        truncated: bool,
    ) -> Option<Box<Raw>> {
        let ended = time::wall().max(run.started);
        self.seal(&(self.key)()?, told, attempt, (run, ended), terms, truncated)
    }

    /// The same run, of which something else is told: its result did not fit.
    #[must_use]
    pub fn again(&self, before: &Raw, told: &Completion) -> Option<Box<Raw>> {
        let key = (self.key)()?;
        // One that another key signed is not ours to change.
        let before = before.clone().reopen::<Receipt>().ok()?.into_body();
        if before.node != key.id() {
            return None;
        }
        let run = Run { payload: before.payload, spec: before.spec, started: before.started };
        let terms = Terms { sandbox: before.sandbox, policy: before.policy };
        let (attempt, ended) = (before.attempt, before.ended);
        self.seal(&key, told, attempt, (&run, ended), terms, before.truncated)
    }

    fn seal(
        &self,
        key: &NodeKey,
        told: &Completion,
        attempt: u32,
        (run, ended): (&Run, Wall),
        terms: Terms,
        truncated: bool,
    ) -> Option<Box<Raw>> {
        let hash = |text: &str| Hash::of(text.as_bytes());
        let text = |text: &Option<String>| hash(text.as_deref().unwrap_or_default());
        let receipt = Receipt {
            version: Receipt::VERSION,
            network: self.network,
            network_name: self.network_name.to_string(),
            job: told.job.clone(),
            spec: run.spec,
            payload: run.payload,
            attempt,
            host: told.host.clone(),
            node: key.id(),
            started: run.started,
            ended,
            duration: told.duration.unwrap_or_default(),
            success: told.success,
            exit_code: told.exit_code.unwrap_or_default(),
            error: told.error.as_deref().map(hash),
            stdout: text(&told.stdout),
            stderr: text(&told.stderr),
            outputs: told.outputs.clone(),
            truncated,
            sandbox: terms.sandbox,
            policy: terms.policy,
            agent: told.agent.as_deref().map(hash),
        };
        let sealed = Signed::seal(key, self.network, receipt);
        if sealed.raw().body.len() > Receipt::MAX_BYTES {
            tracing::warn!(job = %told.job, "no receipt: the names of its files are too long");
            return None;
        }
        Some(Box::new(sealed.raw().clone()))
    }
}
