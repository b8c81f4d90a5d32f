//! Questions to coordinators: which one is asked, who must know the host first, and which answers
//! are final.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use skyclaw_protocol::attach::{HostAsk, HostTell, Run};
use skyclaw_protocol::clock::Mono;
use skyclaw_protocol::limits::MAX_RUNS;
use skyclaw_protocol::record::word::{Act, Word};
use skyclaw_protocol::record::{Raw, Signed};
use skyclaw_protocol::{HostId, JobId, Milli, NodeId, Refusal};

use super::limits::{ASKED_ABOUT, PATIENCE, REGISTER_AGAIN};
use super::{Inner, State};
use crate::host::embedded::own_id;
use crate::host::{HostSpec, PortError, Route, RunOf, StopReason, port_error};
use crate::net::AskError;

/// A refusal after which others are asked, or why none is.
fn or_next(refusal: Refusal) -> Result<PortError, PortError> {
    match port_error(refusal) {
        error @ PortError::Refused { .. } => Err(error),
        // It is introduced again with the next question.
        PortError::UnknownHost(text) => Ok(PortError::Unavailable(text)),
        error => Ok(error),
    }
}

pub(super) fn unheard(to: NodeId, error: AskError) -> PortError {
    PortError::Unavailable(format!("coordinator {to}: {error}"))
}

pub(super) fn unexpected() -> PortError {
    PortError::Unavailable("a coordinator gave another answer than was asked for".into())
}

