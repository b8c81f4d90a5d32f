//! One claim: where it is asked, how it ends, and what becomes of its grants.
//!
//! Always: one claim is under way at a time, under a nonce of its own; a lease counts from the
//! moment before the claim was first sent; grants that nobody waits for any more are handed back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::attach::{Grant, HostAsk, HostTell, Nonce};
use skyclaw_protocol::clock::{Mono, Wall};
use skyclaw_protocol::limits::{MAX_CLAIM_WAIT_MS, MAX_GRANTS, MAX_TIMEOUT_MS};
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::{HostId, JobId, NodeId, Refusal};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::asking::{unexpected, unheard};
use super::limits::{ASK_AGAIN, CLAIM_TRIES, JITTER, PARKED_LEAST, PATIENCE, WITHDRAW_PATIENCE};
use super::{Inner, work};
use crate::host::agent::Term;
use crate::host::port_error;
use crate::host::{Claim, ClaimedJob, PortError, Route, RunOf};
use crate::net::AskError;

/// Jobs on their way to the host. What is not taken out is handed back.
pub(super) struct Parcel {
    inner: Arc<Inner>,
    host: HostId,
    jobs: Vec<ClaimedJob>,
}

impl Parcel {
    pub(super) const fn new(inner: Arc<Inner>, host: HostId, jobs: Vec<ClaimedJob>) -> Self {
        Self { inner, host, jobs }
    }

    pub(super) fn open(mut self) -> Vec<ClaimedJob> {
        std::mem::take(&mut self.jobs)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if self.jobs.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (inner, host) = (Arc::clone(&self.inner), self.host.clone());
        let jobs = std::mem::take(&mut self.jobs);
        self.inner.tasks.spawn(async move {
            for ClaimedJob { id: job, attempt, route, .. } in jobs {
                let Some(route) = route else { continue };
                inner.hand_back(RunOf { host: host.clone(), job, attempt, route }).await;
            }
        });
    }
}

/// What a host asks for.
pub(super) struct Wish {
    pub(super) host: HostId,
    pub(super) most: usize,
    pub(super) wait: Duration,
    /// Capabilities it has no room for.
    pub(super) without: Vec<String>,
    /// Nobody waits for it any more.
    pub(super) given_up: CancellationToken,
}

