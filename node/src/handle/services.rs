//! What hosts are to run of services, told from the store as it stands.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skyclaw_http_compat::Request;
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::machine::Token;
use skyclaw_protocol::orders::{Orders, Question, orders_for};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{
    Command, Hash, HostId, NodeId, Refusal, ServiceDef, ServiceId, ServiceView, codec, fold,
};
use tokio::sync::{oneshot, watch};

use super::{NodeHandle, lists, store_refusal};
use crate::engine::Input;
use crate::net::NetHandle;

/// Longest that a question is held: a host that does not come again within
/// [`P2P_HOST_TTL_MS`](skyclaw_protocol::limits::P2P_HOST_TTL_MS) is taken to be gone.
const LONGEST: Duration = Duration::from_secs(2);

/// The same for gateways, whose silence means nothing.
const LONGEST_TABLE: Duration = Duration::from_secs(20);

/// Services a host may name: more than one can run.
const MAX_NAMED: usize = 1024;

impl NodeHandle {
    /// Changes each time something of a service may have changed here.
    #[must_use]
    pub fn services_changed(&self) -> watch::Receiver<u64> {
        self.0.shared.services()
    }

    /// This node's place in the network.
    #[must_use]
    pub fn net(&self) -> &NetHandle {
        &self.0.net
    }

    /// What a host is to run, as [`Question`] says, after two seconds at most. `node` is the libp2p node
    /// through which its instances are reached. Dropping the future means that its connection went.
    ///
    /// # Errors
    /// [`Refusal::UnknownHost`]: it has to register first. [`Refusal::Store`] while the store cannot
    /// be read.
    pub async fn orders(
        &self,
        question: Question,
        node: Option<NodeId>,
    ) -> Result<Orders, Refusal> {
        let host = question.host.clone();
        let serve = Command::Serve { host: host.clone(), node };
        self.command(Request { command: serve, idempotency: None }).await?;
        let asking = Asking { handle: self, host: Some(host) };
        let mark = question.mark;
        // One that has no node talks HTTP, or is this very process.
        let look = async || {
            let orders = self.orders_now(&question).await?;
            Ok(if node.is_none() { self.0.seals.open_orders(orders) } else { orders })
        };
        let orders =
            self.held(question.wait().min(LONGEST), look, |orders| mark != Some(orders.mark()));
        let orders = orders.await;
        asking.answered();
        orders
    }

    /// Looks, and again with each change of a service, until what is seen is new or the time is over.
    async fn held<T, F>(
        &self,
        wait: Duration,
        look: impl Fn() -> F + Send,
        is_new: impl Fn(&T) -> bool + Send,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send,
    {
        let mut changes = self.tables_changed();
        let until = tokio::time::Instant::now() + wait;
        loop {
            changes.mark_unchanged();
            let seen = look().await?;
            if is_new(&seen) {
                return Ok(seen);
            }
            match tokio::time::timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(seen),
            }
        }
    }

    /// All services without what they run, for gateways, once that differs from what `mark` names, or
    /// after `wait`, at most 20 s; empty if it does not.
    ///
    /// # Errors
    /// [`Refusal::Store`] while the store cannot be read.
    pub async fn routes(
        &self,
        mark: Option<Hash>,
        wait: Duration,
    ) -> Result<(Vec<ServiceView>, Hash), Refusal> {
        let look = async || {
            let services: Vec<ServiceView> =
                self.shown_services().await?.iter().map(bare).collect();
            let now = Hash(*blake3::hash(&codec::encode(&services)).as_bytes());
            Ok((services, now))
        };
        let is_new = |(_, now): &(Vec<ServiceView>, Hash)| mark != Some(*now);
        let (services, now) = self.held(wait.min(LONGEST_TABLE), look, is_new).await?;
        Ok(if mark == Some(now) { (Vec::new(), now) } else { (services, now) })
    }

    pub(super) fn service_now(&self, id: ServiceId) -> Result<Option<ServiceView>, Refusal> {
        let stored = self.reader()?.register(&Subject::Service(id)).map_err(store_refusal)?;
        Ok(stored.and_then(|stored| fold::service_view(stored.spec.body(), stored.chosen()?)))
    }

    /// All services, by creation: read again only when something of one changed.
    ///
    /// # Errors
    /// [`Refusal::Store`] while the store cannot be read.
    pub async fn all_services(&self) -> Result<Arc<Vec<ServiceView>>, Refusal> {
        // Before they are read: what changes meanwhile is read again.
        let at = *self.services_changed().borrow();
        if let Some(table) = self.0.services.get(at) {
            return Ok(table);
        }
        let table = Arc::new(self.read(lists::all_services).await?);
        self.0.services.put(at, &table);
        Ok(table)
    }

    /// Says something that wants no answer; lost where the inbox is full.
    fn tell_plainly(&self, command: Command) {
        let token = Token(self.0.next_token.fetch_add(1, Ordering::Relaxed));
        let (reply, _) = oneshot::channel();
        // Counted where it is refused.
        let _ = self.send(Input::Call { token, command, idempotency: None, reply });
    }

    async fn orders_now(&self, question: &Question) -> Result<Orders, Refusal> {
        let services = self.all_services().await?;
        let (host, running) = (question.host.clone(), question.running.clone());
        if running.is_empty() {
            return Ok(orders_for(&host, &services, &[]));
        }
        self.read(move |reader| {
            // One that cannot be read is as one that was never heard of: it ends nothing.
            let ver = |id: &ServiceId| {
                let stored = reader.register(&Subject::Service(id.clone())).ok().flatten();
                stored.and_then(|stored| Some(stored.chosen()?.at.rank()))
            };
            let named = running.into_iter().take(MAX_NAMED);
            let named: Vec<_> = named.map(|id| (id.clone(), ver(&id))).collect();
            Ok(orders_for(&host, &services, &named))
        })
        .await
    }
}

/// A service without what only its hosts need, secrets of its environment among it.
fn bare(service: &ServiceView) -> ServiceView {
    let def = ServiceDef {
        name: service.def.name.clone(),
        health: service.def.health.clone(),
        ..ServiceDef::default()
    };
    ServiceView {
        id: service.id.clone(),
        def,
        status: service.status,
        created: service.created,
        updated: service.updated,
        updated_by: String::new(),
        version: 0,
        assignments: service.assignments.clone(),
        ver: service.ver,
        generation: service.generation,
        past: Vec::new(),
        reverted: None,
        owner: None,
    }
}

/// The services as they stood at some count of changes.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<Option<(u64, Arc<Vec<ServiceView>>)>>);

impl Services {
    fn get(&self, at: u64) -> Option<Arc<Vec<ServiceView>>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(count, _)| *count == at).map(|(_, table)| Arc::clone(table))
    }

    fn put(&self, at: u64, table: &Arc<Vec<ServiceView>>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(count, _)| *count <= at) {
            *held = Some((at, Arc::clone(table)));
        }
    }
}

/// A host that waits for its orders.
struct Asking<'a> {
    handle: &'a NodeHandle,
    host: Option<HostId>,
}

impl Asking<'_> {
    fn answered(mut self) {
        self.host = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // It hung up. Should the inbox be full, its silence will tell.
        if let Some(host) = self.host.take() {
            self.handle.tell_plainly(Command::Leave { host });
        }
    }
}
