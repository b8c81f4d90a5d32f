//! A local network of real processes that shows itself working.

use std::process::ExitCode;

/// stub
pub async fn run(_nodes: u16, _once: bool) -> Result<ExitCode, std::io::Error> {
    Ok(ExitCode::SUCCESS)
}
