//! The command line of looking after a network: what is wrong, and why something stands where it does;
//! and of lending it to an agent.

use std::path::PathBuf;

use clap::Args;

/// `skyclaw why`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Why {
    /// Id of a job, or id or name of a service or a host; before it, if need be, which of these it is:
    /// `job`, `service`, `host`, or `route` for the way of callers to a service
    #[arg(value_name = "ID", num_args = 1..=2, required = true)]
    pub(in crate::cli) what: Vec<String>,
}

/// `skyclaw mcp`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Mcp {
    /// Folder from which the agent may send files, beside the working directory; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) allow_path: Vec<PathBuf>,
}
