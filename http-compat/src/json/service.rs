//! Services as JSON.
//!
//! Always: without being asked for details, an answer has the members of the contract, and of
//! those added later what the submitter set. Legacy hosts and gateways read these answers.

use serde_json::{Map, Value, json};
use skyclaw_protocol::{Assignment, OnPartition, ServiceView};

use super::{iso, put};

/// How much of a service is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the contract has.
    Contract,
    /// Also which deployment it is of, and what of the one before; asked for by `?details=1`.
    Details,
}

/// As clients of the original know it.
pub(crate) fn contract(service: &ServiceView) -> Value {
    show(service, Depth::Contract)
}

pub(crate) fn show(service: &ServiceView, depth: Depth) -> Value {
    let def = &service.def;
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("id", service.id.as_str().into());
    set("name", def.name.as_str().into());
    set("command", def.command.as_str().into());
    set("args", def.args.clone().into());
    if let Some(cwd) = &def.cwd {
        set("cwd", cwd.as_str().into());
    }
    if let Some(env) = &def.env {
        let env = env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        set("env", Value::Object(env.collect()));
    }
    set("replicas", def.replicas.into());
    set("requiredCapabilities", def.required.clone().into());
    if let Some(bundle) = &def.bundle {
        set("bundle", bundle.hex().into());
    }
    if let Some(health) = &def.health {
        set("health", json!({ "path": health.path, "intervalMs": health.interval_ms }));
    }
    if let Some(ms) = def.backoff_ms {
        set("restart", json!({ "backoffMs": ms }));
    }
    if def.on_partition != OnPartition::default() {
        set("onPartition", def.on_partition.as_str().into());
    }
    set("status", service.status.as_str().into());
    set("createdAt", iso(service.created));
    set("updatedAt", iso(service.updated));
    set("updatedBy", service.updated_by.as_str().into());
    set("version", service.version.into());
    let parts = service.assignments.iter().map(|part| assignment(part, depth));
    set("assignments", parts.collect());
    if depth == Depth::Details {
        details(&mut map, service);
    }
    Value::Object(map)
}

fn details(map: &mut Map<String, Value>, service: &ServiceView) {
    put(map, "generation", Some(service.generation));
    put(map, "previousGeneration", service.past.last().map(|past| past.number));
    let reverted = service.reverted.as_ref().map(
        |back| json!({ "generation": back.generation, "error": back.error, "at": iso(back.at) }),
    );
    put(map, "reverted", reverted);
}

fn assignment(part: &Assignment, depth: Depth) -> Value {
    let mut map = Map::new();
    put(&mut map, "hostId", Some(part.host.as_str()));
    put(&mut map, "status", Some(part.status.as_str()));
    put(&mut map, "updatedAt", Some(iso(part.updated)));
    put(&mut map, "endpoint", part.endpoint.as_deref());
    put(&mut map, "error", part.error.as_deref());
    put(&mut map, "startedAt", part.started.map(iso));
    if depth == Depth::Details {
        put(&mut map, "slot", Some(part.slot));
        put(&mut map, "epoch", Some(part.epoch));
        put(&mut map, "generation", Some(part.generation));
        put(&mut map, "node", part.node.map(|node| node.to_string()));
    }
    Value::Object(map)
}
