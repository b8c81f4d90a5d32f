//! The command line of keys of the API.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::lifetime::lifetime;

/// `skyclaw keys`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Keys {
    #[command(subcommand)]
    pub(in crate::cli) what: Option<KeysWhat>,
}

/// What can be done about keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysWhat {
    /// Make a key, and show it once
    Create(Create),
    /// Refuse a key from now on, at every coordinator
    Revoke {
        /// Its name or id
        which: String,
    },
}

/// `skyclaw keys create`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Create {
    /// What it is called: jobs and services that it makes bear the name
    pub(in crate::cli) name: String,
    /// What it may do: submit, deploy, read, host or admin; may be repeated
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        value_delimiter = ',',
        value_parser = ["submit", "deploy", "read", "host", "admin"]
    )]
    pub(in crate::cli) scopes: Vec<String>,
    /// Jobs of it that may wait at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) queued: Option<u32>,
    /// Jobs of it that may run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) running: Option<u32>,
    /// Submissions and deployments in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_minute: Option<u32>,
    /// Bytes of payloads and files in a day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) bytes: Option<u64>,
    /// How long it counts, such as 30m, 12h or 30d; for ever without
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(in crate::cli) expires: Option<Duration>,
}
