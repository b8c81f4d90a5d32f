//! `skyclaw coordinator|host|gateway`: becomes the daemon in that role.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::error::CliError;

/// The daemon's program, beside this one.
const PROGRAM: &str = "skyclaw-node";

/// Replaces this process; returns only if that failed.
pub(super) fn become_daemon(exe: Option<&Path>, role: &str, args: &[OsString]) -> CliError {
    let program = match exe.and_then(Path::parent) {
        Some(folder) => folder.join(PROGRAM),
        None => PROGRAM.into(),
    };
    let error = Command::new(&program).arg("--role").arg(role).args(args).exec();
    CliError::Daemon { program: program.display().to_string(), reason: error.to_string() }
}
