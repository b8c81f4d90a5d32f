//! What a submitter asks of how a run is kept apart: a level, and what it may reach.
//!
//! Always: what cannot be kept everywhere is asked of hosts as a capability, so that a run waits for a
//! host that keeps it instead of being refused by one that cannot.

use serde_json::Value;
use skyclaw_protocol::SandboxLevel;
use skyclaw_protocol::egress::NetworkAsk;

use super::fields::Fields;
use crate::error::ApiError;

/// The member that names a level.
const SANDBOX: &str = "sandbox";

/// The member that says what is to be reached.
pub(super) const NETWORK: &str = "network";

/// The weakest level that is asked for, if one is.
pub(super) fn level(fields: &Fields<'_>) -> Result<Option<SandboxLevel>, ApiError> {
    let Some(word) = fields.text(SANDBOX)? else { return Ok(None) };
    let names = SandboxLevel::ALL.map(SandboxLevel::as_str).join(", ");
    let wrong = || fields.bad(SANDBOX, &format!("must be one of {names}"));
    SandboxLevel::of(word).map(Some).ok_or_else(wrong)
}

/// What is asked to be reached.
pub(super) fn network(fields: &Fields<'_>) -> Result<Option<NetworkAsk>, ApiError> {
    let asked = match fields.get(NETWORK) {
        None => return Ok(None),
        Some(Value::String(word)) => NetworkAsk::word(word),
        Some(Value::Array(_)) => NetworkAsk::hosts(fields.strings(NETWORK)?.unwrap_or_default()),
        Some(other) => return Err(fields.wrong(NETWORK, "a word or an array of hosts", other)),
    };
    asked.map(Some).map_err(|why| fields.bad(NETWORK, &why.to_string()))
}

/// The same of a service, which shares the network of its host or has none: in one of its own, as a list
/// needs, nobody would reach it.
pub(super) fn network_of_service(fields: &Fields<'_>) -> Result<Option<NetworkAsk>, ApiError> {
    let asked = network(fields)?;
    if let Some(NetworkAsk::Hosts(_)) = asked {
        let text = "must be \"none\" or \"any\": a list of hosts is for jobs";
        return Err(fields.bad(NETWORK, text));
    }
    Ok(asked)
}

/// The capability of hosts that can hold a run to what it asks to reach.
pub(super) fn keeper(network: Option<&NetworkAsk>) -> Option<String> {
    match network? {
        NetworkAsk::None => SandboxLevel::Basic.capability(),
        NetworkAsk::Hosts(_) => SandboxLevel::Isolated.capability(),
        NetworkAsk::Any => None,
    }
}
