//! The command line of `skyclaw-node`.
//!
//! Always: flags come from the table of settings, so none can be missing or told twice. A flag that
//! does nothing for a subcommand is not in its help and is refused.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::layer::{Layer, Origin, is_list};
use super::setting::{Key, SETTINGS, Secrecy, Setting};
use super::value::{Kind, Value, list};

/// What `skyclaw-node` was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeArgs {
    /// Settings given as flags.
    pub flags: Layer,
    /// The subcommand.
    pub command: NodeCommand,
    /// Stop when the parent process, which has this id, ends.
    pub stop_with_parent: Option<u32>,
}

/// The subcommands of `skyclaw-node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// Run the node; also when none is named.
    Run,
    /// Print the settings and where each comes from.
    Config {
        /// As one JSON document.
        json: bool,
    },
    /// Copy the database, of a running node or of one that stands still.
    Backup {
        /// Where to; nothing may stand there.
        file: PathBuf,
    },
    /// Make a database of a backup.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Say whether a database, or a backup, is whole.
    Check {
        /// Which; that of the settings if none is named.
        file: Option<PathBuf>,
        /// As one JSON document.
        json: bool,
    },
    /// Give the free room in the database back.
    Compact,
    /// Say what the host's rules come to, or what they say to a command.
    Policy {
        /// As the command of a service, rather than of a job.
        services: bool,
        /// The command and its arguments; empty for all rules.
        command: Vec<String>,
    },
    /// Start a local network of processes.
    Testnet {
        /// Hosts, beside three coordinators.
        nodes: u16,
        /// The nodes find each other on the LAN instead of by given addresses.
        mdns: bool,
        /// End after the check.
        once: bool,
    },
    /// Be the service that a testnet deploys.
    TestnetService,
    /// Print what lets a shell complete the command line.
    Completions {
        /// The shell.
        shell: String,
    },
    /// Print the man page, or write one for each subcommand.
    Man {
        /// Where to; without it, to standard output.
        folder: Option<PathBuf>,
    },
}

/// Settings shown by `-h`; `--help` shows all.
const MAIN: &[Key] = &[
    Key::Role,
    Key::Config,
    Key::CoordinatorUrls,
    Key::CoordinatorHost,
    Key::CoordinatorPort,
    Key::DbPath,
    Key::NodeId,
    Key::PublicUrl,
    Key::PeerUrls,
    Key::Bootstrap,
    Key::MaxParallel,
    Key::Log,
];

/// What stands below all flags. Whoever looks for a secret there finds none.
fn after_help() -> String {
    let hidden = |setting: &&Setting| {
        setting.flag.is_none() && matches!(setting.secrecy, Secrecy::Hidden | Secrecy::ApiKeys)
    };
    let secrets: Vec<&str> = SETTINGS.iter().filter(hidden).map(|setting| setting.env).collect();
    let lines: Vec<String> = secrets.chunks(3).map(|line| line.join(", ")).collect();
    format!(
        "Settings are taken from flags, then SKYCLAW_* variables, then skyclaw.toml, then defaults.\n\
         Secrets have no flag, only variables; those of Skyclaw may stand in the file:\n  {}\n\
         `skyclaw-node config` shows every setting and where it comes from.",
        lines.join(",\n  ")
    )
}

const CHECK_HELP: &str = "\
Exit code: 0 if nothing is wrong, 1 if something is, 2 if it could not be checked.
Of a node that runs: `skyclaw-node backup FILE`, then `skyclaw-node check FILE`.";

