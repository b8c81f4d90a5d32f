//! A host's signed word of what it ran and what came of it, for whoever keeps it: it can be checked
//! without asking anybody.
//!
//! Always: it is signed by the host's own key over the canonical bytes of its fields, never over a
//! spelling of them; it holds hashes of contents, never contents. It proves who said so, not that it
//! is so.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::command::Completion;
use crate::id::{Hash, HostId, JobId, NetworkId, NodeId};
use crate::limits::{MAX_JOB_FILES, MAX_TEXT_BYTES};
use crate::record::{Raw, Record, Reject, Signed};
use crate::sandbox::SandboxLevel;
use crate::view::{Milli, OutputFile};

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Of this form: [`Receipt::VERSION`].
    pub version: u32,
    /// In which network.
    pub network: NetworkId,
    /// Its name, as the host knows it.
    pub network_name: String,
    /// Which job.
    pub job: JobId,
    /// Hash of the job's signed spec, where the host got the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Hash>,
    /// Hash of its payload, in which neither the order of members nor the spelling of numbers counts.
    pub payload: Hash,
    /// Which attempt.
    pub attempt: u32,
    /// Which host.
    pub host: HostId,
    /// The key of that host; signs this.
    pub node: NodeId,
    /// When it began to run, by the host's clock.
    pub started: Wall,
    /// When nothing of it was left, by the same clock.
    pub ended: Wall,
    /// Run time in milliseconds, on a clock that nobody sets.
    pub duration: Milli,
    /// Whether the run succeeded.
    pub success: bool,
    /// Its exit code.
    pub exit_code: i64,
    /// Hash of the text that says why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Hash>,
    /// Hash of its standard output, as it was kept.
    pub stdout: Hash,
    /// Hash of its standard error, as it was kept.
    pub stderr: Hash,
    /// Files that it left and that were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputFile>,
    /// An output was longer than what was kept of it.
    pub truncated: bool,
    /// How far the run was kept apart from the host.
    pub sandbox: SandboxLevel,
    /// Hash of the rules of the host's owner.
    pub policy: Hash,
    /// Hash of the account of an agent's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Hash>,
}

