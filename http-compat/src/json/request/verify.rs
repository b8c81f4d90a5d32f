//! Jobs that several hosts run, of which enough must say the same.

use skyclaw_protocol::limits::MAX_COPIES;
use skyclaw_protocol::verify::Verify;

use super::{agent, within};
use crate::error::ApiError;
use crate::json::fields::Fields;

/// `verify: {copies, agree}` of a job; `repeats`: it says itself whether its runs are repeated.
pub(super) fn read(fields: &Fields<'_>, repeats: bool) -> Result<Option<Verify>, ApiError> {
    const NAME: &str = "verify";
    let Some(object) = fields.object(NAME)? else { return Ok(None) };
    let verify = Fields::of(Some(object), "verify.");
    verify.only(&["copies", "agree"])?;
    let most = u64::from(MAX_COPIES);
    let copies = within(&verify, "copies", 1..=most)?;
    let copies = copies.ok_or_else(|| verify.bad("copies", "is required"))?;
    // All of them, unless fewer are said to be enough.
    let agree = within(&verify, "agree", 1..=copies)?.unwrap_or(copies);
    let payload = Fields::of(fields.object("payload")?, "payload.");
    if payload.text("kind")? == Some(agent::KIND) {
        return Err(fields.bad(NAME, "is not for agent jobs: their answers differ by nature"));
    }
    if repeats {
        let text = "goes neither with retry nor with work that is not to be repeated";
        return Err(fields.bad(NAME, text));
    }
    let count = |n: u64| u8::try_from(n).unwrap_or(MAX_COPIES);
    Ok(Some(Verify { copies: count(copies), agree: count(agree) }))
}
