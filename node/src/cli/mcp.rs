//! `mcp`: the commands as tools for an agent, over MCP on standard input and output.
//!
//! Always: nothing but MCP is written to standard output; a tool does what its command does, by the
//! same code; an answer is bounded; and files of this machine are sent only from folders that were
//! allowed, as an agent is not trusted with all that its user can read. The token is nowhere in
//! what is answered.
//!
//! It ends when standard input does.

mod allowed;
mod answer;
mod heard;
mod hints;
mod params;
mod server;
mod tools;

use std::path::Path;
use std::process::ExitCode;

use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;

use super::args::Mcp;
use super::error::CliError;
use super::output::Output;
use crate::client::Client;
use allowed::Allowed;
use server::Server;

pub(super) async fn serve(
    client: Client,
    args: &Mcp,
    home: Option<&Path>,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let (allowed, left_out) = Allowed::new(&args.allow_path, home)?;
    if let Some(why) = left_out {
        output.say(&why);
    }
    output.say(&format!(
        "serving MCP on standard input and output, for {}",
        client.urls().join(", ")
    ));
    let server = Server::new(client, allowed);
    let running = match server.serve(rmcp::transport::stdio()).await {
        Ok(running) => running,
        // Standard input ended before anything was asked.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(CliError::Mcp(error.to_string())),
    };
    running.waiting().await.map_err(|error| CliError::Mcp(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
