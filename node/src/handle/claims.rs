//! Claims of hosts that are attached over libp2p.

use std::sync::atomic::Ordering::Relaxed;

use skyclaw_protocol::attach::Grant;
use skyclaw_protocol::batch::{JobAt, KeyAnswer};
use skyclaw_protocol::machine::Token;
use skyclaw_protocol::{Command, HostId, Refusal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Granted, NodeHandle, unreadable};
use crate::engine::{self, Input};
use crate::traces;

impl NodeHandle {
    /// A claim of an attached host, as it gets it; once `withdrawn`, a parked one is answered now
    /// with what it has. Not to be dropped while it waits: what was granted would be taken back.
    pub(crate) async fn claim(
        &self,
        host: HostId,
        wait_ms: u32,
        without: Vec<String>,
        withdrawn: CancellationToken,
    ) -> Result<Option<Granted>, Refusal> {
        let token = Token(self.0.next_token.fetch_add(1, Relaxed));
        let (reply, mut answer) = oneshot::channel();
        let command = Command::Claim { host, wait_ms, without };
        self.send(Input::Call { token, command, idempotency: None, reply })?;
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = withdrawn.cancelled(), if wait_ms > 0 => {
                // A full inbox takes it later; the claim's own time is bounded anyway.
                engine::put(&self.0.inbox, Input::HangUp(token)).await;
                answer.await
            }
        };
        match answer.unwrap_or(Err(Refusal::Stopping))? {
            KeyAnswer::Job(at) => {
                let lease = traces::Lease::begin(&at.job);
                let granted = self.granted(&at)?;
                lease.end(granted.grant.attempt);
                Ok(Some(granted))
            }
            _ => Ok(None),
        }
    }

    fn granted(&self, at: &JobAt) -> Result<Granted, Refusal> {
        let stored = self.register_of(&at.job)?.ok_or_else(|| unreadable(&at.job))?;
        let state = at.val.job().ok_or_else(|| unreadable(&at.job))?;
        // Whose value it is leads it; the home, where only its word of it is known here.
        let owner = stored.row.accepted.as_ref().map(|accepted| accepted.ballot.proposer);
        let owner = owner.unwrap_or_else(|| stored.spec.body().home);
        let (attempt, lease_ms) = (state.attempt, state.lease_ms);
        let spec = stored.spec.raw().clone();
        Ok(Granted { job: at.job.clone(), grant: Grant { spec, attempt, lease_ms, owner } })
    }
}
