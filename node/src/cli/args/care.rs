//! The command line of looking after a network: what is wrong, and why a job stands where it does.

use clap::Args;

/// `skyclaw why`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Why {
    /// Id of the job
    pub(in crate::cli) id: String,
}
