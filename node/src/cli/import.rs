//! `import`: what an original coordinator kept goes from its database to a coordinator of ours.
//!
//! Always: it may be typed again at any time; what is there already is left as it is. What is said at
//! the end is what coordinators answered, and the exit code is 0 only if nothing stayed behind.

#[cfg(feature = "import")]
mod report;
#[cfg(feature = "import")]
mod send;

use std::process::ExitCode;

use super::args::Import;
use super::error::CliError;
use super::output::Output;
use crate::client::Client;

#[cfg(feature = "import")]
pub(super) async fn import(
    client: &Client,
    args: &Import,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let report = send::all(client, args, output).await?;
    if json {
        output.json(&report.document())?;
    } else {
        output.text(&report.table())?;
        report.explain(output);
    }
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(feature = "import"))]
pub(super) async fn import(
    _client: &Client,
    _args: &Import,
    _json: bool,
    _output: &mut Output,
) -> Result<ExitCode, CliError> {
    let text = "this program was built without the feature `import`: it cannot read SQLite";
    Err(CliError::Usage(text.to_owned()))
}
