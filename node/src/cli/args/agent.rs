//! The command line of agent jobs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use skyclaw_protocol::limits::{MAX_RETRY, MAX_TIMEOUT_MS};

use super::seconds;
use crate::cli::waiting::EXIT_CODES;

/// `skyclaw agent`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Agent {
    /// What the agent is to do; without it and --message-file it is read from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "message_file", allow_hyphen_values = true)]
    pub(in crate::cli) message: Option<String>,
    /// File that says what the agent is to do; - for standard input
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) message_file: Option<PathBuf>,
    /// Model, as hosts share it: PROVIDER/NAME [the host's own choice]
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,
    /// Model to take if that one fails; may be repeated
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) fallback: Vec<String>,
    /// How hard it thinks, in OpenClaw's words: off, low, medium, high
    #[arg(long, value_name = "LEVEL")]
    pub(in crate::cli) thinking: Option<String>,
    /// Longest run, in seconds [600]
    #[arg(long, alias = "timeout", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(in crate::cli) run_timeout: Option<u32>,
    /// Tools the agent is to have; the host's owner has the last word
    #[arg(long, value_name = "none|allowlist|full", value_parser = ["none", "allowlist", "full"])]
    pub(in crate::cli) tool_policy: Option<String>,
    /// A prompt fit for small models on the host itself
    #[arg(long)]
    pub(in crate::cli) local_model_lean: bool,
    /// File or folder that is laid into the agent's directory, under its own name or NAME (a folder
    /// named . becomes the directory itself); may be repeated
    #[arg(long, value_name = "PATH[=NAME]")]
    pub(in crate::cli) input: Vec<String>,
    /// Files to keep of what the agent leaves, as a glob: "out/*.png"; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(in crate::cli) output: Vec<String>,
    /// Folder to write the kept files to
    #[arg(long, value_name = "DIR", requires_all = ["wait", "output"])]
    pub(in crate::cli) save: Option<PathBuf>,
    /// Capability the host must have besides OpenClaw; may be repeated
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(in crate::cli) requires: Vec<String>,
    /// It may be run again if its host is lost in the middle; without this it ends as failed then
    #[arg(long)]
    pub(in crate::cli) idempotent: bool,
    /// Ask the Gateway that runs on the host, with its sessions, instead of a fresh agent
    #[arg(long)]
    pub(in crate::cli) gateway: bool,
    /// Agent of that Gateway
    #[arg(long, value_name = "ID", requires = "gateway")]
    pub(in crate::cli) agent_id: Option<String>,
    /// Session of that Gateway, by its key
    #[arg(long, value_name = "KEY", requires = "gateway")]
    pub(in crate::cli) session_key: Option<String>,
    /// Session of that Gateway, by its id
    #[arg(long, value_name = "ID", requires = "gateway")]
    pub(in crate::cli) session_id: Option<String>,
    /// Further runs if the agent fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_RETRY)))]
    pub(in crate::cli) retry: Option<u32>,
    /// Longest wait for a host, in milliseconds; then it ends as failed
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT_MS))]
    pub(in crate::cli) queue_timeout_ms: Option<u64>,
    /// Wait until it has ended, and print its answer; exit with 0 if it went well, else 1
    #[arg(long)]
    pub(in crate::cli) wait: bool,
    /// Longest wait, in seconds; then exit with 124
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub(in crate::cli) wait_timeout: Option<Duration>,
}
