//! Receipts that hosts send with their reports: checked here, where each report comes in whichever
//! way its host talks, so that the engine's thread need not.
//!
//! Always: what is passed on has a signature that holds and tells of this very report, and of this
//! very payload where the job is known here. Whether it is about the run that the job stands at,
//! the machine decides.

use serde_json::Value;
use skyclaw_http_compat::Request;
use skyclaw_http_compat::receipt::payload_hash;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::{Answer, Command, Completion, Refusal};

use super::NodeHandle;

/// Payloads from this size on are hashed on a thread of their own, in bytes.
const LARGE: usize = 256 << 10;

impl NodeHandle {
    /// Carries out a command; a report only if its receipt is not wrong, which is counted, whoever
    /// sees it.
    pub(super) async fn checked(&self, request: Request) -> Result<Answer, Refusal> {
        let checked = match &request.command {
            Command::Complete(report) => self.check_receipt(report).await,
            _ => Ok(()),
        };
        let taken = match checked {
            Ok(()) => self.once(request).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal @ Refusal::BadReceipt { .. }) = &taken {
            tracing::warn!("a host's report is refused: {refusal}");
            self.0.shared.count_bad_receipt();
        }
        taken
    }

    /// Refuses a report whose receipt is not its host's word of it. One without a receipt is taken.
    async fn check_receipt(&self, report: &Completion) -> Result<(), Refusal> {
        let Some(raw) = report.receipt.as_deref() else { return Ok(()) };
        let refused =
            |why: String| Refusal::BadReceipt { job: report.job.clone(), why: why.into() };
        let receipt = Receipt::open(raw.clone()).map_err(|error| refused(error.to_string()))?;
        let receipt = receipt.into_body();
        receipt.tells_of(report).map_err(|error| refused(error.to_string()))?;
        // A store that cannot be read says so when the report is carried out.
        let Ok(Some(stored)) = self.register_of(&report.job) else { return Ok(()) };
        let Some(job) = stored.spec.into_body().job else { return Ok(()) };
        let large = job.payload.len() >= LARGE;
        let hash = move || {
            let payload = serde_json::from_slice::<Value>(&job.payload).ok()?;
            Some(payload_hash(&payload))
        };
        let known = match large {
            true => tokio::task::spawn_blocking(hash).await.map_err(|_| Refusal::Stopping)?,
            false => hash(),
        };
        if known.is_some_and(|known| known != receipt.payload) {
            return Err(refused("its payload is not that of the job".to_owned()));
        }
        Ok(())
    }
}
