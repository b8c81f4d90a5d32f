//! Jobs and hosts for people.
//!
//! Always: columns do not change with the data; a member that is missing shows as `-`.

pub(super) mod agent;
pub(super) mod service;
mod verify;

use std::fmt::Write as _;
use std::io;

use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;
use serde_json::Value;
use skyclaw_http_compat::why;
pub(super) use skyclaw_http_compat::why::{text, took};
use skyclaw_protocol::SandboxLevel;

use super::output::{Output, one_line};

/// Longest command shown in a table, in characters.
const COMMAND_WIDTH: usize = 60;

/// Characters shown of what an agent was told: it may be megabytes.
const MESSAGE_CHARS: usize = 200;

/// Jobs, one per line.
pub(super) fn jobs_table<'a>(jobs: impl Iterator<Item = &'a Value>, now: Timestamp) -> String {
    let mut table = table(&["ID", "STATUS", "AGE", "ATTEMPTS", "HOST", "COMMAND"]);
    for job in jobs {
        table.add_row([
            text(job, "id"),
            text(job, "status"),
            age(&job["createdAt"], now),
            text(job, "attempts"),
            text(job, "assignedHostId"),
            shorten(&command(job)),
        ]);
    }
    render(&table)
}

/// Hosts, one per line.
pub(super) fn hosts_table(hosts: &[Value], now: Timestamp) -> String {
    let header = ["ID", "NAME", "SEEN", "JOBS", "SANDBOX", "OPENCLAW", "CAPABILITIES"];
    let mut table = table(&header);
    for host in hosts {
        let capabilities = host["capabilities"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown = |word: &&str| !word.starts_with(SandboxLevel::CAPABILITY);
        let capabilities: Vec<&str> =
            capabilities.iter().filter_map(Value::as_str).filter(shown).collect();
        table.add_row([
            text(host, "id"),
            text(host, "name"),
            age(&host["lastSeenAt"], now),
            format!("{}/{}", text(host, "activeLeases"), text(host, "maxParallel")),
            text(host, "sandbox"),
            text(&host["openclaw"], "version"),
            one_line(&capabilities.join(",")),
        ]);
    }
    render(&table)
}

/// A line for each host whose OpenClaw cannot be used.
pub(super) fn openclaw_troubles(hosts: &[Value]) -> Vec<String> {
    let line = |host: &Value| {
        let trouble = why::trouble(host)?;
        Some(format!("host {}: openclaw unusable: {trouble}", why::name(host)))
    };
    hosts.iter().filter_map(line).collect()
}

/// Nodes, one per line.
pub(super) fn peers_table(peers: &[Value], now: Timestamp) -> String {
    let mut table = table(&["PEER", "NAME", "STATE", "PATH", "SINCE", "RTT", "ROLES", "ADDRESS"]);
    for peer in peers {
        let list = |member: &str| -> Vec<String> {
            let items = peer[member].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(one_line).collect()
        };
        let state = match (&peer["connected"], &peer["original"]) {
            (Value::Bool(true), Value::Bool(true)) => "bridged",
            (Value::Bool(true), _) => "connected",
            _ => "away",
        };
        let path = if peer["original"] == Value::Bool(true) { "http" } else { "-" };
        let path = peer["path"].as_str().map_or_else(|| path.to_owned(), one_line);
        table.add_row([
            text(peer, "peerId"),
            text(peer, "label"),
            state.to_owned(),
            path,
            age(&peer["since"], now),
            peer["rttMs"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
            list("roles").join(","),
            list("addresses").into_iter().next().unwrap_or_else(|| text(peer, "url")),
        ]);
    }
    render(&table)
}

/// Members of a ticket network, one per line.
pub(super) fn members_table(members: &[Value], now: Timestamp) -> String {
    let mut table = table(&["PEER", "NAME", "STATE", "SEEN", "ROLES", "EXPIRES", "SERIAL"]);
    for member in members {
        let roles = member["roles"].as_array().map(Vec::as_slice).unwrap_or_default();
        let roles: Vec<&str> = roles.iter().filter_map(Value::as_str).collect();
        let state = match (member["revokedAt"].is_string(), &member["connected"]) {
            (true, _) => "revoked",
            (false, Value::Bool(true)) => "connected",
            _ => "away",
        };
        table.add_row([
            text(member, "peerId"),
            text(member, "label"),
            state.to_owned(),
            age(&member["lastSeenAt"], now),
            one_line(&roles.join(",")),
            text(member, "expiresAt"),
            text(member, "serial"),
        ]);
    }
    render(&table)
}

/// Keys of the API, one per line; those that count first.
pub(super) fn keys_table(keys: &[Value], now: Timestamp) -> String {
    let mut table = table(&["NAME", "ID", "STATE", "SCOPES", "QUOTAS", "AGE", "MADE BY"]);
    let (counting, gone): (Vec<&Value>, _) =
        keys.iter().partition(|key| key["revokedAt"].is_null());
    for key in counting.into_iter().chain(gone) {
        let scopes = key["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let scopes: Vec<&str> = scopes.iter().filter_map(Value::as_str).collect();
        let quotas = key["quotas"].as_object().into_iter().flatten();
        let quotas: Vec<String> = quotas.map(|(name, most)| format!("{name}={most}")).collect();
        let expires = key["expiresAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let state = match expires {
            _ if !key["revokedAt"].is_null() => "revoked".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(_) => format!("until {}", text(key, "expiresAt")),
            None => "valid".to_owned(),
        };
        table.add_row([
            text(key, "name"),
            text(key, "id"),
            state,
            one_line(&scopes.join(",")),
            if quotas.is_empty() { "-".to_owned() } else { one_line(&quotas.join(",")) },
            age(&key["createdAt"], now),
            text(key, "createdBy"),
        ]);
    }
    render(&table)
}

/// A line for each coordinator of the original that cannot be used.
pub(super) fn troubles(peers: &[Value]) -> Vec<String> {
    let originals = peers.iter().filter(|peer| peer["original"] == Value::Bool(true));
    let troubled = originals.filter(|peer| peer["why"].is_string());
    troubled.map(|peer| format!("original {}: {}", text(peer, "url"), text(peer, "why"))).collect()
}

/// A line for each node that is not let in.
pub(super) fn refusals(refused: &Value, now: Timestamp) -> Vec<String> {
    let refused = refused.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |node: &Value| {
        let verb = if node["by"] == "them" { "refused by" } else { "refused" };
        let (peer, address) = (text(node, "peerId"), text(node, "address"));
        format!("{verb} {peer} at {address}: {} ({} ago)", text(node, "why"), age(&node["at"], now))
    };
    refused.iter().map(line).collect()
}

/// One job with its output.
pub(super) fn job(job: &Value, now: Timestamp, output: &mut Output) -> io::Result<()> {
    let result = &job["result"];
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        if value != "-" {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name:11}{value}");
        }
    };
    line("id", text(job, "id"));
    line("status", text(job, "status"));
    line("command", command(job));
    line("host", text(job, "assignedHostId"));
    line("attempts", text(job, "attempts"));
    line("created", time(&job["createdAt"], now));
    line("lease ends", text(job, "leaseExpiresAt"));
    line("finished", time(&result["finishedAt"], now));
    line("took", result["durationMs"].as_f64().map_or_else(|| "-".to_owned(), took));
    line("exit code", text(result, "exitCode"));
    line("error", text(job, "error"));
    for (name, value) in agent::lines(&result["agent"]) {
        line(name, value);
    }
    for (name, value) in verify::lines(&job["verify"]) {
        line(name, value);
    }
    output.text(&lines)?;
    for name in ["stdout", "stderr"] {
        if let Some(text) = result[name].as_str().filter(|text| !text.is_empty()) {
            output.text(&format!("--- {name} ---\n"))?;
            output.foreign(text)?;
        }
    }
    Ok(())
}

/// What a job runs, as one would type it, roughly.
pub(super) fn command(job: &Value) -> String {
    let payload = &job["payload"];
    if let (Some(super::agent::KIND), Some(message)) =
        (payload["kind"].as_str(), payload["message"].as_str())
    {
        let begin: String = message.trim().chars().take(MESSAGE_CHARS).collect();
        return format!("{}: {}", super::agent::KIND, one_line(&begin));
    }
    let first = match payload["kind"].as_str() {
        Some("shell") => payload["command"].as_str().unwrap_or("-"),
        Some(kind) => kind,
        None => "-",
    };
    words(first, &payload["args"])
}

fn words(first: &str, args: &Value) -> String {
    let args = args.as_array().map(Vec::as_slice).unwrap_or_default();
    let words = std::iter::once(first).chain(args.iter().filter_map(Value::as_str));
    let quoted = words.map(|word| {
        let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '\'');
        if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    one_line(&quoted.collect::<Vec<_>>().join(" "))
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= COMMAND_WIDTH {
        return text.to_owned();
    }
    text.chars().take(COMMAND_WIDTH - 3).chain("...".chars()).collect()
}

/// How long ago, in the largest unit that fits.
pub(super) fn age(time: &Value, now: Timestamp) -> String {
    let Some(then) = time.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "-".to_owned();
    };
    match now.as_second().saturating_sub(then.as_second()).max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{:.0} KiB", bytes as f64 / KIB as f64),
        MIB..GIB => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        _ => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

fn time(time: &Value, now: Timestamp) -> String {
    match time.as_str() {
        Some(text) => format!("{} ({} ago)", one_line(text), age(&Value::from(text), now)),
        None => "-".to_owned(),
    }
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    // Columns begin at the left edge and are two spaces apart.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub(super) fn render(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}
