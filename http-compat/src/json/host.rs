//! Hosts as JSON.

use serde_json::{Value, json};
use skyclaw_protocol::HostView;

use super::{iso, number};

/// The nine members, always all of them.
pub(crate) fn show(host: &HostView) -> Value {
    json!({
        "id": host.id.as_str(),
        "name": host.name,
        "capabilities": host.capabilities,
        "maxParallel": number(host.max_parallel),
        "activeLeases": number(host.active_leases),
        "lastSeenAt": iso(host.last_seen),
        "registeredAt": iso(host.registered),
        "updatedBy": host.updated_by,
        "version": host.version,
    })
}
