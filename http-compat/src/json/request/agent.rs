//! Jobs that are turns of an OpenClaw agent, and what their hosts say of such a run.

use serde_json::Value;
use skyclaw_protocol::limits::{MAX_AGENT_BYTES, MAX_AGENT_DEPTH};

use crate::error::ApiError;
use crate::json::depth;
use crate::json::fields::Fields;

/// What a host says of an agent's run: an object, kept as text.
pub(super) fn account(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    const NAME: &str = "agent";
    if fields.object(NAME)?.is_none() {
        return Ok(None);
    }
    let Some(account) = fields.get(NAME) else { return Ok(None) };
    if depth(account) > MAX_AGENT_DEPTH {
        let bound = format!("must not be nested deeper than {MAX_AGENT_DEPTH} levels");
        return Err(fields.bad(NAME, &bound));
    }
    // Writing a `Value` to memory cannot fail.
    let text = serde_json::to_string::<Value>(account).unwrap_or_default();
    if text.len() > MAX_AGENT_BYTES {
        let bound = format!("must not be larger than {MAX_AGENT_BYTES} bytes");
        return Err(fields.bad(NAME, &bound));
    }
    Ok(Some(text))
}
