//! What a host reported of one finished attempt. Immutable; its content must be on a voter's disk
//! before that voter accepts the register value that names it.

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::id::{HostId, JobId, NodeId};
use crate::limits::{
    MAX_AGENT_BYTES, MAX_COPIES, MAX_EARLIER_BYTES, MAX_JOB_FILES, MAX_OUTPUT_BYTES, MAX_TEXT_BYTES,
};
use crate::record::receipt::Receipt;
use crate::record::{Raw, Record, Reject};
use crate::view::{Milli, OutputFile};

/// A report, signed by the coordinator that sponsors the host, or by the host itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobResult {
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Which host.
    pub host: HostId,
    /// Whether the run succeeded.
    pub ok: bool,
    /// When the report was taken.
    pub at: Hlc,
    /// Run time in milliseconds.
    pub duration: Option<Milli>,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// Standard output.
    pub stdout: Option<String>,
    /// Standard error.
    pub stderr: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Files that are kept. Left out where there are none, which is how earlier results read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputFile>,
    /// Of an agent's run, how it went: JSON text of one object of at most
    /// [`MAX_AGENT_BYTES`]. Left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The host's own signed word of the run, a [`Receipt`]. Whoever took the report had checked it;
    /// left out where the host gave none, which is how earlier results read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Raw>>,
    /// Of a job that several hosts run to be verified, the receipts of those that ran it before, as
    /// many as there is room for: [`MAX_EARLIER_BYTES`]. Left out where there are none, which is how
    /// earlier results read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Raw>,
}

impl Record for JobResult {
    const KIND: &'static str = "result";
    const MAX_BYTES: usize = 2 * MAX_OUTPUT_BYTES
        + MAX_AGENT_BYTES
        + Receipt::MAX_BYTES
        + MAX_EARLIER_BYTES
        + (64 << 10);

    fn stamp(&self) -> Hlc {
        self.at
    }

    fn check(&self, _signer: NodeId) -> Result<(), Reject> {
        let long = |text: &Option<String>, most| text.as_ref().is_some_and(|t| t.len() > most);
        if long(&self.stdout, MAX_OUTPUT_BYTES) || long(&self.stderr, MAX_OUTPUT_BYTES) {
            return Err(Reject::Invalid("output is too long"));
        }
        if long(&self.error, MAX_TEXT_BYTES) {
            return Err(Reject::Invalid("error text is too long"));
        }
        if long(&self.agent, MAX_AGENT_BYTES) {
            return Err(Reject::Invalid("the account of the agent's run is too long"));
        }
        if self.receipt.as_ref().is_some_and(|raw| raw.body.len() > Receipt::MAX_BYTES) {
            return Err(Reject::Invalid("the receipt is too long"));
        }
        if self.earlier.len() >= usize::from(MAX_COPIES)
            || self.earlier.iter().map(|raw| raw.body.len()).sum::<usize>() > MAX_EARLIER_BYTES
        {
            return Err(Reject::Invalid("too many receipts of earlier runs"));
        }
        if self.outputs.len() > MAX_JOB_FILES
            || self.outputs.iter().any(|file| file.path.len() > MAX_TEXT_BYTES)
        {
            return Err(Reject::Invalid("too many files are kept, or their paths are too long"));
        }
        Ok(())
    }
}
