//! `why`: the reason a job waits, runs or ended, and what would change that.

use std::process::ExitCode;

use jiff::Timestamp;
use skyclaw_http_compat::why::{Why, explain};

use super::error::CliError;
use super::output::Output;
use super::{args, jobs, original};
use crate::client::Client;

pub(super) async fn why(
    client: &Client,
    args: &args::Why,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let why = about(client, &args.id).await?;
    if json {
        output.json(&why.document())?;
    } else {
        output.text(&why.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for the job and the hosts, and explains.
pub(super) async fn about(client: &Client, id: &str) -> Result<Why, CliError> {
    let answer = jobs::look(client, id).await?;
    let job = jobs::job_of(&answer)?;
    let hosts = match client.get("/v1/hosts").await {
        Err(error) if original::has_no_route(&error) => original::hosts(client).await?,
        answer => answer?,
    };
    let hosts = hosts["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(explain(job, hosts, Timestamp::now()))
}
