//! Packs a folder and brings it to a coordinator.

use std::path::Path;

use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::client::Client;

/// The hash of the bundle that is now there.
pub(super) async fn send(_: &Client, dir: &Path, _: &mut Output) -> Result<String, CliError> {
    Err(CliError::Source(format!("{} cannot be packed yet", dir.display())))
}
