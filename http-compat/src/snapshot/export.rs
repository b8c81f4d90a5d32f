//! Our records as an original is told of them: shown by it, run by none of its hosts.
//!
//! Always: a record that leaves here bears [`MARK`](super::MARK), so that no node of ours takes it
//! for an original's when it comes back; a job that has not ended is leased until the end of time to a
//! host that cannot be, and a service wants no more instances than it has.

use serde_json::{Map, Value, json};
use skyclaw_protocol::{HostId, HostView, JobStatus, JobView, NetworkId, ServiceView};

use super::MARK;
use crate::json;

/// When the lease of an exported job ends: the last moment that the original can compare with now.
const NEVER: &str = "9999-12-31T23:59:59.999Z";

/// Writes records for originals.
#[derive(Clone, Debug)]
pub struct Exporter {
    network: String,
    holder: HostId,
}

impl Exporter {
    /// For the records of this network.
    ///
    /// # Panics
    /// Never: the text is an id.
    #[must_use]
    pub fn new(network: NetworkId) -> Self {
        let network = data_encoding::HEXLOWER.encode(&network.0);
        let holder = HostId::new(format!("skyclaw-{network}")).expect("short plain text is an id");
        Self { network, holder }
    }

    /// The value of the mark.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Who holds what no host of an original may have. It is registered nowhere.
    #[must_use]
    pub const fn holder(&self) -> &HostId {
        &self.holder
    }

    /// A host; only those that talk HTTP mean anything to an original.
    #[must_use]
    pub fn host(&self, host: &HostView) -> Value {
        self.marked(json::host::show(host))
    }

    /// A job: as it is once it has ended, else held by [`Exporter::holder`].
    #[must_use]
    pub fn job(&self, job: &JobView) -> Value {
        let mut shown = json::job::show(job);
        if matches!(job.status, JobStatus::Queued | JobStatus::Leased) {
            shown["status"] = JobStatus::Leased.as_str().into();
            shown["assignedHostId"] = self.holder.as_str().into();
            shown["leaseExpiresAt"] = NEVER.into();
        }
        self.marked(shown)
    }

    /// A service, wanting what it has.
    #[must_use]
    pub fn service(&self, service: &ServiceView) -> Value {
        let mut shown = json::service::contract(service);
        if service.assignments.is_empty() {
            let updated = shown["updatedAt"].clone();
            let holder = self.holder.as_str();
            let held = json!({ "hostId": holder, "status": "pending", "updatedAt": updated });
            shown["assignments"] = json!([held]);
        }
        shown["replicas"] = service.assignments.len().max(1).into();
        self.marked(shown)
    }

    /// The body that is pushed.
    #[must_use]
    pub fn body(
        &self,
        node_id: &str,
        hosts: Vec<Value>,
        jobs: Vec<Value>,
        services: Vec<Value>,
    ) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("nodeId".to_owned(), node_id.into());
        body.insert("hosts".to_owned(), hosts.into());
        body.insert("jobs".to_owned(), jobs.into());
        body.insert("services".to_owned(), services.into());
        // Writing a `Value` to memory cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn marked(&self, mut shown: Value) -> Value {
        shown[MARK] = self.network.as_str().into();
        shown
    }
}
