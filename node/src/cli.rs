//! The command line `skyclaw`: a client of the HTTP API.
//!
//! Always: standard output holds the result alone, with `--json` as one document, also when the
//! command fails; words go to standard error, and say what to do next. The original's commands
//! keep their output and exit codes.

mod agent;
mod args;
mod daemon;
mod deploy;
mod doctor;
mod doubts;
mod error;
mod import;
mod jobs;
mod keys;
mod legacy;
mod logs;
mod mcp;
mod network;
mod original;
mod output;
mod pages;
mod peers;
mod progress;
mod receipt;
mod services;
mod show;
mod top;
mod upload;
mod usage;
mod waiting;
mod why;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use serde_json::Value;

use crate::client::{Client, ClientError};
use crate::config::{ClientConfig, DEFAULT_FILE, EnvVars, Key, Layer, Layers};
use args::{Cli, Command};
pub use error::CliError;
use legacy::Legacy;
pub use output::{Output, wants_colours};

/// How the program was called.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: EnvVars,
    /// The program's own file.
    pub exe: Option<PathBuf>,
    /// The user's own folder.
    pub home: Option<PathBuf>,
    /// Whether the user has nothing against colours, see [`wants_colours`].
    pub colours: bool,
}

/// Does what the arguments say. Errors are printed.
pub fn main(invocation: &Invocation) -> ExitCode {
    let mut output = Output::stdio(invocation.colours);
    let rest = invocation.args.get(1..).unwrap_or_default();
    let words: Vec<String> = rest.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let mut json = false;
    match dispatch(invocation, &words, &mut json, &mut output) {
        Ok(code) => code,
        Err(error) if error.reader_has_gone() => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                // If that cannot be written either, the words below still tell.
                drop(output.json(&error.document()));
            }
            // The original's commands say what they always said, and why nobody was reached.
            let legacy = words.first().is_some_and(|word| Legacy::parse(word).is_some());
            let unreached = matches!(
                error,
                CliError::Client(ClientError::Network { .. } | ClientError::NoUrl { .. })
            );
            if legacy && unreached {
                output.say("fetch failed");
                output.hint(&error.to_string());
            } else {
                output.say(&if legacy { error.to_string() } else { error.words() });
            }
            if let Some(hint) = error.hint().filter(|_| unreached || !legacy) {
                output.hint(&hint);
            }
            error.exit_code()
        }
    }
}

fn dispatch(
    invocation: &Invocation,
    words: &[String],
    json: &mut bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let Some((first, rest)) = words.split_first() else {
        output.text(&usage::text())?;
        return Ok(ExitCode::SUCCESS);
    };
    match first.as_str() {
        "-h" | "--help" => {
            output.text(&usage::text())?;
            Ok(ExitCode::SUCCESS)
        }
        "coordinator" | "host" | "gateway" => {
            let args = invocation.args.get(2..).unwrap_or_default();
            Err(daemon::become_daemon(invocation.exe.as_deref(), first, args))
        }
        word => match Legacy::parse(word) {
            Some(command) => {
                let request = command.request(rest)?;
                let client = client(&invocation.env, Layer::default(), output)?;
                let run = command.run(&client, request, output);
                runtime()?.block_on(run).map(|()| ExitCode::SUCCESS)
            }
            None => modern(invocation, words, json, output),
        },
    }
}

