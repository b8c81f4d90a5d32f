//! What hosts are to run of services, told from the store as it stands.

use std::time::Duration;

use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::orders::{Orders, orders_for};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{Hash, HostId, Refusal, ServiceId};
use tokio::sync::watch;

use super::{NodeHandle, lists};

/// Longest that a question is held; whoever asks comes again.
const LONGEST: Duration = Duration::from_secs(20);

/// Services a host may name: more than one can run.
const MAX_NAMED: usize = 1024;

impl NodeHandle {
    /// Changes each time something of a service may have changed here.
    #[must_use]
    pub fn services_changed(&self) -> watch::Receiver<u64> {
        self.0.shared.services()
    }

    /// What `host` is to run, once that differs from what `mark` names, or after `wait`. `running`
    /// are the services it runs instances of.
    ///
    /// # Errors
    /// [`Refusal::Store`] while the store cannot be read.
    pub async fn orders(
        &self,
        host: HostId,
        running: Vec<ServiceId>,
        mark: Option<Hash>,
        wait: Duration,
    ) -> Result<Orders, Refusal> {
        let mut changes = self.services_changed();
        let until = tokio::time::Instant::now() + wait.min(LONGEST);
        loop {
            changes.mark_unchanged();
            let orders = self.orders_now(host.clone(), running.clone()).await?;
            if mark != Some(orders.mark()) {
                return Ok(orders);
            }
            match tokio::time::timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(orders),
            }
        }
    }

    async fn orders_now(&self, host: HostId, running: Vec<ServiceId>) -> Result<Orders, Refusal> {
        self.read(move |reader| {
            let services = lists::all_services(reader)?;
            // One that cannot be read is as one that was never heard of: it ends nothing.
            let ver = |id: &ServiceId| {
                let stored = reader.register(&Subject::Service(id.clone())).ok().flatten();
                stored.and_then(|stored| Some(stored.chosen()?.ver))
            };
            let named = running.into_iter().take(MAX_NAMED);
            let named: Vec<_> = named.map(|id| (id.clone(), ver(&id))).collect();
            Ok(orders_for(&host, &services, &named))
        })
        .await
    }
}
