//! What the program does, seen from outside: real processes, real sockets, real files.
//!
//! Names are behaviours. W1, J2, L3, F08 and the like are the points of the original's contract
//! and of its defects that a test is about.

mod adversary;
mod agent;
mod architecture;
mod backup;
mod beside_originals;
mod blobs;
mod bridge;
mod care;
mod chaos;
mod check;
mod cli;
mod clock;
mod cost;
mod disk;
mod egress;
mod elsewhere;
mod events;
mod examples;
mod fakes;
mod framing;
mod fuzz;
mod host_embedded;
mod host_http;
mod host_p2p;
mod host_services;
mod hosts;
mod idempotency;
mod import;
mod insight;
mod job_output;
mod job_program;
mod jobs;
mod leases;
mod mcp;
mod moving;
mod namespaces;
mod nat;
mod network;
mod numbers;
mod on_partition;
mod packaging;
mod pages;
mod peers;
mod policy;
mod principals;
mod public_api;
mod quorum;
mod receipts;
mod repair;
mod replicate;
mod restart;
mod retry;
mod sandbox;
mod sealed;
mod service_logs;
mod services;
mod shards;
mod shutdown;
mod start;
mod testnet;
mod tickets;
mod tls;
mod top;
mod ts_api;
mod verify;
mod waiting;
mod why;

use serde_json::Value;
use skyclaw_tests::cluster;

/// The text member `name` of a record.
#[track_caller]
fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    let member = record[name].as_str();
    assert!(member.is_some(), "no text `{name}` in {record}");
    member.unwrap_or_default()
}

/// The whole number `name` of a record.
#[track_caller]
fn number(record: &Value, name: &str) -> u64 {
    let member = record[name].as_u64();
    assert!(member.is_some(), "no number `{name}` in {record}");
    member.unwrap_or_default()
}

/// Whether these words are in a file's bytes.
fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}

/// The names of a record's members.
#[track_caller]
fn members(record: &Value) -> Vec<&str> {
    let map = record.as_object();
    assert!(map.is_some(), "no record: {record}");
    map.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}