/// The commands that the original did not have.
fn modern(
    invocation: &Invocation,
    words: &[String],
    json: &mut bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let program = std::iter::once("skyclaw");
    let cli = match Cli::try_parse_from(program.chain(words.iter().map(String::as_str))) {
        Ok(cli) => cli,
        Err(error) => {
            // What follows `--` is a job's or a service's.
            *json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
            return misused(&error, words, output);
        }
    };
    *json = cli.global.json;
    match &cli.command {
        Command::Completions(args) => return pages::completions(args, output),
        Command::Man(args) => return pages::man(args, output),
        _ => {}
    }
    let client = client(&invocation.env, cli.global.layer(), output)?;
    runtime()?.block_on(async {
        match cli.command {
            Command::Submit(args) => jobs::submit(&client, args, *json, output).await,
            Command::Agent(args) => agent::agent(&client, *args, *json, output).await,
            Command::Job(args) => jobs::job(&client, args, *json, output).await,
            Command::Jobs(args) => jobs::jobs(&client, &args, *json, output).await,
            Command::Cancel { id } => jobs::cancel(&client, &id, *json, output).await,
            Command::Deploy(args) => deploy::deploy(&client, *args, *json, output).await,
            Command::Services => services::services(&client, *json, output).await,
            Command::Service { name } => services::service(&client, &name, *json, output).await,
            Command::Scale(args) => services::scale(&client, &args, *json, output).await,
            Command::Logs(args) => logs::logs(&client, &args, *json, output).await,
            Command::Remove { name } => services::remove(&client, &name, *json, output).await,
            Command::Receipt(args) => receipt::fetch(&client, &args, output).await,
            Command::Verify(args) => receipt::verify(&client, &args, *json, output).await,
            Command::Hosts => hosts(&client, *json, output).await,
            Command::Top(args) => top::top(&client, &args, *json, output).await,
            Command::Why(args) => why::why(&client, &args, *json, output).await,
            Command::Doctor => {
                let settings = (&invocation.env, cli.global.layer());
                doctor::doctor(&client, settings, *json, output).await
            }
            Command::Keys(args) => keys::run(&client, &args, *json, output).await,
            Command::Peers(args) => peers::run(&client, &args, *json, output).await,
            Command::Network(args) => {
                let settings = (&invocation.env, cli.global.layer());
                network::run(&client, settings, &args, *json, output).await
            }
            Command::Invite(args) => network::invite(&client, &args, *json, output).await,
            Command::Join(args) => {
                network::join((&invocation.env, cli.global.layer()), &args, *json, output)
            }
            Command::Mcp(args) => {
                mcp::serve(client, &args, invocation.home.as_deref(), output).await
            }
            Command::Import(args) => import::import(&client, &args, *json, output).await,
            Command::Completions(args) => pages::completions(&args, output),
            Command::Man(args) => pages::man(&args, output),
        }
    })
}

/// Help, version, or arguments that make no sense.
fn misused(
    error: &clap::Error,
    words: &[String],
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output.text(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::InvalidSubcommand => {
            let word = error.get(clap::error::ContextKind::InvalidSubcommand);
            let word = word.map_or_else(|| words[0].clone(), ToString::to_string);
            Err(CliError::Usage(format!("unknown command: {word}")))
        }
        _ => {
            let text = text.trim();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            Err(CliError::Usage(text.to_owned()))
        }
    }
}

async fn hosts(client: &Client, json: bool, output: &mut Output) -> Result<ExitCode, CliError> {
    let answer = original::hosts(client).await?;
    let Value::Array(hosts) = &answer["hosts"] else { return Err(CliError::Answer("hosts")) };
    if json {
        output.json(&answer)?;
    } else {
        output.text(&show::hosts_table(hosts, jiff::Timestamp::now()))?;
        if hosts.is_empty() {
            output.say("no hosts: start one with `skyclaw-node`");
        }
        for line in show::openclaw_troubles(hosts) {
            output.say(&line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A client as the settings say.
fn client(env: &EnvVars, flags: Layer, output: &mut Output) -> Result<Client, CliError> {
    let layers = Layers::load(flags, env, Path::new(DEFAULT_FILE))?;
    let named = layers.get(Key::Config).is_some();
    let (config, warnings) = ClientConfig::resolve(&layers, named)?;
    for warning in warnings {
        output.say(&format!("warning: {warning}"));
    }
    Ok(Client::new(&config.urls, config.token.as_ref())?)
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Whether a failure may pass by itself.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Network { .. } => true,
        ClientError::Status { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}
