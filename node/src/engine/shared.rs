//! What others may read of the engine without entering it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use skyclaw_protocol::NodeId;
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::controls::Controls;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::machine::{FrameFault, Gauges};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{Ballot, Val};
use skyclaw_protocol::shards::Duties;
use skyclaw_store::Reader;
use tokio::sync::{broadcast, mpsc, watch};

use crate::net::NetHandle;

/// How the engine does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// The store is being opened.
    #[default]
    Starting,
    /// It works.
    Ready,
    /// The store cannot be used: why.
    Failed(String),
}

/// A value that coordinators of the original are to hold; its spec and result are on disk.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Of which register.
    pub subject: Subject,
    /// Under which ballot.
    pub ballot: Ballot,
    /// What.
    pub val: Box<Val>,
}

/// Changes kept for those who follow: a second of what a node writes at its fastest. Whoever falls behind
/// further is told that it missed some.
const CHANGES: usize = 8192;

/// Tells followers; nobody any more once the node is about to stop.
#[derive(Debug)]
struct Changes(RwLock<Option<broadcast::Sender<Shown>>>);

impl Default for Changes {
    fn default() -> Self {
        Self(RwLock::new(Some(broadcast::Sender::new(CHANGES))))
    }
}

impl Changes {
    fn sender(&self) -> Option<broadcast::Sender<Shown>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Written by the engine, read by anyone. No lock is held over anything but a clone.
#[derive(Debug, Default)]
pub struct Shared {
    reader: RwLock<Option<Reader>>,
    key: OnceLock<NodeKey>,
    status: Mutex<Status>,
    gauges: Mutex<Gauges>,
    commands: AtomicU64,
    faults: [AtomicU64; FrameFault::ALL.len()],
    net: OnceLock<NetHandle>,
    /// Connected coordinators: the next incarnation starts with them.
    coordinators: Mutex<Vec<NodeId>>,
    /// Nodes that are members no more: the next incarnation starts with them.
    revoked: Mutex<BTreeMap<NodeId, Wall>>,
    /// Coordinators of the original: known and answering, and the highest number they show. The next
    /// incarnation starts with them.
    outside: Mutex<((usize, usize), u64)>,
    witnesses: OnceLock<mpsc::Sender<Witness>>,
    busy: AtomicU64,
    bad_receipts: AtomicU64,
    changes: Changes,
    /// Counts the batches that wrote of services.
    services: watch::Sender<u64>,
    /// Who keeps which shards, as the machine placed them last.
    duties: RwLock<Option<Arc<Duties>>>,
    /// Control records on disk.
    controls: watch::Sender<Arc<Controls>>,
    /// Why this machine's clock is wrong.
    clock_off: Mutex<Option<String>>,
    silent_hosts: AtomicUsize,
}

impl Shared {
    /// The store as of now; `None` while it cannot be used.
    #[must_use]
    pub fn reader(&self) -> Option<Reader> {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_reader(&self, reader: Option<Reader>) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    /// Who this node is; `None` until its store was opened once.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.key.get().map(NodeKey::id)
    }

    /// The node's key, for its connections; `None` until its store was opened once.
    pub(crate) fn key(&self) -> Option<NodeKey> {
        self.key.get().cloned()
    }

    pub(super) fn set_key(&self, key: NodeKey) {
        // The identity lives in the file; another one would be another node's.
        let _ = self.key.set(key);
    }

    /// How the engine does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Sizes of what the machine holds.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_gauges(&self, gauges: Gauges) {
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
    }

    /// Hosts of which nothing was heard for a while.
    #[must_use]
    pub fn silent_hosts(&self) -> usize {
        self.silent_hosts.load(Relaxed)
    }

    pub(super) fn set_silent_hosts(&self, hosts: usize) {
        self.silent_hosts.store(hosts, Relaxed);
    }

    /// Where frames to other coordinators go; set once, when libp2p is set up.
    pub(crate) fn set_net(&self, net: NetHandle) {
        let _ = self.net.set(net);
    }

    pub(super) fn net(&self) -> Option<&NetHandle> {
        self.net.get()
    }

