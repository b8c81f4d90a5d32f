//! The command line of receipts: fetching one, and checking one without asking anybody.

use std::path::PathBuf;

use clap::Args;

/// `skyclaw receipt`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Receipt {
    /// Id of the job
    pub(in crate::cli) id: String,
}

/// `skyclaw verify`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Verify {
    /// The receipt, or receipts, as `skyclaw receipt` printed it; `-` reads standard input
    #[arg(value_name = "RECEIPT")]
    pub(in crate::cli) receipt: PathBuf,
    /// The job it must be about: a file with what was submitted or what `skyclaw job --json` prints,
    /// or an id, which is asked for at a coordinator
    #[arg(long, value_name = "FILE|ID")]
    pub(in crate::cli) job: Option<String>,
    /// The key that must have signed it, or one of them: a peer id, as `skyclaw peers` shows it, or 64 hexadecimal
    /// digits
    #[arg(long, value_name = "PEER")]
    pub(in crate::cli) host: Option<String>,
    /// File that must hold the standard output of the run
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) stdout: Option<PathBuf>,
    /// File that must hold its standard error
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) stderr: Option<PathBuf>,
    /// File that the run must have left at that path; may be repeated
    #[arg(long, value_name = "PATH=FILE", value_parser = super::pair)]
    pub(in crate::cli) output: Vec<(String, String)>,
}