impl NodeArgs {
    /// Parses the arguments, the program's name first.
    ///
    /// # Errors
    /// Help, version or a mistake. `clap::Error::print` prints it; a mistake
    /// (`clap::Error::use_stderr`) ends the process with 1, as other wrong settings do.
    pub fn parse<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(args)?;
        let mut inner = &matches;
        let mut name = "run";
        if let Some((sub, sub_matches)) = matches.subcommand() {
            name = sub;
            inner = sub_matches;
        }
        if let Some(flag) = idle_flag(name, inner) {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                format!("--{flag} does nothing for `{name}`; see `skyclaw-node {name} --help`\n"),
            ));
        }
        let command = match name {
            "config" => NodeCommand::Config { json: inner.get_flag("json") },
            "backup" => NodeCommand::Backup { file: path(inner) },
            "restore" => NodeCommand::Restore { file: path(inner) },
            "check" => NodeCommand::Check {
                file: inner.get_one("file").cloned(),
                json: inner.get_flag("json"),
            },
            "compact" => NodeCommand::Compact,
            "policy" => NodeCommand::Policy {
                services: inner.get_flag("services"),
                command: inner.get_many("command").into_iter().flatten().cloned().collect(),
            },
            "testnet" => NodeCommand::Testnet {
                nodes: inner.get_one("nodes").copied().unwrap_or(DEFAULT_NODES),
                mdns: inner.get_one::<String>(MDNS).is_some_and(|word| word == "1"),
                once: inner.get_flag("once"),
            },
            "testnet-service" => NodeCommand::TestnetService,
            "completions" => NodeCommand::Completions {
                shell: inner.get_one("shell").cloned().unwrap_or_default(),
            },
            "man" => NodeCommand::Man { folder: inner.get_one("folder").cloned() },
            _ => NodeCommand::Run,
        };
        let stop_with_parent = inner.get_one(STOP_WITH_PARENT).copied();
        Ok(Self { flags: flags(inner)?, command, stop_with_parent })
    }
}

/// For programs that start nodes: no node is left behind when they are killed.
const STOP_WITH_PARENT: &str = "stop-with-parent";

/// Hosts of a testnet: one more than it has coordinators, so that a job shows which one ran it.
const DEFAULT_NODES: u16 = 3;

/// The one setting of nodes that a testnet has as well. There it needs no value.
const MDNS: &str = "SKYCLAW_MDNS";

/// A flag that was given and that this subcommand has no use for: the nodes of a testnet have
/// settings of their own, and what prints and ends outlives nobody.
fn idle_flag(command: &str, matches: &ArgMatches) -> Option<&'static str> {
    let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    match command {
        "testnet" | "completions" | "man" => {
            let used = |setting: &Setting| command == "testnet" && setting.env == MDNS;
            let idle = |setting: &Setting| !used(setting) && given(setting.env);
            SETTINGS.iter().find_map(|setting| setting.flag.filter(|_| idle(setting)))
        }
        "config" | "backup" | "check" | "restore" | "compact" | "policy" => {
            given(STOP_WITH_PARENT).then_some(STOP_WITH_PARENT)
        }
        _ => None,
    }
}

/// The definition of the command line, for help, completions and man pages.
#[must_use]
pub fn command() -> Command {
    Command::new("skyclaw-node")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Skyclaw daemon: takes jobs and services, and runs them")
        .after_help(after_help())
        .args(SETTINGS.iter().filter_map(arg))
        .arg(stop_with_parent())
        .subcommand(Command::new("run").about("Run the node (also when no command is named)"))
        .subcommand(
            Command::new("config")
                .about("Print the settings and where each comes from")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As one JSON document"),
                )
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("backup")
                .about("Copy the database to a new file, also while the node runs")
                .arg(file("The file to make; it holds every payload and no secret key"))
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("restore")
                .about(
                    "Make a database at SKYCLAW_DB_PATH from a backup; the node is a new one then",
                )
                .arg(file("What `backup` made"))
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("check")
                .about(
                    "Say whether a database that no node uses, or a backup, is whole; it is not changed",
                )
                .after_help(CHECK_HELP)
                .arg(file("The file; the database at SKYCLAW_DB_PATH if none is named").required(false))
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As one JSON document"),
                )
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("compact")
                .about("Give free room in the database back, while the node stands still")
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("policy")
                .about("Say which rule of this host allows or refuses a command, by this shell's PATH; without one, check the rules")
                .arg(
                    Arg::new("services")
                        .long("services")
                        .action(ArgAction::SetTrue)
                        .help("As the command of a service, rather than of a job"),
                )
                .arg(
                    Arg::new("command")
                        .value_name("COMMAND")
                        .num_args(1..)
                        .last(true)
                        .help("A command and its arguments; ends with 126 if they are refused, 127 if there is no such program"),
                )
                .arg(stop_with_parent().hide(true)),
        )
        .subcommand(
            Command::new("completions")
                .about("Print what lets a shell complete this command line")
                .arg(
                    Arg::new("shell")
                        .value_name("SHELL")
                        .value_parser(crate::pages::SHELLS)
                        .required(true)
                        .help("The shell, which is to read it: `source <(skyclaw-node completions bash)`"),
                )
                .args(unused()),
        )
        .subcommand(
            Command::new("man")
                .about("Print the man page, or write that of each subcommand to a folder")
                .arg(
                    Arg::new("folder")
                        .value_name("DIR")
                        .value_parser(clap::value_parser!(PathBuf))
                        .help("Folder for the pages; without it, to standard output"),
                )
                .args(unused()),
        )
        .subcommand(Command::new("testnet-service").hide(true))
        .subcommand(
            Command::new("testnet")
                .about("Start a local network: three coordinators, some hosts and a gateway")
                .args(unused().filter(|arg| arg.get_id() != MDNS))
                .arg(
                    Arg::new("nodes")
                        .long("nodes")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u16).range(2..=64))
                        .help("Hosts, beside three coordinators [default: 3]"),
                )
                .arg(
                    Arg::new(MDNS)
                        .long("mdns")
                        .value_name("0|1")
                        .num_args(0..=1)
                        .default_missing_value("1")
                        .help("Let the nodes find each other on the LAN instead of telling them"),
                )
                .arg(
                    Arg::new("once")
                        .long("once")
                        .action(ArgAction::SetTrue)
                        .help("End after the check, with 0 if it went well"),
                ),
        )
}

