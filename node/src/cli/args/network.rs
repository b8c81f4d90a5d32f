//! The command line of membership by tickets.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::lifetime::lifetime;

/// `skyclaw network`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Network {
    #[command(subcommand)]
    pub(in crate::cli) what: NetworkWhat,
}

/// What can be done about a ticket network.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NetworkWhat {
    /// Make a network whose members come by tickets, with this machine as its first coordinator
    Create {
        /// Its name
        name: String,
        /// Folder for the admin's key; the database's folder if not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List members: what they may be, until when, and whether they are here
    Members,
    /// A node, a ticket or a capability does not count any more, from now on and for good
    Revoke {
        /// The node's peer id, or the serial of a ticket or capability
        target: String,
    },
}

/// `skyclaw invite`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Invite {
    /// What the newcomer may be: host, gateway, coordinator, issuer; may be repeated
    #[arg(long, value_name = "ROLE", value_delimiter = ',', default_value = "host")]
    pub(in crate::cli) role: Vec<String>,
    /// How long the ticket counts, such as 30m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = lifetime)]
    pub(in crate::cli) expires: Duration,
    /// How many nodes may use it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(in crate::cli) uses: u32,
    /// The peer id of the one node that may use it
    #[arg(long, value_name = "PEER")]
    pub(in crate::cli) peer: Option<String>,
    /// Show a QR code too, which a terminal gets anyway
    #[arg(long)]
    pub(in crate::cli) qr: bool,
}

/// `skyclaw join`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Join {
    /// The ticket, one line; `-` reads it from standard input, which other users cannot see
    pub(in crate::cli) ticket: String,
}
