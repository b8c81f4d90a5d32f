//! Networks whose members come by tickets: making one, letting others in, looking at members, and
//! taking membership away.

mod create;
mod join;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use super::{args, show};
use crate::client::Client;
use crate::config::{EnvVars, Layer};
pub(super) use join::join;

/// `skyclaw network ...`.
pub(super) async fn run(
    client: &Client,
    settings: (&EnvVars, Layer),
    args: &args::Network,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    match &args.what {
        args::NetworkWhat::Create { name, dir } => {
            create::create(settings, name, dir.as_deref(), json, output)
        }
        args::NetworkWhat::Members => members(client, json, output).await,
        args::NetworkWhat::Revoke { target } => revoke(client, target, json, output).await,
    }
}

async fn members(client: &Client, json: bool, output: &mut Output) -> Result<ExitCode, CliError> {
    let answer = client.get("/v1/network/members").await?;
    let Value::Array(members) = &answer["members"] else {
        return Err(CliError::Answer("members"));
    };
    if json {
        output.json(&answer)?;
    } else {
        output.text(&show::members_table(members, jiff::Timestamp::now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(
    client: &Client,
    target: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    // The coordinator tells one from the other.
    let answer = client.post("/v1/network/revocations", &json!({ "peer": target })).await?;
    if json {
        output.json(&answer)?;
    } else {
        output.say(&format!(
            "{target} is revoked: members hear of it at once, those that are away when they come \
             back"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// `skyclaw invite`.
pub(super) async fn invite(
    client: &Client,
    args: &args::Invite,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let expires = u64::try_from(args.expires.as_millis()).unwrap_or(u64::MAX);
    let mut wish = json!({ "roles": args.role, "expiresMs": expires, "uses": args.uses });
    if let Some(peer) = &args.peer {
        wish["peer"] = peer.clone().into();
    }
    let answer = client.post("/v1/network/invites", &wish).await?;
    let Value::String(ticket) = &answer["ticket"] else { return Err(CliError::Answer("ticket")) };
    if json {
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output.text(&format!("{ticket}\n"))?;
    if args.qr || output.is_terminal() {
        match qr(ticket) {
            Some(code) => output.hint(&code),
            None => output.say("the ticket is too long for a QR code"),
        }
    }
    let nodes = if args.uses == 1 { "one node".to_owned() } else { format!("{} nodes", args.uses) };
    output.say(&format!(
        "lets {nodes} join {} as {} until {}: `skyclaw join TICKET` there. Whoever has the line can \
         use it; `skyclaw network revoke {}` ends it",
        show::text(&answer, "network"),
        args.role.join(","),
        show::text(&answer, "expiresAt"),
        show::text(&answer, "serial"),
    ));
    Ok(ExitCode::SUCCESS)
}

/// The ticket as a QR code of half blocks, for dark and light terminals alike: in capitals, which take
/// a third less room.
fn qr(ticket: &str) -> Option<String> {
    let text = ticket.to_ascii_uppercase();
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L).ok()?;
    let width = code.width();
    let dark = |x: usize, y: usize| {
        let inside = (QUIET..width + QUIET).contains(&x) && (QUIET..width + QUIET).contains(&y);
        inside && code[(x - QUIET, y - QUIET)] == qrcode::Color::Dark
    };
    let side = width + 2 * QUIET;
    let mut shown = String::new();
    for y in (0..side).step_by(2) {
        for x in 0..side {
            // Light is drawn: terminals are dark more often.
            shown.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => '\u{2588}',
                (false, true) => '\u{2580}',
                (true, false) => '\u{2584}',
                (true, true) => ' ',
            });
        }
        shown.push('\n');
    }
    Some(shown)
}

/// Light modules around the code, so that it is found: less than the standard's four is enough for
/// what phones use, and the code is wide.
const QUIET: usize = 2;
