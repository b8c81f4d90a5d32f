//! The command line of what tells shells and `man` of the command line, and all of it as they are to
//! know it.

use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _};

use crate::pages::SHELLS;

/// `skyclaw completions`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Completions {
    /// The shell, which is to read it: `source <(skyclaw completions bash)`
    #[arg(value_name = "SHELL", value_parser = SHELLS)]
    pub(in crate::cli) shell: String,
}

/// `skyclaw man`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Man {
    /// Folder for a page of each command; without it, that of `skyclaw` goes to standard output
    #[arg(value_name = "DIR")]
    pub(in crate::cli) folder: Option<PathBuf>,
}

/// What is read word by word, not by the definition: the original's commands, and the daemon's roles.
const VERBATIM: [(&str, &str, &[&str]); 7] = [
    (
        "enqueue-shell",
        "Submit a shell job and print its id, as the original did",
        &["COMMAND", "ARG"],
    ),
    ("enqueue-openclaw", "Submit an openclaw job and print its id, as the original did", &["ARG"]),
    (
        "deploy-service",
        "Deploy a service and print its id, as the original did",
        &["NAME", "COMMAND", "ARG"],
    ),
    ("list-services", "Print all services as JSON, as the original did", &[]),
    ("coordinator", "Start skyclaw-node in that role, with its options", &["OPTION"]),
    ("host", "Start skyclaw-node in that role, with its options", &["OPTION"]),
    ("gateway", "Start skyclaw-node in that role, with its options", &["OPTION"]),
];

/// Every command there is.
pub(in crate::cli) fn all() -> Command {
    let verbatim = VERBATIM.iter().map(|(name, about, words)| {
        let last = words.len().saturating_sub(1);
        Command::new(*name).about(*about).args(words.iter().enumerate().map(|(at, word)| {
            // None is required here: what is missing, the command itself says.
            let arg = Arg::new(*word).value_name(*word);
            if at == last { arg.num_args(0..).trailing_var_arg(true) } else { arg }
        }))
    });
    super::Cli::command().subcommands(verbatim)
}
