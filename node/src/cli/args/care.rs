//! The command line of looking after a network: what is wrong, and why a job stands where it does;
//! and of lending it to an agent.

use std::path::PathBuf;

use clap::Args;

/// `skyclaw why`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Why {
    /// Id of the job
    pub(in crate::cli) id: String,
}

/// `skyclaw mcp`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Mcp {
    /// Folder from which the agent may send files, beside the working directory; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) allow_path: Vec<PathBuf>,
}
