//! Whether hosts that have OpenClaw can use it.

use serde_json::Value;

use super::Finding;
use super::facts::Facts;
use crate::cli::show;
use skyclaw_http_compat::why::{name, trouble};

const NAME: &str = "openclaw";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let hosts = facts.hosts.as_deref().unwrap_or_default();
    // Where nobody tells of an OpenClaw nobody is expected to have one.
    hosts.iter().filter(|host| host["openclaw"].is_object()).map(judge).collect()
}

fn judge(host: &Value) -> Finding {
    let (name, version) = (name(host), show::text(&host["openclaw"], "version"));
    if let Some(trouble) = trouble(host) {
        return Finding::warn(
            NAME,
            format!("{name}: unusable: {trouble}"),
            format!(
                "put it right on {name}; its node looks again by itself, or when it is started"
            ),
        );
    }
    let has = |cap: &str| {
        host["capabilities"].as_array().is_some_and(|all| all.iter().any(|has| has == cap))
    };
    let mut can = Vec::new();
    can.extend(has("openclaw.exec").then_some("agent jobs"));
    can.extend(has("openclaw.gateway").then_some("its Gateway"));
    if can.is_empty() {
        return Finding::warn(
            NAME,
            format!("{name}: {version}, but it shares no agent"),
            format!(
                "agent jobs need 2026.8.1 or later, and a configuration that the owner of {name} shares"
            ),
        );
    }
    Finding::ok(NAME, format!("{name}: {version}, shares {}", can.join(" and ")))
}
