//! The command line.

use std::process::ExitCode;

use skyclaw_node::cli::{self, Invocation};
use skyclaw_node::config::EnvVars;
use skyclaw_node::supervisor::shim;

fn main() -> ExitCode {
    // `doctor` asks programs of this machine as a host would.
    shim::run_if_asked();
    cli::main(&Invocation {
        args: std::env::args_os().collect(),
        env: EnvVars::from_os(std::env::vars_os()),
        exe: std::env::current_exe().ok(),
        home: std::env::home_dir(),
        colours: cli::wants_colours(|name| std::env::var_os(name)),
    })
}
