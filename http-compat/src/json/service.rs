//! Services as JSON.
//!
//! Always: without being asked for details, an answer has the members of the contract, and of
//! those added later what the submitter set. Legacy hosts and gateways read these answers. Values of an
//! environment can be written and not read: only who is to run a service is told them.

use serde_json::{Map, Value, json};
use skyclaw_protocol::seal::MASK;
use skyclaw_protocol::{Assignment, Hash, OnPartition, ServiceDef, ServiceView};

use super::isolation::NETWORK;
use super::{iso, put};

/// How much of a service is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the contract has.
    Contract,
    /// Also which deployment it is of, and what of the one before; asked for by `?details=1`.
    Details,
}

/// As clients of the original know it, its environment masked.
pub(crate) fn contract(service: &ServiceView) -> Value {
    show(service, Depth::Contract)
}

/// The same with the values of its environment: for who is to run it.
pub(crate) fn whole(service: &ServiceView) -> Value {
    draw(service, Depth::Contract, Env::Clear)
}

pub(crate) fn show(service: &ServiceView, depth: Depth) -> Value {
    draw(service, depth, Env::Masked)
}

/// Whether the values of an environment are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Env {
    Masked,
    Clear,
}

fn draw(service: &ServiceView, depth: Depth, env: Env) -> Value {
    let mut map = Map::new();
    put(&mut map, "id", Some(service.id.as_str()));
    def(&mut map, &service.def, env);
    let mut set = |name: &str, value: Value| map.insert(name.to_owned(), value);
    set("status", service.status.as_str().into());
    set("createdAt", iso(service.created));
    set("updatedAt", iso(service.updated));
    set("updatedBy", service.updated_by.as_str().into());
    if let Some(owner) = &service.owner {
        set("owner", owner.as_str().into());
    }
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

/// The members that say what a service runs.
pub(super) fn def(map: &mut Map<String, Value>, def: &ServiceDef, shown: Env) {
    put(map, "name", Some(def.name.as_str()));
    put(map, "command", Some(def.command.as_str()));
    put(map, "args", Some(def.args.clone()));
    put(map, "cwd", def.cwd.as_deref());
    if let Some(env) = &def.env {
        let value = |value: &str| Value::from(if shown == Env::Clear { value } else { MASK });
        let env = env.iter().map(|(name, kept)| (name.clone(), value(kept)));
        map.insert("env".to_owned(), Value::Object(env.collect()));
    }
    put(map, "replicas", Some(def.replicas));
    put(map, "requiredCapabilities", Some(def.required.clone()));
    put(map, "bundle", def.bundle.as_ref().map(Hash::hex));
    if let Some(health) = &def.health {
        let health = json!({ "path": health.path, "intervalMs": health.interval_ms });
        map.insert("health".to_owned(), health);
    }
    if let Some(ms) = def.backoff_ms {
        map.insert("restart".to_owned(), json!({ "backoffMs": ms }));
    }
    if def.on_partition != OnPartition::default() {
        put(map, "onPartition", Some(def.on_partition.as_str()));
    }
    if let Some(network) = &def.network {
        map.insert(NETWORK.to_owned(), json!(network));
    }
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
