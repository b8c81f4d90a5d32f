//! What an attached host signs, with a key of its own, as the node layer does it.

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::record::word::{Act, Word};
use skyclaw_protocol::record::{Raw, Signed};
use skyclaw_protocol::{Completion, Hash, JobId, Milli, SandboxLevel};

use crate::clock::MS;
use crate::host::Host;
use crate::world::{World, network};

impl World {
    /// What a host wants of a run, said now.
    pub(crate) fn word(&self, host: usize, job: &JobId, attempt: u32, act: Act) -> Box<Raw> {
        let Host { id, node, key, clock, .. } = &self.hosts[host];
        let at_ms = clock.now(self.now).mono.0 / MS;
        let word = Word { host: id.clone(), node: *node, job: job.clone(), attempt, act, at_ms };
        Box::new(Signed::seal(key, network(), word).raw().clone())
    }
}

/// The report with its receipt.
pub(crate) fn with_receipt(key: &NodeKey, attempt: u32, report: Completion) -> Completion {
    let hash = |text: &Option<String>| Hash::of(text.as_deref().unwrap_or_default().as_bytes());
    let receipt = Receipt {
        version: Receipt::VERSION,
        network: network(),
        network_name: "sim".into(),
        job: report.job.clone(),
        spec: None,
        payload: Hash([0; 32]),
        attempt,
        host: report.host.clone(),
        node: key.id(),
        started: Wall(1),
        ended: Wall(2),
        duration: report.duration.unwrap_or(Milli(0)),
        success: report.success,
        exit_code: report.exit_code.unwrap_or(0),
        error: None,
        stdout: hash(&report.stdout),
        stderr: hash(&report.stderr),
        outputs: Vec::new(),
        truncated: false,
        sandbox: SandboxLevel::None,
        policy: Hash([0; 32]),
        agent: None,
    };
    let receipt = Some(Box::new(Signed::seal(key, network(), receipt).raw().clone()));
    Completion { receipt, ..report }
}