    pub(super) fn set_coordinators(&self, nodes: Vec<NodeId>) {
        *self.coordinators.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    pub(crate) fn coordinators(&self) -> Vec<NodeId> {
        self.coordinators.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_revoked(&self, nodes: BTreeMap<NodeId, Wall>) {
        *self.revoked.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    pub(super) fn revoked(&self) -> BTreeMap<NodeId, Wall> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_outside(&self, known_and_alive: (usize, usize), seen: u64) {
        *self.outside.lock().unwrap_or_else(PoisonError::into_inner) = (known_and_alive, seen);
    }

    pub(super) fn outside(&self) -> ((usize, usize), u64) {
        *self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where values for coordinators of the original go; set once, by who pushes them.
    pub fn set_witnesses(&self, witnesses: mpsc::Sender<Witness>) {
        let _ = self.witnesses.set(witnesses);
    }

    /// What has no room is lost; it is asked for again, then its write misses its copies.
    pub(super) fn witness(&self, witness: Witness) {
        let _ = self.witnesses.get().map(|queue| queue.try_send(witness));
    }

    /// What is wrong with this machine's clock, if most other coordinators have another time.
    #[must_use]
    pub fn clock_off(&self) -> Option<String> {
        self.clock_off.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_clock_off(&self, off: Option<String>) {
        *self.clock_off.lock().unwrap_or_else(PoisonError::into_inner) = off;
    }

    /// What this node keeps, and who else does; `None` until its store was opened once.
    #[must_use]
    pub fn duties(&self) -> Option<Arc<Duties>> {
        self.duties.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_duties(&self, duties: &Arc<Duties>) {
        let same = |shown: &Arc<Duties>| Arc::ptr_eq(shown, duties);
        if !self.duties().as_ref().is_some_and(same) {
            let mut shown = self.duties.write().unwrap_or_else(PoisonError::into_inner);
            *shown = Some(Arc::clone(duties));
        }
    }

    /// Changes each time something of a service may have changed on disk.
    #[must_use]
    pub fn services(&self) -> watch::Receiver<u64> {
        self.services.subscribe()
    }

    /// What of the records may have changed on disk, from now on; it ends when the node is about to stop.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Shown> {
        // Of a sender that is dropped at once, where there is none any more.
        self.changes.sender().unwrap_or_else(|| broadcast::Sender::new(1)).subscribe()
    }

    /// Whoever follows has heard all.
    pub(crate) fn end_changes(&self) {
        *self.changes.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells of a batch that is on disk.
    pub(super) fn changed(&self, shown: Vec<Shown>) {
        if shown.iter().any(|shown| matches!(shown, Shown::Service(_))) {
            self.services.send_modify(|count| *count += 1);
        }
        let Some(changes) = self.changes.sender().filter(|it| it.receiver_count() > 0) else {
            return;
        };
        for shown in shown {
            // The last of them may have gone meanwhile.
            let _ = changes.send(shown);
        }
    }

    /// The control records that are on disk, now and at each change.
    #[must_use]
    pub fn controls(&self) -> watch::Receiver<Arc<Controls>> {
        self.controls.subscribe()
    }

    /// The control records that are on disk.
    #[must_use]
    pub fn controls_now(&self) -> Arc<Controls> {
        Arc::clone(&self.controls.borrow())
    }

    pub(super) fn set_controls(&self, controls: &Arc<Controls>) {
        self.controls.send_if_modified(|shown| {
            let other = !Arc::ptr_eq(shown, controls);
            if other {
                *shown = Arc::clone(controls);
            }
            other
        });
    }

    pub(super) fn count_faults(&self, faults: &[FrameFault]) {
        for (fault, count) in FrameFault::ALL.iter().zip(&self.faults) {
            let met = faults.iter().filter(|met| *met == fault).count();
            count.fetch_add(met as u64, Relaxed);
        }
    }

    /// Parts of frames that broke a rule of the protocol since the start, by the rule.
    pub fn faults(&self) -> impl Iterator<Item = (FrameFault, u64)> {
        FrameFault::ALL.into_iter().zip(self.faults.iter().map(|count| count.load(Relaxed)))
    }

    pub(super) fn count_command(&self) {
        self.commands.fetch_add(1, Relaxed);
    }

    /// Commands taken since the start.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands.load(Relaxed)
    }

    /// Counts a report refused for its receipt.
    pub fn count_bad_receipt(&self) {
        self.bad_receipts.fetch_add(1, Relaxed);
    }

    /// Reports refused for their receipts.
    #[must_use]
    pub fn bad_receipts(&self) -> u64 {
        self.bad_receipts.load(Relaxed)
    }

    /// Counts an input refused because the inbox was full.
    pub fn count_busy(&self) {
        self.busy.fetch_add(1, Relaxed);
    }

    /// Inputs refused because the inbox was full.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.busy.load(Relaxed)
    }
}
