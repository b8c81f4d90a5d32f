//! Tools for services.

use crate::cli::error::CliError;
use crate::cli::mcp::answer::{self, Done};
use crate::cli::mcp::heard::Heard;
use crate::cli::mcp::params::{Deploy, ScaleService, ServiceLogs, ServiceName};
use crate::cli::mcp::server::{Shared, wait};
use crate::cli::{args, deploy as deployment, logs as output_of, services};

/// Seconds a deployment is waited for, and lines of logs, if nothing else is asked for.
const WAIT: u32 = 120;
const LINES: u32 = 100;

/// Most lines of each instance.
const MOST_LINES: u32 = 1000;

pub(in crate::cli::mcp) async fn list(shared: &Shared) -> Done {
    let answer = shared.client.get("/v1/services?details=1").await?;
    let all = services::list_of(&answer)?;
    Ok(vec![answer::list("services", all.iter().map(answer::service).collect())])
}

pub(in crate::cli::mcp) async fn deploy(shared: &Shared, asked: Deploy, heard: Heard) -> Done {
    if asked.command.first().is_none_or(String::is_empty) {
        return Err(CliError::Usage("command must name a program".to_owned()));
    }
    let dir = shared.allowed.path(&asked.path)?;
    let seconds = asked.wait_seconds.unwrap_or(WAIT);
    let args = args::Deploy {
        dir,
        name: asked.name,
        replicas: asked.replicas,
        env: asked.env.into_iter().collect(),
        env_file: None,
        health: asked.health,
        health_interval_ms: None,
        backoff_ms: None,
        on_partition: None,
        requires: asked.requires,
        sandbox: asked.sandbox,
        network: asked.network,
        cwd: None,
        // A command on this machine is nothing for an agent to choose here.
        build: None,
        no_wait: seconds == 0,
        timeout: wait(seconds),
        command: asked.command,
    };
    deployment::deploy(&shared.client, args, false, &mut heard.output()).await?;
    Ok(vec![heard.words(), heard.text()])
}

pub(in crate::cli::mcp) async fn logs(shared: &Shared, asked: ServiceLogs, heard: Heard) -> Done {
    let args = args::Logs {
        name: asked.name,
        follow: false,
        tail: asked.lines.unwrap_or(LINES).min(MOST_LINES),
        instance: asked.instance,
    };
    output_of::logs(&shared.client, &args, false, &mut heard.output()).await?;
    let text = heard.text();
    let text = if text.is_empty() { "it wrote nothing that is known of".to_owned() } else { text };
    Ok(vec![text, heard.words()])
}

pub(in crate::cli::mcp) async fn scale(shared: &Shared, asked: ScaleService, heard: Heard) -> Done {
    let args = args::Scale { name: asked.name, replicas: asked.replicas };
    services::scale(&shared.client, &args, false, &mut heard.output()).await?;
    Ok(vec![heard.text(), heard.words()])
}

pub(in crate::cli::mcp) async fn remove(shared: &Shared, asked: ServiceName, heard: Heard) -> Done {
    services::remove(&shared.client, &asked.name, false, &mut heard.output()).await?;
    Ok(vec![heard.text(), heard.words()])
}