pub(super) fn nobody() -> PortError {
    PortError::Unavailable("no coordinator is connected".into())
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mono(&self) -> Mono {
        (self.clock)().mono
    }

    pub(super) fn capabilities(&self) -> Vec<String> {
        self.state().spec.as_ref().map(|spec| spec.capabilities.clone()).unwrap_or_default()
    }

    /// The coordinators this host is attached to now.
    pub(super) fn attached(&self) -> Vec<NodeId> {
        let connected = self.transport.coordinators().borrow().clone();
        let now = self.mono();
        let mut state = self.state();
        state.known.retain(|node| connected.contains(node));
        state.attached.among(&connected, now).to_vec()
    }

    /// Asks, and notes whether that coordinator is of use: it answers, and lets this host be its own.
    pub(super) async fn ask(
        &self,
        to: NodeId,
        ask: HostAsk,
        patience: Duration,
    ) -> Result<HostTell, AskError> {
        let told = self.transport.ask(to, ask, patience).await;
        let did = match &told {
            Ok(HostTell::Refused(Refusal::HostTaken(_))) | Err(AskError::NoAnswer) => false,
            Ok(_) => true,
            Err(_) => return told,
        };
        let now = self.mono();
        self.state().attached.note(to, now, did);
        told
    }

    /// This coordinator turned out not to know the host.
    pub(super) fn forget(&self, node: NodeId) {
        self.state().known.remove(&node);
    }

    /// Makes the host known there, unless it is.
    pub(super) async fn introduce(&self, to: NodeId) -> Result<(), PortError> {
        let spec = {
            let state = self.state();
            if state.known.contains(&to) {
                return Ok(());
            }
            state.spec.clone()
        };
        let Some(spec) = spec else { return Err(unexpected()) };
        let ask = HostAsk::Register {
            id: spec.id,
            name: spec.name,
            capabilities: spec.capabilities,
            max_parallel: Milli::whole(spec.max_parallel as u64),
            openclaw: spec.openclaw,
        };
        match self.ask(to, ask, PATIENCE).await {
            Ok(HostTell::Registered(_)) => {
                self.state().known.insert(to);
                Ok(())
            }
            Ok(HostTell::Refused(Refusal::HostTaken(id))) => {
                let text = Refusal::HostTaken(id).to_string();
                Err(PortError::Refused { status: 0, text, unanimous: true })
            }
            Ok(HostTell::Refused(refusal)) => Err(port_error(refusal)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(unheard(to, error)),
        }
    }

    /// Makes the host known where it is attached; enough if one takes it.
    pub(super) async fn introduce_all(&self) -> Result<(), PortError> {
        let attached = self.attached();
        let all = join_all(attached.iter().map(|to| self.introduce(*to))).await;
        let mut worst = Err(nobody());
        for one in all {
            match one {
                Ok(()) => return Ok(()),
                error => worst = error,
            }
        }
        worst
    }

    /// From now on the host is made known to each coordinator it becomes attached to, at once.
    pub(super) fn follow(self: &Arc<Self>) {
        if self.follows.swap(true, Ordering::Relaxed) {
            return;
        }
        let (mut connected, weak) = (self.transport.coordinators(), Arc::downgrade(self));
        tokio::spawn(async move {
            // The first look is for who came while the host was registered.
            loop {
                let Some(inner) = weak.upgrade() else { return };
                connected.mark_unchanged();
                // Where it fails the next beat tries again.
                let _ = inner.introduce_all().await;
                drop(inner);
                if connected.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// A question that any coordinator can answer, to those the host is attached to, one after the
    /// other.
    pub(super) async fn any(
        &self,
        ask: HostAsk,
        patience: Duration,
    ) -> Result<HostTell, PortError> {
        let mut last = nobody();
        for to in self.attached() {
            let told = match self.introduce(to).await {
                Ok(()) => self.ask(to, ask.clone(), patience).await,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            last = match told {
                Ok(HostTell::Refused(refusal)) => {
                    if matches!(refusal, Refusal::UnknownHost(_)) {
                        self.forget(to);
                    }
                    or_next(refusal)?
                }
                Ok(told) => return Ok(told),
                Err(error) => unheard(to, error),
            };
        }
        Err(last)
    }

    /// A question about a job, to its owner, else to who passes it on.
    pub(super) async fn about(
        &self,
        route: Route,
        ask: HostAsk,
        patience: Duration,
    ) -> Result<HostTell, PortError> {
        let attached = self.attached();
        let connected = self.transport.coordinators().borrow().clone();
        let mut targets = Vec::with_capacity(ASKED_ABOUT);
        targets.extend(connected.contains(&route.owner).then_some(route.owner));
        for to in attached.into_iter().chain(connected) {
            if targets.len() < ASKED_ABOUT && !targets.contains(&to) {
                targets.push(to);
            }
        }
        let mut last = nobody();
        for to in targets {
            let mut told = self.ask(to, ask.clone(), patience).await;
            if matches!(told, Ok(HostTell::Refused(Refusal::UnknownHost(_)))) {
                self.forget(to);
                if let Err(error) = self.introduce(to).await {
                    last = error;
                    continue;
                }
                told = self.ask(to, ask.clone(), patience).await;
            }
            last = match told {
                Ok(HostTell::Refused(Refusal::UnknownJob(job))) => {
                    let text = Refusal::UnknownJob(job).to_string();
                    // Others may just not have heard of it.
                    if to == route.owner || (self.clock)().wall >= route.expires_at {
                        return Err(PortError::Refused { status: 0, text, unanimous: true });
                    }
                    PortError::Unavailable(text)
                }
                Ok(HostTell::Refused(refusal)) => or_next(refusal)?,
                Ok(told) => return Ok(told),
                Err(error) => unheard(to, error),
            };
        }
        Err(last)
    }

    /// What the host says of a run, signed: whoever leads the job takes it from nobody else.
    pub(super) fn word(&self, run: &RunOf, act: Act) -> Option<Box<Raw>> {
        let word = Word {
            host: run.host.clone(),
            node: self.key.id(),
            job: run.job.clone(),
            attempt: run.attempt,
            act,
            at_ms: Mono::default().ms_until(self.mono()),
        };
        Some(Box::new(Signed::seal(&self.key, self.network, word).raw().clone()))
    }

    pub(super) async fn hand_back(&self, run: RunOf) {
        let word = self.word(&run, Act::HandBack);
        let RunOf { host, job, attempt, route } = run;
        let ask = HostAsk::HandBack { host, job: job.clone(), attempt, word };
        if let Err(error) = self.about(route, ask, PATIENCE).await {
            tracing::debug!(%job, %error, "not handed back; its lease runs out");
        }
    }

    pub(super) async fn register(&self, mut spec: HostSpec) -> Result<HostId, PortError> {
        let id = match spec.id.take() {
            Some(id) => id,
            None => own_id(self.own)?,
        };
        spec.id = Some(id.clone());
        let first = {
            let mut state = self.state();
            // It may be another than before, or known no more: told anew.
            state.known.clear();
            state.spec.replace(spec).is_none()
        };
        let mut connected = self.transport.coordinators();
        let mut said = false;
        loop {
            let alone = connected.borrow_and_update().is_empty();
            if alone && !said && first {
                said = true;
                tracing::warn!("{}", self.lonely);
            }
            match self.introduce_all().await {
                Ok(()) => return Ok(id),
                Err(error @ PortError::Refused { .. }) => return Err(error),
                Err(error) if !first => return Err(error),
                Err(error) => {
                    if !alone {
                        tracing::warn!("not registered yet: {error}");
                    }
                }
            }
            tokio::select! {
                biased;
                _ = connected.changed() => {}
                () = tokio::time::sleep(REGISTER_AGAIN) => {}
            }
        }
    }

    pub(super) async fn beat(
        &self,
        host: &HostId,
        to: NodeId,
        running: &[(JobId, u32)],
    ) -> Result<Vec<(JobId, StopReason)>, PortError> {
        self.introduce(to).await?;
        let runs = running.iter().map(|(job, attempt)| Run { job: job.clone(), attempt: *attempt });
        let ask = HostAsk::Beat { host: host.clone(), running: runs.take(MAX_RUNS).collect() };
        match self.ask(to, ask, PATIENCE).await {
            Ok(HostTell::Alive { ended }) => {
                Ok(ended.into_iter().map(|job| (job, StopReason::LeaseLost)).collect())
            }
            Ok(HostTell::Refused(Refusal::UnknownHost(_))) => {
                self.forget(to);
                self.introduce(to).await.map(|()| Vec::new())
            }
            Ok(HostTell::Refused(refusal)) => Err(port_error(refusal)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(unheard(to, error)),
        }
    }
}
