//! Hosts as JSON.

use serde_json::{Map, Value, json};
use skyclaw_protocol::limits::MAX_TEXT_BYTES;
use skyclaw_protocol::{HostView, OpenclawInstall, SandboxLevel};

use super::{iso, number, put};
use crate::text::{cut, trim};

/// The nine members, always all of them, and what the host says of its OpenClaw and of the level at
/// which it keeps what it runs.
pub(crate) fn show(host: &HostView) -> Value {
    let mut shown = json!({
        "id": host.id.as_str(),
        "name": host.name,
        "capabilities": host.capabilities,
        "maxParallel": number(host.max_parallel),
        "activeLeases": number(host.active_leases),
        "lastSeenAt": iso(host.last_seen),
        "registeredAt": iso(host.registered),
        "updatedBy": host.updated_by,
        "version": host.version,
    });
    if let Some(install) = &host.openclaw {
        shown["openclaw"] = openclaw(install);
    }
    let level = SandboxLevel::among(&host.capabilities);
    if level > SandboxLevel::None {
        shown["sandbox"] = level.as_str().into();
    }
    shown
}

fn openclaw(install: &OpenclawInstall) -> Value {
    let mut map = Map::new();
    put(&mut map, "version", install.version.as_deref());
    put(&mut map, "node", install.node.as_deref());
    put(&mut map, "gateway", Some(install.gateway));
    put(&mut map, "trouble", install.trouble.as_deref());
    Value::Object(map)
}

/// What a host says of its OpenClaw when it registers. It is shown, nothing rests on it: what is not
/// usable is ignored or cut.
pub(crate) fn read_openclaw(said: Option<&Value>) -> Option<OpenclawInstall> {
    let said = said?.as_object()?;
    let text = |name: &str| {
        let text = said.get(name)?.as_str().map(trim).filter(|text| !text.is_empty())?;
        Some(cut(text, MAX_TEXT_BYTES).to_owned())
    };
    let install = OpenclawInstall {
        version: text("version"),
        node: text("node"),
        gateway: said.get("gateway").and_then(Value::as_bool).unwrap_or(false),
        trouble: text("trouble"),
    };
    (install != OpenclawInstall::default()).then_some(install)
}