/// The settings for a subcommand that has none. They stand there, and so are not taken over from
/// above: known, to be refused in words.
fn unused() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter_map(arg).map(|arg| arg.hide(true))
}

fn file(help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .required(true)
        .help(help)
}

fn path(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("file").cloned().unwrap_or_default()
}

fn stop_with_parent() -> Arg {
    Arg::new(STOP_WITH_PARENT)
        .long(STOP_WITH_PARENT)
        .value_name("PID")
        .value_parser(clap::value_parser!(u32))
        .help("Stop when the parent process, which must have this id, ends")
        .hide_short_help(true)
        .display_order(900)
        .global(true)
}

fn arg(setting: &Setting) -> Option<Arg> {
    let default = setting.fallback.words();
    let default = default.map_or_else(String::new, |default| format!(" [default: {default}]"));
    let arg = Arg::new(setting.env)
        .long(setting.flag?)
        .value_name(value_name(setting.kind))
        .help(format!("{}{default} [env: {}]", setting.doc, setting.env))
        .help_heading(setting.part.heading())
        .hide_short_help(!MAIN.contains(&setting.key))
        .allow_negative_numbers(true)
        .global(true);
    Some(if is_list(setting.kind) { arg.action(ArgAction::Append) } else { arg })
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Verbatim => "TEXT",
        Kind::OneOf(_) => "WORD",
        Kind::Path => "PATH",
        Kind::Url | Kind::UrlList => "URL",
        Kind::List => "LIST",
        Kind::Roles => "ROLES",
        Kind::Switch => "0|1",
        Kind::Int { unit: "ms", .. } => "MS",
        Kind::Int { unit: "bytes", .. } => "BYTES",
        Kind::Int { .. } => "N",
        Kind::AutoInt { .. } => "N|auto",
        Kind::Port => "PORT",
    }
}

/// Flags are read by the same rules, but strictly: nobody types `1x` on purpose.
fn flags(matches: &ArgMatches) -> Result<Layer, clap::Error> {
    let mut layer = Layer::default();
    for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
        let Some(texts) = matches.get_many::<String>(setting.env) else { continue };
        let texts: Vec<&String> = texts.collect();
        if is_list(setting.kind) {
            let items = texts.iter().flat_map(|text| list(text)).collect();
            layer.set(setting.key, Value::List(items), Origin::Flag);
        } else if let Some(text) = texts.last() {
            let numeric =
                matches!(setting.kind, Kind::Int { .. } | Kind::AutoInt { .. } | Kind::Port);
            let auto = matches!(setting.kind, Kind::AutoInt { .. }) && *text == "auto";
            let switch = matches!(setting.kind, Kind::Switch);
            if (numeric && !auto && text.parse::<i64>().is_err())
                || (switch && *text != "0" && *text != "1")
            {
                return Err(clap::Error::raw(
                    clap::error::ErrorKind::ValueValidation,
                    format!(
                        "--{} is `{text}`, allowed is {}\n",
                        setting.flag.unwrap_or_default(),
                        setting.kind.allowed()
                    ),
                ));
            }
            layer.read(setting.key, text, Origin::Flag);
        }
    }
    Ok(layer)
}
