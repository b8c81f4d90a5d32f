//! What the OpenClaw of this host adds to what it says it can do, and when it has no room for agents.
//!
//! Always: a claim made without room for an agent says so, and is held for a short time only; a host
//! with room for some asks for no more jobs at once than that, since each may be an agent's.

use std::sync::Arc;

use tokio::sync::watch;

use crate::host::HostSpec;
use crate::openclaw::{Found, Openclaw, of_agents};

/// See the module.
#[derive(Debug)]
pub(super) struct Lends {
    openclaw: Option<Openclaw>,
    changes: Option<watch::Receiver<Option<Arc<Found>>>>,
    /// The list of the owner.
    owner: Vec<String>,
}

impl Lends {
    pub(super) fn new(openclaw: Option<&Openclaw>, spec: &HostSpec) -> Self {
        Self {
            openclaw: openclaw.cloned(),
            changes: openclaw.map(Openclaw::changes),
            owner: spec.capabilities.clone(),
        }
    }

    fn found(&self) -> Option<Arc<Found>> {
        self.openclaw.as_ref().and_then(Openclaw::last)
    }

    /// Puts into `spec` what was found. True if that changed it.
    pub(super) fn describe(&self, spec: &mut HostSpec) -> bool {
        let Some(found) = self.found() else { return false };
        let (capabilities, told) = (found.capabilities(&self.owner), found.told());
        let news = capabilities != spec.capabilities || told != spec.openclaw;
        (spec.capabilities, spec.openclaw) = (capabilities, told);
        news
    }

    /// Waits until something else is found; for ever if nobody looks.
    pub(super) async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes
            && changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// How many agents could begin; none if that bounds nothing.
    fn room(&self) -> Option<usize> {
        let openclaw = self.openclaw.as_ref()?;
        let runs = openclaw.last().is_some_and(|found| found.exec().is_ok());
        runs.then(|| openclaw.free_room())
    }

    /// How many jobs to ask for, and which capabilities to leave out.
    pub(super) fn claim(&self, most: usize) -> (usize, Vec<String>) {
        match self.room() {
            Some(0) => (most, of_agents()),
            Some(some) => (most.min(some), Vec::new()),
            None => (most, Vec::new()),
        }
    }
}
