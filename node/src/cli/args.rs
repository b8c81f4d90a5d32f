//! The command line of the commands that the original did not have.

mod agent;
mod care;
mod isolation;
mod keys;
mod lifetime;
mod network;
mod pages;
mod receipt;
mod services;
mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::waiting::EXIT_CODES;
use crate::config::{Key, Layer, Origin, Value};
pub(super) use agent::Agent;
pub(super) use care::{Mcp, Why};
pub(super) use isolation::Isolation;
pub(super) use keys::{Create as KeysCreate, Keys, KeysWhat};
pub(super) use network::{Invite, Join, Network, NetworkWhat};
pub(super) use pages::{Completions, Man, all};
pub(super) use receipt::{Receipt, Verify};
pub(super) use services::{Deploy, Logs, Scale};
pub(super) use top::Top;

/// Attempts of a job that may be lost with their host, if nothing else is said.
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// `skyclaw`, without the original's commands: those take their arguments verbatim.
#[derive(Debug, Parser)]
#[command(
    name = "skyclaw",
    version,
    disable_help_subcommand = true,
    about = "The command line of Skyclaw"
)]
pub(super) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(super) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// Coordinator to talk to; may be repeated, tried in order
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',')]
    pub(super) coordinator_url: Vec<String>,
    /// File with settings
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Print one JSON document; of logs, one for each line
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Global {
    /// The settings among them.
    #[must_use]
    pub(super) fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        if !self.coordinator_url.is_empty() {
            let urls = Value::List(self.coordinator_url.clone());
            layer.set(Key::CoordinatorUrls, urls, Origin::Flag);
        }
        if let Some(path) = &self.config {
            let path = Value::Text(path.to_string_lossy().into_owned());
            layer.set(Key::Config, path, Origin::Flag);
        }
        layer
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Submit a shell job
    Submit(Submit),
    /// Give an OpenClaw agent something to do, on a host that has one
    Agent(Box<Agent>),
    /// Show a job with its output
    Job(Job),
    /// List jobs, the newest last
    Jobs(Jobs),
    /// End a job that has not ended
    Cancel {
        /// Id of the job
        id: String,
    },
    /// Bring the code in a folder to hosts, and run it there
    Deploy(Box<Deploy>),
    /// List services
    Services,
    /// Show a service with its instances
    Service {
        /// Name or id of the service
        name: String,
    },
    /// Change how many instances of a service there are
    Scale(Scale),
    /// Show what a job or service writes to its outputs
    Logs(Logs),
    /// End a service everywhere
    Remove {
        /// Name or id of the service
        name: String,
    },
    /// Say why a job waits, a service lacks instances, a host is idle or calls do not arrive, and what would
    /// change that
    Why(Why),
    /// Print its host's signed word of the run of a job, to be kept
    Receipt(Receipt),
    /// Check a receipt without asking anybody; exit with 0 if it holds, else 1
    Verify(Verify),
    /// List hosts
    Hosts,
    /// Show jobs, hosts and services as they change, until `q` is pressed
    Top(Top),
    /// Say what is wrong with the network as seen from here, and what to do
    Doctor,
    /// List the nodes that the coordinator has found, and those it refused
    Peers(Peers),
    /// Make a network whose members come by tickets; look at its members, revoke one
    Network(Network),
    /// Print a ticket: one line that lets another machine join
    Invite(Invite),
    /// Join a network with a ticket
    Join(Join),
    /// List the keys of the API, make one, or revoke one
    Keys(Keys),
    /// Serve these commands to an agent, as tools over MCP on standard input and output
    Mcp(Mcp),
    /// Take over what an original coordinator kept in its database
    Import(Import),
    /// Print what lets a shell complete this command line
    Completions(Completions),
    /// Print the man page, or write that of each command to a folder
    Man(Man),
}

/// `skyclaw import`.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// The original's database, as its SKYCLAW_DB_PATH named it; it is not changed
    pub(super) path: PathBuf,
    /// Only say what would be taken
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not wait for leases that have not run out; their jobs are taken when this is typed again
    #[arg(long)]
    pub(super) no_wait: bool,
}

/// `skyclaw peers`.
#[derive(Args, Debug)]
pub(super) struct Peers {
    #[command(subcommand)]
    pub(super) what: Option<PeersWhat>,
}

/// What can be done about peers.
#[derive(Debug, Subcommand)]
pub(super) enum PeersWhat {
    /// A coordinator of the original is gone for good; with the last one, what they had taken and
    /// not ended becomes this network's
    Forget {
        /// Its url
        url: String,
    },
}

/// `skyclaw submit`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Submit {
    /// Wait until it has ended; exit with 0 if it went well, else 1
    #[arg(long)]
    pub(super) wait: bool,
    /// Show what it writes as it comes, until it has ended; exit with 0 if it went well, else 1
    #[arg(short, long, conflicts_with = "wait")]
    pub(super) follow: bool,
    /// Longest wait, in seconds; then exit with 124
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Longest run, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(super) timeout_ms: Option<u64>,
    /// Longest wait for a host, in milliseconds; then it ends as failed
    #[arg(long, value_name = "MS")]
    pub(super) queue_timeout_ms: Option<u64>,
    /// Attempts that may be lost with their host before it ends as failed; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = MAX_ATTEMPTS)]
    pub(super) max_attempts: u32,
    /// Further runs if the command fails
    #[arg(long, value_name = "N")]
    pub(super) retry: Option<u32>,
    /// Run it on up to so many distinct hosts, at most 5, and take only what enough of them agree on
    #[arg(long, value_name = "N", conflicts_with = "retry")]
    pub(super) copies: Option<u8>,
    /// How many must agree; all of them otherwise
    #[arg(long, value_name = "N", requires = "copies")]
    pub(super) agree: Option<u8>,
    /// Environment variable of the job; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) env: Vec<(String, String)>,
    /// Working directory on the host
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<String>,
    /// Capability the host must have besides `shell`; may be repeated
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(super) requires: Vec<String>,
    #[command(flatten)]
    pub(super) isolation: Isolation,
    /// The command and its arguments; all that follows the command is the job's
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

/// `skyclaw job`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Job {
    /// Id of the job
    pub(super) id: String,
    /// Wait until it has ended; exit with 0 if it went well, else 1
    #[arg(long)]
    pub(super) wait: bool,
    /// Longest wait, in seconds; then exit with 124
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Folder to write the files to that it left, once it has ended
    #[arg(long, value_name = "DIR")]
    pub(super) save: Option<PathBuf>,
}

/// `skyclaw jobs`.
#[derive(Args, Debug)]
pub(super) struct Jobs {
    /// Only those: queued, leased, completed or failed
    #[arg(long, value_name = "STATUS", value_parser = ["queued", "leased", "completed", "failed"])]
    pub(super) status: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds as a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
