//! Hosts attached over libp2p, and what they sign.

use super::{World, host_id, network, node_key};
use crate::batch::KeyAnswer;
use crate::clock::{Mono, Wall};
use crate::command::{Command, Completion};
use crate::id::{Hash, JobId, NodeId};
use crate::key::NodeKey;
use crate::record::receipt::Receipt;
use crate::record::tests::samples;
use crate::record::word::{Act, Word};
use crate::record::{Raw, Signed};
use crate::view::Milli;

/// The key of all attached hosts: their node.
pub(crate) fn host_key() -> NodeKey {
    node_key(40)
}

impl World {
    /// Registers a host that is attached to this node.
    #[track_caller]
    pub(crate) fn attach(&mut self, node: usize, name: &str) {
        self.attach_as(node, name, Some(host_key().id()));
    }

    /// The same as that node.
    #[track_caller]
    pub(crate) fn attach_as(&mut self, node: usize, name: &str, own: Option<NodeId>) {
        let command = Command::RegisterHost {
            id: Some(host_id(name)),
            name: name.into(),
            capabilities: vec!["shell".into()],
            max_parallel: Milli::whole(1),
            node: own,
            openclaw: None,
        };
        assert!(matches!(self.call(node, command), Ok(KeyAnswer::Host(_))));
    }

    /// A word signed with some key, said now.
    pub(crate) fn word(
        &self,
        key: &NodeKey,
        host: &str,
        (job, attempt): (&JobId, u32),
        act: Act,
    ) -> Box<Raw> {
        let at_ms = Mono::default().ms_until(self.now.mono);
        let (host, job) = (host_id(host), job.clone());
        let word = Word { host, node: key.id(), job, attempt, act, at_ms };
        Box::new(Signed::seal(key, network(), word).raw().clone())
    }

    pub(crate) fn renew(&self, job: &JobId, host: &str, attempt: u32) -> Command {
        let word = Some(self.word(&host_key(), host, (job, attempt), Act::Renew));
        Command::Renew { host: host_id(host), job: job.clone(), attempt, named: true, word }
    }

    pub(crate) fn hand_back(&self, job: &JobId, host: &str, attempt: u32) -> Command {
        let word = Some(self.word(&host_key(), host, (job, attempt), Act::HandBack));
        Command::HandBack { host: host_id(host), job: job.clone(), attempt, word }
    }

    /// A report of this attempt with its receipt, signed with some key.
    pub(crate) fn report_of(key: &NodeKey, host: &str, job: &JobId, attempt: u32) -> Completion {
        Self::report_as(key, host, (job, attempt), true)
    }

    /// The same of a run that succeeded or failed.
    pub(crate) fn report_as(
        key: &NodeKey,
        host: &str,
        (job, attempt): (&JobId, u32),
        success: bool,
    ) -> Completion {
        let Command::Complete(report) = Self::completion(job, host, success) else { panic!() };
        Self::signed(key, attempt, Completion { attempt: Some(attempt), ..report })
    }

    /// A report with the receipt that this key signs of it.
    pub(crate) fn signed(key: &NodeKey, attempt: u32, report: Completion) -> Completion {
        let text = |text: &Option<String>| Hash::of(text.as_deref().unwrap_or_default().as_bytes());
        let receipt = Receipt {
            network: network(),
            job: report.job.clone(),
            spec: None,
            attempt,
            host: report.host.clone(),
            node: key.id(),
            started: Wall(1),
            ended: Wall(2),
            duration: Milli::whole(5),
            success: report.success,
            exit_code: i64::from(!report.success),
            error: None,
            stdout: text(&report.stdout),
            stderr: text(&report.stderr),
            outputs: Vec::new(),
            agent: None,
            ..samples::receipt()
        };
        let receipt = Some(Box::new(Signed::seal(key, network(), receipt).raw().clone()));
        Completion { receipt, ..report }
    }
}
