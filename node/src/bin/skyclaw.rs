//! The command line.

use std::process::ExitCode;

use skyclaw_node::cli::{self, Invocation};
use skyclaw_node::config::EnvVars;

fn main() -> ExitCode {
    cli::main(&Invocation {
        args: std::env::args_os().collect(),
        env: EnvVars::from_os(std::env::vars_os()),
        exe: std::env::current_exe().ok(),
        home: std::env::home_dir(),
    })
}
