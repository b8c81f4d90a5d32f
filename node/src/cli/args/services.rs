//! The command line of what is done with services.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::isolation::LEVELS;
use super::{pair, seconds};

/// `skyclaw deploy`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit code: 0 once all instances run, 1 if it does not come up, 124 if the wait was as long as allowed, 130
after Ctrl-C. After these two it goes on, and `skyclaw service NAME` shows where it stands.")]
pub(in crate::cli) struct Deploy {
    /// Folder with the code; what .skyclawignore and .gitignore name stays here
    pub(in crate::cli) dir: PathBuf,
    /// Name of the service, by which it is called; deployed again, its instances are replaced one
    /// by one [the folder's name]
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Instances wanted [as many as there are, at first 1]
    #[arg(long, value_name = "N", value_parser = replicas())]
    pub(in crate::cli) replicas: Option<u32>,
    /// Environment variable of the service; may be repeated. Who may talk to a coordinator can
    /// read it
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(in crate::cli) env: Vec<(String, String)>,
    /// File with a NAME=VALUE on each line; --env goes before it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) env_file: Option<PathBuf>,
    /// Path that an instance answers below 500 once it can serve [a connection is enough]
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) health: Option<String>,
    /// Between two health checks, in milliseconds
    #[arg(long, value_name = "MS", requires = "health")]
    pub(in crate::cli) health_interval_ms: Option<u64>,
    /// First pause before an instance that ended is started again, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(in crate::cli) backoff_ms: Option<u64>,
    /// What an instance does whose host reaches no coordinator: keep going, or stop, so that there
    /// is never one too many
    #[arg(long, value_name = "keep|stop", value_parser = ["keep", "stop"])]
    pub(in crate::cli) on_partition: Option<String>,
    /// Capability the hosts must have besides `service-host`; may be repeated
    #[arg(long, visible_alias = "capability", value_name = "CAP", value_delimiter = ',')]
    pub(in crate::cli) requires: Vec<String>,
    /// Weakest level at which its hosts may keep it apart from the machine [what the hosts have]
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub(in crate::cli) sandbox: Option<String>,
    /// What it is to reach: any or none; callers reach it in any case. The owners of hosts decide
    /// whether it may [what they give unasked, mostly none]
    #[arg(long, value_name = "any|none", value_parser = ["any", "none"])]
    pub(in crate::cli) network: Option<String>,
    /// Folder within DIR in which the command is started
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cwd: Option<String>,
    /// Command for the shell that is run in DIR first, on this machine: "npm run build"
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) build: Option<String>,
    /// Do not wait until all instances of it run
    #[arg(long)]
    pub(in crate::cli) no_wait: bool,
    /// Longest wait, in seconds; then exit with 124
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub(in crate::cli) timeout: Duration,
    /// The command and its arguments, as the hosts know them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<String>,
}

/// `skyclaw scale`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Scale {
    /// Name or id of the service
    pub(in crate::cli) name: String,
    /// Instances wanted
    #[arg(value_name = "N", value_parser = replicas())]
    pub(in crate::cli) replicas: u32,
}

/// `skyclaw logs`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit code: 0 once all was shown, 1 if it cannot be; with -f of a job 0 if it completed, 1 if it failed; 69 if no
coordinator answered for too long, 130 after Ctrl-C. After these two what writes it goes on.")]
pub(in crate::cli) struct Logs {
    /// Name or id of the service, or id of the job
    pub(in crate::cli) name: String,
    /// Go on with what it says from now on; of a job until it ends, and fail if it did
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// Of a service: lines of each instance to begin with
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(in crate::cli) tail: u32,
    /// Of a service: only this instance; they count from 0
    #[arg(long, alias = "replica", value_name = "N")]
    pub(in crate::cli) instance: Option<u32>,
}

fn replicas() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(skyclaw_protocol::limits::MAX_REPLICAS))
}
