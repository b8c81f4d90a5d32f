//! What a host is to run of services, as any coordinator can tell from the records it holds.
//!
//! Always: an answer is complete for the host. An instance that is not in it is superseded only if
//! [`Orders::over`] names its service with a version at least as high as the one it was ordered
//! with: a coordinator that has heard less, or nothing, of a service ends nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Hash, HostId, ServiceId};
use crate::view::{ServiceDef, ServiceView};

/// A host's question what it is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Which host.
    pub host: HostId,
    /// The services it has instances of.
    pub running: Vec<ServiceId>,
    /// Of the last answer: the question is held while that would be the answer.
    pub mark: Option<Hash>,
    /// How long to hold it, in milliseconds.
    pub wait_ms: u32,
}

impl Question {
    /// How long to hold it.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms as u64)
    }
}

/// One instance that a host is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Of which service.
    pub id: ServiceId,
    /// When the register's value that says so was written, as [`ServiceView::ver`] tells it.
    pub ver: u64,
    /// Which of the wanted instances.
    pub slot: u32,
    /// Names the instance.
    pub epoch: u64,
    /// Which deployment.
    pub generation: u64,
    /// What it runs.
    pub def: ServiceDef,
}

/// A service of which the host is to run nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Over {
    /// Which service.
    pub id: ServiceId,
    /// When the register's value that says so was written, as [`ServiceView::ver`] tells it.
    pub ver: u64,
}

/// All that a host is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// The instances, by service and epoch.
    pub orders: Vec<Order>,
    /// Of the services the host named, those that are assigned to it no more, or were removed.
    pub over: Vec<Over>,
}

impl Orders {
    /// What names this answer: asked with it, a coordinator waits until its answer would differ.
    #[must_use]
    pub fn mark(&self) -> Hash {
        Hash(*blake3::hash(&crate::codec::encode(self)).as_bytes())
    }
}

/// What `host` is to run. `services` are all that are known, removed ones apart; `named` are those
/// the host asks about, each with the [`ServiceView::ver`] of the register's latest value that is known here,
/// if any is.
#[must_use]
pub fn orders_for(
    host: &HostId,
    services: &[ServiceView],
    named: &[(ServiceId, Option<u64>)],
) -> Orders {
    let mut orders = Vec::new();
    for service in services {
        for part in service.assignments.iter().filter(|part| part.host == *host) {
            let past = service.past.iter().find(|past| past.number == part.generation);
            let def = past.map_or(&service.def, |past| &past.def);
            orders.push(Order {
                id: service.id.clone(),
                ver: service.ver,
                slot: part.slot,
                epoch: part.epoch,
                generation: part.generation,
                def: def.clone(),
            });
        }
    }
    orders.sort_by(|a, b| (&a.id, a.epoch).cmp(&(&b.id, b.epoch)));
    let mut over: Vec<Over> = named
        .iter()
        .filter(|(id, _)| !orders.iter().any(|order| order.id == *id))
        .filter_map(|(id, ver)| Some(Over { id: id.clone(), ver: (*ver)? }))
        .collect();
    over.sort_by(|a, b| a.id.cmp(&b.id));
    over.dedup();
    Orders { orders, over }
}
