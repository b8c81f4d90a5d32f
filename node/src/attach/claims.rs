//! Claims of attached hosts: several grants at once, or one claim parked.

use std::sync::atomic::Ordering;

use futures::future::join_all;
use skyclaw_protocol::attach::{Grant, HostTell, Nonce};
use skyclaw_protocol::limits::{
    MAX_BODY_BYTES, MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_CLAIM_WAIT_MS, MAX_GRANTS,
};
use skyclaw_protocol::{Command, HostId, JobId, Refusal};
use tokio_util::sync::CancellationToken;

use super::Attach;
use super::table::Open;

/// Specs in one answer, in bytes; a single one may be as large as a job can be.
const MAX_SPECS: usize = MAX_BODY_BYTES;

/// What a host asks for.
pub(super) struct Wish {
    pub(super) host: HostId,
    pub(super) most: u16,
    pub(super) wait_ms: u32,
    /// Capabilities it has no room for.
    pub(super) without: Vec<String>,
}

/// One question that waits for a claim. The last one to go withdraws the claim.
struct Asker(Open);

impl Asker {
    fn new(open: Open) -> Self {
        open.askers.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if self.0.askers.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.outcome.borrow().is_none() {
            self.0.withdraw.cancel();
        }
    }
}

impl Attach {
    pub(super) async fn claim(&self, nonce: Nonce, wish: Wish) -> Result<HostTell, Refusal> {
        // Of what it has, which is no more.
        if wish.without.len() > MAX_CAPABILITIES
            || wish.without.iter().any(|word| word.len() > MAX_CAPABILITY_BYTES)
        {
            return Err(Refusal::TooLarge("a claim leaves too many capabilities out".into()));
        }
        let Some((open, begin)) = self.table().claim(&wish.host, nonce) else {
            return Err(Refusal::UnknownHost(wish.host.to_string()));
        };
        if let Some(sender) = begin {
            let (attach, withdrawn) = (self.clone(), open.withdraw.clone());
            // Of its own: an asker that goes away must not take grants with it.
            tokio::spawn(async move {
                let outcome = attach.run_claim(wish, withdrawn).await;
                sender.send_replace(Some(outcome));
            });
        }
        let mut asker = Asker::new(open);
        let outcome = asker.0.outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(Refusal::Stopping))
    }

    pub(super) fn withdraw(&self, host: &HostId, nonce: Nonce) {
        if let Some(open) = self.table().open(host, nonce) {
            open.withdraw.cancel();
        }
    }

    async fn run_claim(
        &self,
        wish: Wish,
        withdrawn: CancellationToken,
    ) -> Result<HostTell, Refusal> {
        let Wish { host, most, wait_ms, without } = wish;
        let most = usize::from(most).clamp(1, MAX_GRANTS);
        // Asked together they share one commit.
        let claim = || self.handle.claim(host.clone(), 0, without.clone(), withdrawn.clone());
        let claims = (0..most).map(|_| claim());
        let mut grants = Vec::new();
        let mut refused = None;
        for claim in join_all(claims).await {
            match claim {
                Ok(grant) => grants.extend(grant),
                Err(refusal) => refused = Some(refusal),
            }
        }
        if grants.is_empty() {
            // One reason stands for all; without one there is just no job.
            if let Some(refusal) = refused {
                return Err(refusal);
            }
            let wait_ms = wait_ms.min(MAX_CLAIM_WAIT_MS);
            if wait_ms > 0 && !withdrawn.is_cancelled() {
                grants.extend(self.handle.claim(host.clone(), wait_ms, without, withdrawn).await?);
            }
        }
        let surplus = fit(&mut grants);
        for (job, attempt) in surplus {
            let back = Command::HandBack { host: host.clone(), job, attempt, word: None };
            if let Err(refusal) = self.command(back).await {
                tracing::debug!(%host, %refusal, "a surplus grant runs out");
            }
        }
        Ok(HostTell::Granted(grants.into_iter().map(|granted| granted.grant).collect()))
    }
}

/// A grant, and the job it is of.
#[derive(Debug)]
pub struct Granted {
    /// Which job.
    pub job: JobId,
    /// What the host gets.
    pub grant: Grant,
}

/// Cuts the list where the specs get too large for one answer; answers what was cut off.
fn fit(grants: &mut Vec<Granted>) -> Vec<(JobId, u32)> {
    let mut bytes = 0_usize;
    let mut keep = 0;
    for granted in grants.iter() {
        bytes = bytes.saturating_add(granted.grant.spec.body.len());
        if keep > 0 && bytes > MAX_SPECS {
            break;
        }
        keep += 1;
    }
    grants.drain(keep..).map(|granted| (granted.job, granted.grant.attempt)).collect()
}