impl Inner {
    /// Asks where work is known to wait, else leaves one claim at an attached coordinator until
    /// there is some, there or elsewhere.
    pub(super) async fn find(self: &Arc<Self>, wish: &Wish) -> Result<Claim, PortError> {
        let until = Instant::now() + wish.wait;
        let mut connected = self.transport.coordinators();
        let mut capabilities = self.capabilities();
        capabilities.retain(|word| !wish.without.contains(word));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if wish.given_up.is_cancelled() || left.is_zero() {
                return Ok(Claim { jobs: Vec::new(), parked: true });
            }
            let here = connected.borrow_and_update().clone();
            let home = {
                let may = |home: &NodeId| here.contains(home);
                self.board.pick(self.mono(), &capabilities, may, (self.chance)())
            };
            if let Some(home) = home {
                let jitter = (self.chance)() % (JITTER.as_micros() as u64 + 1);
                sleep(Duration::from_micros(jitter)).await;
                match self.claim_at(home, wish, Duration::ZERO, std::future::pending()).await {
                    Ok(jobs) if !jobs.is_empty() => return Ok(Claim { jobs, parked: true }),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(?home, %error, "no job from where work waits"),
                }
                self.board.zero(home);
                continue;
            }
            let Some(at) = self.attached().first().copied() else {
                tokio::select! {
                    biased;
                    _ = connected.changed() => {}
                    () = sleep_until(until) => {}
                    () = wish.given_up.cancelled() => {}
                }
                continue;
            };
            // Also one that is met while the claim is parked.
            let elsewhere = |home: &NodeId| *home != at && connected.borrow().contains(home);
            let clock = || self.mono();
            let (asked, mut interrupted) = (Instant::now(), false);
            let interrupt = async {
                tokio::select! {
                    biased;
                    () = work::goes_on_waiting(&self.board, clock, &capabilities, elsewhere) => {}
                    () = wish.given_up.cancelled() => {}
                }
                interrupted = true;
            };
            let jobs = self.claim_at(at, wish, left, interrupt).await?;
            if !jobs.is_empty() {
                return Ok(Claim { jobs, parked: true });
            }
            // Asked at once it would say the same again.
            if !interrupted && asked.elapsed() < PARKED_LEAST {
                tokio::select! {
                    biased;
                    () = wish.given_up.cancelled() => {}
                    () = sleep_until(until.min(Instant::now() + ASK_AGAIN)) => {}
                }
            }
        }
    }

    /// One claim at one coordinator, withdrawn at `interrupt`.
    async fn claim_at(
        self: &Arc<Self>,
        to: NodeId,
        wish: &Wish,
        wait: Duration,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Vec<ClaimedJob>, PortError> {
        self.introduce(to).await?;
        let Wish { host, most, without, .. } = wish;
        let mut nonce = self.nonce();
        let mut sent = self.mono();
        let mut wait_ms =
            u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).min(MAX_CLAIM_WAIT_MS);
        let most = u16::try_from((*most).min(MAX_GRANTS)).unwrap_or(1);
        let mut interrupt = std::pin::pin!(interrupt);
        let mut heard = false;
        let mut interrupted = false;
        for turn in 1..=CLAIM_TRIES + 1 {
            let (host_id, without) = (host.clone(), without.clone());
            let ask = HostAsk::Claim { host: host_id, nonce, most, wait_ms, without };
            let patience = Duration::from_millis(wait_ms.into()) + PATIENCE;
            let mut asked = self.transport.ask(to, ask, patience);
            let told = tokio::select! {
                biased;
                told = &mut asked => told,
                () = &mut interrupt, if !interrupted => {
                    interrupted = true;
                    tokio::select! {
                        biased;
                        told = &mut asked => told,
                        () = self.withdraw(to, host, nonce) => Err(AskError::NoAnswer),
                    }
                }
            };
            match told {
                Ok(HostTell::Granted(grants)) => {
                    return Ok(self.accept(host, sent, usize::from(most), grants));
                }
                Ok(HostTell::Refused(Refusal::UnknownHost(_))) => {
                    self.forget(to);
                    self.introduce(to).await?;
                    // Nothing was granted, and the same question would have the same answer.
                    (nonce, sent) = (self.nonce(), self.mono());
                    sleep(ASK_AGAIN).await;
                }
                Ok(HostTell::Refused(refusal)) => return Err(port_error(refusal)),
                Ok(_) => return Err(unexpected()),
                // One that is gone for longer than a moment has nobody else answer in its place.
                Err(AskError::NotConnected) if !heard || turn > 1 => {
                    return Err(unheard(to, AskError::NotConnected));
                }
                // It may have granted what did not get here: the same question has the same answer.
                Err(_) => {
                    (heard, wait_ms) = (true, 0);
                    sleep(ASK_AGAIN * turn).await;
                }
            }
        }
        Err(unheard(to, AskError::NoAnswer))
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&(self.chance)().to_be_bytes());
        nonce[8..].copy_from_slice(&(self.chance)().to_be_bytes());
        Nonce(nonce)
    }

    /// Has a parked claim answered now; ends when that has taken too long.
    async fn withdraw(&self, to: NodeId, host: &HostId, nonce: Nonce) {
        let until = sleep(WITHDRAW_PATIENCE);
        let again = async {
            loop {
                let ask = HostAsk::Withdraw { host: host.clone(), nonce };
                // Its answer is that of the claim.
                let _ = self.transport.ask(to, ask, WITHDRAW_PATIENCE).await;
                sleep(ASK_AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            () = until => {}
            () = again => {}
        }
    }

    /// Grants as jobs; those that are none are left to their leases, those too many handed back.
    fn accept(
        self: &Arc<Self>,
        host: &HostId,
        sent: Mono,
        most: usize,
        grants: Vec<Grant>,
    ) -> Vec<ClaimedJob> {
        let mut seen = BTreeSet::new();
        let mut jobs = Vec::new();
        for grant in grants {
            match self.job_of(sent, grant) {
                Ok(job) if seen.insert(job.id.clone()) => jobs.push(job),
                Ok(job) => tracing::warn!(job = %job.id, "granted twice in one answer"),
                Err(why) => tracing::warn!(why, "a grant that cannot be used; its lease runs out"),
            }
        }
        let surplus = jobs.split_off(jobs.len().min(most));
        drop(Parcel::new(Arc::clone(self), host.clone(), surplus));
        jobs
    }

    fn job_of(&self, sent: Mono, grant: Grant) -> Result<ClaimedJob, String> {
        let Grant { spec, attempt, lease_ms, owner } = grant;
        // This host's wall clock decides nothing about a job, so it need not be right.
        let spec = spec.verify::<Spec>(self.network, Wall(u64::MAX));
        let spec = spec.map_err(|error| error.to_string())?;
        let hash = spec.hash();
        let spec = spec.into_body();
        let (Subject::Job(id), Some(job)) = (spec.subject, spec.job) else {
            return Err("it is no job's".into());
        };
        let id: JobId = id;
        let length = Duration::from_millis(lease_ms.min(MAX_TIMEOUT_MS));
        Ok(ClaimedJob {
            id,
            attempt,
            lease: None,
            term: Some(Term { ends: Duration::from_nanos(sent.0) + length, length }),
            route: Some(Route { owner, expires_at: spec.expires_at }),
            // What is no JSON fails as a payload of no known kind.
            payload: serde_json::from_slice(&job.payload).unwrap_or_default(),
            spec: Some(hash),
        })
    }
}
