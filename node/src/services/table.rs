//! What is here, for those who look from outside: tunnels, logs, lists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyclaw_protocol::ServiceId;
use tokio::sync::watch;

use super::InstanceId;
use crate::supervisor::{LogReader, LogRing};

/// An instance as others may see it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which one.
    pub id: InstanceId,
    /// Which of the wanted instances it is.
    pub slot: u32,
    /// Which deployment it runs.
    pub generation: u64,
    /// Where it listens on this machine, while it serves.
    pub address: Option<SocketAddr>,
    /// What it wrote.
    pub log: LogRing,
}

/// The lines of one instance.
#[derive(Debug)]
pub struct InstanceLog {
    /// Which one.
    pub id: InstanceId,
    /// Which of the wanted instances it is.
    pub slot: u32,
    /// Its lines.
    pub lines: LogReader,
}

/// The instances that are here.
#[derive(Debug)]
pub(super) struct Table {
    entries: Mutex<BTreeMap<InstanceId, Entry>>,
    /// Changes when one comes.
    came: watch::Sender<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: Mutex::default(), came: watch::Sender::new(0) }
    }
}

impl Table {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, entry: Entry) {
        self.entries().insert(entry.id.clone(), entry);
        self.came.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes when an instance comes.
    pub(super) fn came(&self) -> watch::Receiver<u64> {
        self.came.subscribe()
    }

    /// It listens there, or nowhere any more.
    pub(super) fn serves(&self, id: &InstanceId, address: Option<SocketAddr>) {
        if let Some(entry) = self.entries().get_mut(id) {
            entry.address = address;
        }
    }

    pub(super) fn log(&self, id: &InstanceId) -> Option<LogRing> {
        self.entries().get(id).map(|entry| entry.log.clone())
    }

    pub(super) fn remove(&self, id: &InstanceId) {
        if let Some(entry) = self.entries().remove(id) {
            entry.log.close();
        }
    }

    pub(super) fn address(&self, service: &ServiceId, epoch: u64) -> Option<SocketAddr> {
        let id = InstanceId { service: service.clone(), epoch };
        self.entries().get(&id)?.address
    }

    pub(super) fn logs(
        &self,
        service: &ServiceId,
        epoch: Option<u64>,
        tail: usize,
    ) -> Vec<InstanceLog> {
        let entries = self.entries();
        let of_service = entries.values().filter(|entry| entry.id.service == *service);
        let wanted = of_service.filter(|entry| epoch.is_none_or(|epoch| entry.id.epoch == epoch));
        let open = |entry: &Entry| InstanceLog {
            id: entry.id.clone(),
            slot: entry.slot,
            lines: entry.log.read(tail),
        };
        wanted.map(open).collect()
    }

    pub(super) fn list(&self) -> Vec<Entry> {
        self.entries().values().cloned().collect()
    }
}
