//! A node in the foreground: from the settings until a signal.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Node, StartError};
use crate::config::{Config, CoordinatorConfig};
use crate::engine::chain;
use crate::traces;

/// How often a node looks whether its engine is still there.
const WATCH: Duration = Duration::from_secs(1);

/// Runs a node until SIGTERM or SIGINT; a second signal ends it at once. Exit code 0 after a stop
/// that was asked for, 1 if the node could not start or its store was damaged.
pub async fn run(config: &Config) -> ExitCode {
    match until_signal(config).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "[skyclaw] {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn until_signal(config: &Config) -> Result<ExitCode, StartError> {
    let signals = |kind| signal(kind).map_err(|_| StartError::Interrupted);
    let mut term = signals(SignalKind::terminate())?;
    let mut int = signals(SignalKind::interrupt())?;
    // Whatever is set: by default it would end the node, which a reload is not to do.
    let mut hangup = signals(SignalKind::hangup())?;
    if let Some(settings) = &config.coordinator {
        warn_of_open_doors(config, settings);
    }
    let node = tokio::select! {
        node = Node::start(config) => node?,
        _ = term.recv() => return Ok(ExitCode::SUCCESS),
        _ = int.recv() => return Ok(ExitCode::SUCCESS),
    };
    for line in node.coordinator().into_iter().flat_map(super::Coordinator::start_lines) {
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout().lock(), "[skyclaw] {line}");
    }
    let mut code = ExitCode::SUCCESS;
    let mut watch = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hangup.recv() => tracing::info!(
                "asked to read again what can be read again: certificates in files. Settings count from the next start"
            ),
            _ = watch.tick() => {
                if node.is_dead() {
                    code = ExitCode::FAILURE;
                    break;
                }
            }
        }
    }
    tracing::info!("stopping: running jobs get their grace, a second signal ends this at once");
    tokio::select! {
        () = async { node.stop().await; traces::end().await } => {}
        _ = term.recv() => code = ExitCode::FAILURE,
        _ = int.recv() => code = ExitCode::FAILURE,
    }
    Ok(code)
}

/// Says aloud what an operator may not have meant.
fn warn_of_open_doors(config: &Config, settings: &CoordinatorConfig) {
    let loopback = ["127.0.0.1", "::1", "localhost"].contains(&settings.listen_host.as_str());
    if config.token.is_none() && !loopback {
        tracing::warn!(
            address = settings.listen_host,
            "no SKYCLAW_TOKEN is set: whoever reaches this port can run commands on the hosts"
        );
    }
    if settings.min_replications > 1 && settings.p2p.is_none() {
        tracing::warn!(
            copies = settings.min_replications,
            "libp2p is turned off, so no other coordinator can be asked: every job and service is \
             refused with 503 until SKYCLAW_MIN_REPLICATIONS is 1"
        );
    } else if settings.min_replications_auto {
        tracing::info!(
            copies = settings.min_replications,
            "SKYCLAW_MIN_REPLICATIONS is auto: jobs are kept on so many coordinators"
        );
    }
}

/// Stops this process, as by SIGTERM, when its parent `parent` ends in whatever way.
///
/// # Errors
/// If the system refuses, or the parent is gone already.
pub fn stop_with_parent(parent: u32) -> std::io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the line above.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if now == Some(parent) {
        return Ok(());
    }
    Err(std::io::Error::other(format!("process {parent} is not this process's parent")))
}
