//! Services for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use super::{age, render, shorten, table, text, time, words};
use crate::cli::output::one_line;

/// Services, one per line.
pub(in crate::cli) fn services_table(services: &[Value], now: Timestamp) -> String {
    let mut table = table(&["ID", "NAME", "STATUS", "RUNNING", "AGE", "COMMAND"]);
    for service in services {
        table.add_row([
            text(service, "id"),
            text(service, "name"),
            text(service, "status"),
            format!("{}/{}", running(service), text(service, "replicas")),
            age(&service["createdAt"], now),
            shorten(&words(service["command"].as_str().unwrap_or("-"), &service["args"])),
        ]);
    }
    render(&table)
}

/// Instances that run.
pub(in crate::cli) fn running(service: &Value) -> usize {
    instances(service).iter().filter(|part| part["status"] == "running").count()
}

pub(in crate::cli) fn instances(service: &Value) -> &[Value] {
    service["assignments"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// One service with its instances; `name_of` names a host by its id.
pub(in crate::cli) fn service(
    service: &Value,
    name_of: impl Fn(&str) -> Option<String>,
    now: Timestamp,
) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        if value != "-" {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name:13}{value}");
        }
    };
    line("id", text(service, "id"));
    line("name", text(service, "name"));
    line("status", text(service, "status"));
    line("running", format!("{} of {}", running(service), text(service, "replicas")));
    line("command", words(service["command"].as_str().unwrap_or("-"), &service["args"]));
    line("cwd", text(service, "cwd"));
    line("bundle", text(service, "bundle"));
    line("health", text(&service["health"], "path"));
    line("on partition", text(service, "onPartition"));
    line("network", network(&service["network"]));
    line("generation", text(service, "generation"));
    line("replacing", text(service, "previousGeneration"));
    line("deployed", time(&service["createdAt"], now));
    let back = &service["reverted"];
    if back.is_object() {
        let (number, at) = (text(back, "generation"), age(&back["at"], now));
        line("taken back", format!("generation {number} ({at} ago): {}", text(back, "error")));
    }
    if instances(service).is_empty() {
        return lines;
    }
    let header = ["INSTANCE", "HOST", "STATUS", "SINCE", "GENERATION", "REACHED", "ERROR"];
    let mut table = table(&header);
    for part in sorted(service) {
        let host = text(part, "hostId");
        table.add_row([
            text(part, "slot"),
            name_of(&host).map_or(host, |name| one_line(&name)),
            text(part, "status"),
            age(&part["updatedAt"], now),
            text(part, "generation"),
            reached(part),
            text(part, "error"),
        ]);
    }
    lines.push('\n');
    lines + &render(&table)
}

/// What a service asks to reach.
fn network(asked: &Value) -> String {
    let hosts = asked.as_array().map(|hosts| hosts.iter().filter_map(Value::as_str));
    match hosts {
        Some(hosts) => one_line(&hosts.collect::<Vec<_>>().join(", ")),
        None => asked.as_str().map_or_else(|| "-".to_owned(), one_line),
    }
}

/// By instance, the one that came later below.
fn sorted(service: &Value) -> Vec<&Value> {
    let mut all: Vec<&Value> = instances(service).iter().collect();
    all.sort_by_key(|part| (part["slot"].as_u64(), part["epoch"].as_u64()));
    all
}

/// How gateways reach an instance: by its url, else through the node it runs on.
fn reached(part: &Value) -> String {
    match (part["endpoint"].as_str(), part["node"].as_str()) {
        (Some(url), _) => one_line(url),
        (None, Some(_)) => "libp2p".to_owned(),
        (None, None) => "-".to_owned(),
    }
}