/// A receipt is not about the report that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {0} is not that of the report")]
pub struct Mismatch(pub &'static str);

impl Receipt {
    /// The one form there is.
    pub const VERSION: u32 = 1;

    /// Reads a receipt and checks all that can be checked of it alone, its signature first of all.
    ///
    /// # Errors
    /// [`Reject`].
    pub fn open(raw: Raw) -> Result<Signed<Self>, Reject> {
        if raw.body.len() > Self::MAX_BYTES {
            return Err(Reject::Invalid("too long"));
        }
        let signed = raw.reopen::<Self>()?;
        let (network, raw) = (signed.body().network, signed.raw());
        // The host's clock may be wrong: what it says is only shown. Its document has no place for a way.
        if !raw.is_signed(network, Self::KIND) || !raw.proof.path().is_empty() {
            return Err(Reject::BadSignature);
        }
        Ok(signed)
    }

    /// Whether it tells of this report: everything in it that the report says too.
    ///
    /// # Errors
    /// [`Mismatch`], naming the first part that differs.
    pub fn tells_of(&self, report: &Completion) -> Result<(), Mismatch> {
        let hash = |text: &Option<String>| Hash::of(text.as_deref().unwrap_or_default().as_bytes());
        let named = |text: &Option<String>| text.as_deref().map(|text| Hash::of(text.as_bytes()));
        for (part, same) in [
            ("job", self.job == report.job),
            ("host", self.host == report.host),
            ("attempt", report.attempt.is_none_or(|attempt| attempt == self.attempt)),
            ("success", self.success == report.success),
            ("exit code", report.exit_code == Some(self.exit_code)),
            ("duration", report.duration == Some(self.duration)),
            ("standard output", self.stdout == hash(&report.stdout)),
            ("standard error", self.stderr == hash(&report.stderr)),
            ("error", self.error == named(&report.error)),
            ("list of files", self.outputs == report.outputs),
            ("account of an agent", self.agent == named(&report.agent)),
        ] {
            if !same {
                return Err(Mismatch(part));
            }
        }
        Ok(())
    }
}

impl Record for Receipt {
    const KIND: &'static str = "receipt";
    // Sixteen files of the longest paths, or all that are kept with paths of usual length.
    const MAX_BYTES: usize = 64 << 10;

    fn stamp(&self) -> Hlc {
        Hlc::at(self.ended)
    }

    fn check(&self, signer: NodeId) -> Result<(), Reject> {
        if self.version != Self::VERSION {
            return Err(Reject::Invalid("a receipt of a form that is not known here"));
        }
        if signer != self.node {
            return Err(Reject::Invalid("a receipt is signed by the key that it names"));
        }
        if self.network_name.len() > MAX_TEXT_BYTES {
            return Err(Reject::Invalid("the network's name is too long"));
        }
        if self.outputs.len() > MAX_JOB_FILES
            || self.outputs.iter().any(|file| file.path.len() > MAX_TEXT_BYTES)
        {
            return Err(Reject::Invalid("too many files are kept, or their paths are too long"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::samples::{network, receipt, report, signer};

    fn sealed(receipt: Receipt) -> Raw {
        Signed::seal(&signer(), network(), receipt).raw().clone()
    }

    #[test]
    fn a_receipt_can_be_checked_by_itself() {
        let opened = Receipt::open(sealed(receipt())).unwrap();
        assert_eq!(opened.body(), &receipt());
        assert_eq!(opened.body().tells_of(&report()), Ok(()));
    }

    #[test]
    fn whoever_alters_it_or_signs_for_another_is_found_out() {
        let raw = sealed(receipt());
        let other = crate::key::NodeKey::from_seed(&[9; 32]);
        let altered = Receipt { exit_code: 0, success: true, ..receipt() };
        let body = crate::codec::encode(&altered);
        let fault = Receipt::open(Raw { body, ..raw.clone() });
        assert!(matches!(fault, Err(Reject::BadSignature)));
        let foreign = Signed::seal(&other, network(), receipt()).raw().clone();
        assert!(matches!(Receipt::open(foreign), Err(Reject::Invalid(_))));
        let elsewhere = Signed::seal(&signer(), NetworkId::of_name("x"), receipt()).raw().clone();
        assert!(matches!(Receipt::open(elsewhere), Err(Reject::BadSignature)));
        let later = Receipt { version: 2, ..receipt() };
        assert!(matches!(Receipt::open(sealed(later)), Err(Reject::Invalid(_))));
        let body = vec![0; Receipt::MAX_BYTES + 1];
        assert!(matches!(Receipt::open(Raw { body, ..raw }), Err(Reject::Invalid(_))));
    }

    #[test]
    fn a_receipt_of_another_report_says_in_what_it_differs() {
        let text = |text: &str| Some(text.to_owned());
        for (part, report) in [
            ("job", Completion { job: JobId::new("job_other").unwrap(), ..report() }),
            ("host", Completion { host: HostId::new("other").unwrap(), ..report() }),
            ("attempt", Completion { attempt: Some(1), ..report() }),
            ("success", Completion { success: true, ..report() }),
            ("exit code", Completion { exit_code: None, ..report() }),
            ("duration", Completion { duration: Some(Milli(1)), ..report() }),
            ("standard output", Completion { stdout: text("other"), ..report() }),
            ("standard error", Completion { stderr: text("x"), ..report() }),
            ("error", Completion { error: None, ..report() }),
            ("list of files", Completion { outputs: Vec::new(), ..report() }),
            ("account of an agent", Completion { agent: text("{}"), ..report() }),
        ] {
            assert_eq!(receipt().tells_of(&report), Err(Mismatch(part)));
        }
        let unnamed = Completion { attempt: None, ..report() };
        assert_eq!(receipt().tells_of(&unnamed), Ok(()), "over HTTP the attempt is not named");
    }
}
