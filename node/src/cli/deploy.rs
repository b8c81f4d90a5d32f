//! `deploy`: code goes from a folder to hosts and runs there.
//!
//! Always: the service is changed only once its code is on a coordinator, and the command that
//! deployed it deploys it anew when typed again.

mod gateways;
mod source;
mod verdict;
mod wait;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::args::Deploy;
use super::error::CliError;
use super::output::Output;
use super::waiting::unless_interrupted;
use super::{services, upload};
use crate::client::Client;

/// What each service needs of a host.
const SERVICE_HOST: &str = "service-host";

pub(super) async fn deploy(
    client: &Client,
    args: Deploy,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let name = source::name(&args)?;
    let env = source::env(&args)?;
    if let Some(command) = &args.build {
        source::build(&args.dir, command, output).await?;
    }
    let before = services::by_id(client, &name).await?;
    let bundle = upload::folder(client, &args.dir, output).await?;
    let body = request(&args, &name, env, &bundle, before.as_ref());
    let mut answer = client.post("/v1/services?details=1", &body).await?;
    let deployed = services::service_of(&answer)?;
    let wanted = wait::Wanted::of(&name, deployed)?;
    output.say(&wanted.announced());
    if args.no_wait {
        if json {
            output.json(&answer)?;
        } else {
            output.text(&format!("{name}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let waited = wait::until_it_runs(client, &wanted, args.timeout, output);
    let next = format!("`skyclaw service {name}` shows it, `skyclaw remove {name}` ends it");
    let running = unless_interrupted(&name, &next, waited).await?;
    let urls = gateways::urls(client, &name).await;
    if json {
        answer["service"] = running;
        answer["urls"] = json!(urls);
        output.json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    if urls.is_empty() {
        output.say("no gateway shows it: start one with `skyclaw-node --role gateway`, then call");
        output.hint(&format!("http://GATEWAY:8790{}", gateways::path(&name)));
    }
    for url in urls {
        output.text(&format!("{url}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The body of a deployment; members not asked for are left out.
fn request(
    args: &Deploy,
    name: &str,
    env: Vec<(String, String)>,
    bundle: &str,
    before: Option<&Value>,
) -> Value {
    let (command, rest) = args.command.split_first().map_or(("", &[][..]), |(c, r)| (c, r));
    let mut required = vec![SERVICE_HOST];
    required.extend(args.requires.iter().map(String::as_str).filter(|cap| *cap != SERVICE_HOST));
    let as_before = before.and_then(|service| service["replicas"].as_u64());
    let mut body = json!({
        "serviceId": name, "name": name, "command": command, "args": rest,
        "replicas": args.replicas.map(u64::from).or(as_before).unwrap_or(1),
        "requiredCapabilities": required, "bundle": bundle,
    });
    if let Some(cwd) = &args.cwd {
        body["cwd"] = json!(cwd);
    }
    if !env.is_empty() {
        let env = env.into_iter().map(|(name, value)| (name, json!(value)));
        body["env"] = Value::Object(env.collect());
    }
    if let Some(path) = &args.health {
        let mut health = Map::new();
        health.insert("path".to_owned(), json!(path));
        if let Some(ms) = args.health_interval_ms {
            health.insert("intervalMs".to_owned(), json!(ms));
        }
        body["health"] = Value::Object(health);
    }
    if let Some(ms) = args.backoff_ms {
        body["restart"] = json!({ "backoffMs": ms });
    }
    if let Some(choice) = &args.on_partition {
        body["onPartition"] = json!(choice);
    }
    if let Some(level) = &args.sandbox {
        body["sandbox"] = json!(level);
    }
    if let Some(network) = &args.network {
        body["network"] = json!(network);
    }
    body
}
