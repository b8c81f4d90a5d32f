//! The daemon.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use skyclaw_node::config::{Config, EnvVars, Layers, NodeArgs, NodeCommand, Resolved};
use skyclaw_node::supervisor::policy::Section;
use skyclaw_node::{config, copies, pages, run, supervisor, telemetry, testnet};

fn main() -> ExitCode {
    // First of all: this process may be the keeper of one job.
    supervisor::shim::run_if_asked();
    let args = match NodeArgs::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(text) => {
            // Help and version are no mistakes; everything else ends with 1, as all our errors do.
            let _ = text.print();
            return match text.use_stderr() {
                // There 1 says that the file is damaged.
                true if names_check(std::env::args_os().skip(1)) => ExitCode::from(copies::UNKNOWN),
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    let checks = matches!(args.command, NodeCommand::Check { .. });
    match start(args) {
        Ok(code) => code,
        Err(text) => {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            // Of a file that was not looked at nothing is known to be wrong.
            if checks { ExitCode::from(copies::UNKNOWN) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether arguments that make no sense are those of `check`: the first of them that is a subcommand.
fn names_check(mut args: impl Iterator<Item = OsString>) -> bool {
    let command = config::node_command();
    args.find(|arg| command.find_subcommand(arg).is_some()).is_some_and(|arg| arg == "check")
}

fn start(args: NodeArgs) -> Result<ExitCode, String> {
    let said = |text: &dyn std::fmt::Display| {
        text.to_string()
            .lines()
            .map(|line| format!("[skyclaw] {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    if let Some(parent) = args.stop_with_parent {
        run::stop_with_parent(parent).map_err(|error| said(&error))?;
    }
    if let NodeCommand::Testnet { nodes: hosts, mdns, once } = args.command {
        let options = testnet::Options { hosts, mdns, once };
        return runtime()?.block_on(testnet::run(options)).map_err(|error| said(&error));
    }
    if args.command == NodeCommand::TestnetService {
        runtime()?.block_on(testnet::hello::serve()).map_err(|error| said(&error))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(told) = told_of(&args.command) {
        return told.map(|()| ExitCode::SUCCESS).map_err(|error| said(&error));
    }
    let env = EnvVars::from_os(std::env::vars_os());
    let default_file = Path::new(skyclaw_node::config::DEFAULT_FILE);
    let layers = Layers::load(args.flags, &env, default_file)
        .and_then(Layers::join)
        .map_err(|error| said(&error))?;
    let Resolved { config, warnings, report } =
        Config::resolve(&layers).map_err(|error| said(&error))?;
    if let NodeCommand::Config { json } = args.command {
        let text =
            if json { format!("{:#}\n", report.to_json(&warnings)) } else { report.to_text() };
        // A closed pipe is the reader's choice.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        for warning in warnings {
            let _ = writeln!(std::io::stderr().lock(), "[skyclaw] {warning}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let NodeCommand::Policy { services, command } = &args.command {
        let section = if *services { Section::Services } else { Section::Jobs };
        let (text, code) =
            run::policy::ask(&config, section, command).map_err(|error| said(&error))?;
        // A closed pipe is the reader's choice.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
        return Ok(ExitCode::from(code));
    }
    if let NodeCommand::Check { file, json } = &args.command {
        let (text, code) = copies::check(&config, file.as_deref(), *json);
        // A closed pipe is the reader's choice.
        let _ = if *json || code == 0 {
            writeln!(std::io::stdout().lock(), "{text}")
        } else {
            writeln!(std::io::stderr().lock(), "{}", said(&text))
        };
        return Ok(ExitCode::from(code));
    }
    let done = match &args.command {
        NodeCommand::Backup { file } => Some(runtime()?.block_on(copies::backup(&config, file))),
        NodeCommand::Restore { file } => Some(copies::restore(&config, file)),
        NodeCommand::Compact => Some(copies::compact(&config)),
        _ => None,
    };
    if let Some(done) = done {
        let text = done.map_err(|error| said(&error))?;
        // A closed pipe is the reader's choice.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let odd = telemetry::init(&config);
    for warning in warnings.iter().chain(&odd) {
        tracing::warn!("{warning}");
    }
    Ok(runtime()?.block_on(run::run(&config)))
}

/// Completions and man pages, which need no settings.
fn told_of(command: &NodeCommand) -> Option<io::Result<()>> {
    let text = match command {
        NodeCommand::Completions { shell } => {
            pages::completions(shell, config::node_command()).map(Ok)?
        }
        NodeCommand::Man { folder: Some(folder) } => {
            return Some(pages::man_pages(config::node_command(), folder));
        }
        NodeCommand::Man { folder: None } => pages::man_page(config::node_command()),
        _ => return None,
    };
    Some(text.map(|text| {
        // A closed pipe is the reader's choice.
        let _ = io::stdout().lock().write_all(&text);
    }))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("[skyclaw] no threads can be had: {error}"))
}
