//! `skyclaw join`: keeps a ticket where the node finds it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use skyclaw_protocol::network::Ticket;
use zeroize::Zeroizing;

use super::super::args;
use super::super::error::CliError;
use super::super::output::Output;
use crate::config::{DEFAULT_FILE, EnvVars, Layer, Layers};
use crate::joined::{self, Joined};

/// Longest line read from standard input.
const MAX_LINE: u64 = 16 << 10;

pub(in crate::cli) fn join(
    (env, flags): (&EnvVars, Layer),
    args: &args::Join,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut line = Zeroizing::new(args.ticket.clone());
    if line.as_str() == "-" {
        line.clear();
        std::io::stdin().take(MAX_LINE).read_to_string(&mut line)?;
    }
    let refused = |error: &dyn std::fmt::Display| CliError::Source(error.to_string());
    let ticket = Ticket::parse(&line).map_err(|error| refused(&error))?;
    let invite = ticket.check(crate::time::wall()).map_err(|error| refused(&error))?;
    let layers = layers(env, flags)?;
    let known = joined::find(&layers).map_err(CliError::Source)?;
    let path = joined::place(&layers, invite.roles);
    let joined = match known {
        Some(known) if known.network() != ticket.network() => {
            return Err(CliError::Source(format!(
                "this node belongs to the network {}: to leave that, stop the node and move {} and \
                 its database away",
                known.name,
                known.path.display()
            )));
        }
        // Its capability, while that counts, goes before the ticket.
        Some(known) => Joined { ticket: Some(ticket), allowed: invite.roles, ..known },
        None => Joined::of_ticket(path, ticket).map_err(|error| refused(&error))?,
    };
    if let Some(folder) = joined.path.parent() {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    }
    joined.write().map_err(|error| unwritable(&joined.path, &error))?;
    if json {
        output.json(&json!({
            "network": joined.name,
            "roles": joined.allowed.words(),
            "membership": joined.path.display().to_string(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output.say(&format!(
        "the ticket for {} ({}) is kept in {}",
        joined.name,
        joined.allowed,
        joined.path.display()
    ));
    output.hint("next: start `skyclaw-node` here; it becomes a member as soon as it meets one");
    Ok(ExitCode::SUCCESS)
}

/// The settings of a node started here.
pub(super) fn layers(env: &EnvVars, flags: Layer) -> Result<Layers, CliError> {
    Ok(Layers::load(flags, env, Path::new(DEFAULT_FILE))?)
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Source(format!("{} cannot be written: {error}", path.display()))
}
