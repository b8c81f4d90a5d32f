//! Services as JSON.

use serde_json::{Map, Value};
use skyclaw_protocol::{Assignment, ServiceView};

use super::{iso, put};

pub(crate) fn show(service: &ServiceView) -> Value {
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
    set("status", service.status.as_str().into());
    set("createdAt", iso(service.created));
    set("updatedAt", iso(service.updated));
    set("updatedBy", service.updated_by.as_str().into());
    set("version", service.version.into());
    set("assignments", service.assignments.iter().map(assignment).collect());
    Value::Object(map)
}

fn assignment(part: &Assignment) -> Value {
    let mut map = Map::new();
    put(&mut map, "hostId", Some(part.host.as_str()));
    put(&mut map, "status", Some(part.status.as_str()));
    put(&mut map, "updatedAt", Some(iso(part.updated)));
    put(&mut map, "endpoint", part.endpoint.as_deref());
    put(&mut map, "error", part.error.as_deref());
    put(&mut map, "startedAt", part.started.map(iso));
    Value::Object(map)
}
