//! Whole documents: policies, settings, receipts, what originals hold, payloads.
//!
//! Always: a refusal says where; a record that cannot be is refused alone, and none is made up.

use std::path::Path;

use serde_json::{Value, json};
use skyclaw_http_compat::{check_payload, import, receipt, snapshot};
use skyclaw_node::config::parse_file;
use skyclaw_node::supervisor::policy::PolicyFile;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::{Hash, HostId, JobId, Milli, NetworkId, OutputFile, SandboxLevel};

use crate::engine::targets;

/// 2026-01-02T03:04:05.678Z.
const NOW: Wall = Wall(1_767_323_045_678);
const ISO: &str = "2026-01-02T03:04:05.678Z";

targets! {
    policies { policies, &POLICY_WORDS, policy }
    settings { settings, &SETTING_WORDS, setting }
    receipts { receipts, &["null", "1e400", "-0", "\"\"", "\\u0000", "\\ud800"], receipt_document }
    snapshots { snapshots, &JSON_WORDS, a_snapshot }
    import_pages { pages, &JSON_WORDS, page }
    payloads { payloads, &PAYLOAD_WORDS, payload }
}

const POLICY_WORDS: [&str; 14] = [
    "\"allowlist\"",
    "\"full\"",
    "\"deny\"",
    "\"egress\":[\"*\"]",
    "\"network\":\"any\"",
    "(a+)+$",
    "[",
    "\"argPattern\":\".*\"",
    "**",
    "~/",
    "//x\n",
    "/*",
    "null",
    "18446744073709551616",
];
const SETTING_WORDS: [&str; 12] = [
    "lease_ms = 1",
    "network = ",
    "[",
    "]",
    "'",
    "\"\"\"",
    "\n",
    "= ",
    "true",
    "1e9",
    "0x7f",
    "1979-05-27",
];
const JSON_WORDS: [&str; 12] = [
    "null",
    "[]",
    "{}",
    "1e400",
    "-1",
    "9007199254740993",
    "\\ud800",
    "\"\"",
    "\"version\":1,",
    "\"id\":\"a\",",
    "\u{feff}",
    "0001-01-01T00:00:00.000Z",
];
const PAYLOAD_WORDS: [&str; 10] = [
    "\"inputs\":[],",
    "\"outputs\":[\"**\"],",
    "\"network\":[\"*\"],",
    "\"..\"",
    "null",
    "1e400",
    "\"timeoutMs\":1,",
    "\"kind\":\"openclaw-agent\",",
    "\"message\":\"m\",",
    "\\u0000",
];

fn named(kind: &str, texts: &[String]) -> Vec<(String, Vec<u8>)> {
    let of = |(n, text): (usize, &String)| (format!("{kind}-{n}"), text.clone().into_bytes());
    texts.iter().enumerate().map(of).collect()
}

/// Good and bad ones, and those that are bad everywhere in JSON.
fn made(good: &[String], bad: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut bad: Vec<String> = bad.iter().map(|text| (*text).to_owned()).collect();
    bad.extend(["{".into(), "[".repeat(5000), "{\"a\":".repeat(3000)]);
    [named("ok", good), named("no", &bad)].concat()
}

fn policies() -> Vec<(String, Vec<u8>)> {
    let small = json!({ "version": 1, "jobs": { "allowlist": [{ "pattern": "uname" }] } });
    let large = json!({
        "version": 1,
        "defaults": { "security": "allowlist", "ask": "off", "askFallback": "deny" },
        "jobs": {
            "allowlist": [{ "pattern": "uname", "argPattern": "-[a-z]" }, { "pattern": "/opt/**" }],
            "network": "allowlist", "egress": ["api.example.org", "*.example.net:8443"],
        },
        "services": { "allowlist": [{ "pattern": "~/bin/node" }], "network": "any" },
        "agents": { "security": "deny" },
        "read": ["/srv/models"], "write": ["/srv/scratch"],
        "memoryBytes": 2_147_483_648_u64, "processes": 256, "diskBytes": 4_294_967_296_u64,
    });
    let good = [small.to_string(), format!("{large:#}")];
    made(&good, &["", "{\"version\":2}", "{\"version\":1,\"version\":1,\"x\":1}"])
}

fn policy(bytes: &[u8]) -> bool {
    match PolicyFile::parse(bytes, Path::new("dir/policy.json"), Some("/nobody")) {
        Ok(policy) => {
            let _ = (policy.agents(), policy.bounds(), policy.folders());
            true
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains("dir/policy.json"), "{told} does not say where");
            assert!(told.len() < 4096 + bytes.len());
            false
        }
    }
}

fn settings() -> Vec<(String, Vec<u8>)> {
    let good = [
        String::new(),
        "# a comment\nlease_ms = 1000\npeer_discovery = false\ncapabilities = ['a', 'b']\n".into(),
        "network = \"home\"\nrole = 'coordinator'\ntoken = '''a secret'''\n".into(),
    ];
    let bad = ["leese_ms = 2", "[coordinator]\nport = 1", "lease_ms = 1.5", "lease_ms = = 2"];
    made(&good, &bad)
}

fn setting(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match parse_file(text, Path::new("dir/skyclaw.toml")) {
        Ok(_) => true,
        Err(errors) => {
            let told = errors.to_string();
            assert!(told.contains("dir/skyclaw.toml:"), "{told} does not say where");
            false
        }
    }
}

fn a_receipt() -> Value {
    let hash = |text: &str| Hash::of(text.as_bytes());
    let key = NodeKey::from_seed(&[5; 32]);
    let network = NetworkId::of_name("local");
    let receipt = Receipt {
        version: Receipt::VERSION,
        network,
        network_name: "local".to_owned(),
        job: JobId::new("job_1").expect("an id"),
        spec: Some(hash("spec")),
        payload: hash("payload"),
        attempt: 2,
        host: HostId::new("host_1").expect("an id"),
        node: key.id(),
        started: Wall(1_800_000_000_001),
        ended: Wall(1_800_000_002_501),
        duration: Milli(2_500_250),
        success: false,
        exit_code: -1,
        error: Some(hash("why")),
        stdout: hash("out"),
        stderr: hash(""),
        outputs: vec![OutputFile { path: "out/\u{e4}".into(), hash: hash("file"), bytes: 4 }],
        truncated: true,
        sandbox: SandboxLevel::Landlock,
        policy: hash("policy"),
        agent: None,
    };
    receipt::show(Signed::seal(&key, network, receipt).raw()).expect("it is one")
}

fn receipts() -> Vec<(String, Vec<u8>)> {
    let whole = a_receipt();
    let mut less = whole.clone();
    less["signature"] = json!("00".repeat(64));
    made(&[whole.to_string(), format!("{whole:#}"), less.to_string()], &["null", "{}", "[1]"])
}

/// What holds is the one that was signed, however it is spelled.
fn receipt_document(bytes: &[u8]) -> bool {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return false };
    match receipt::read(&document) {
        Ok(raw) => {
            if let Ok(signed) = Receipt::open(raw.clone()) {
                let shown = receipt::show(signed.raw()).expect("it was opened");
                assert_eq!(shown, a_receipt(), "an altered receipt holds");
            }
            if let Some(shown) = receipt::show(&raw) {
                assert_eq!(receipt::read(&shown).as_ref(), Ok(&raw));
            }
            true
        }
        Err(error) => {
            assert!((1..2048 + bytes.len()).contains(&error.to_string().len()));
            false
        }
    }
}

fn host() -> Value {
    json!({
        "id": "host_1", "name": "a host", "capabilities": ["openclaw", "shell"],
        "maxParallel": 2.5, "activeLeases": 1, "lastSeenAt": ISO, "registeredAt": ISO,
        "updatedBy": "node_a", "version": 7,
    })
}

fn job() -> Value {
    json!({
        "id": "job_1", "createdAt": ISO, "updatedAt": ISO, "updatedBy": "node_a", "version": 9,
        "status": "completed", "attempts": 1,
        "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "echo", "args": ["a  b"] },
        "submittedBy": "someone", "assignedHostId": "host_1",
        "result": {
            "finishedAt": ISO, "durationMs": 12.25, "exitCode": 0, "stdout": "a  b\n", "stderr": "",
        },
    })
}

fn service() -> Value {
    json!({
        "id": "svc_1", "name": "api", "command": "node", "args": ["s.js"], "replicas": 2,
        "requiredCapabilities": ["service-host"], "status": "running", "createdAt": ISO,
        "updatedAt": ISO, "updatedBy": "node_a", "version": 11, "cwd": "/srv", "env": { "B": "2" },
        "assignments": [{
            "hostId": "host_1", "status": "running", "updatedAt": ISO,
            "endpoint": "http://10.0.0.7:3100", "startedAt": ISO,
        }],
    })
}

fn snapshots() -> Vec<(String, Vec<u8>)> {
    let whole = json!({
        "nodeId": "node_a", "hosts": [host()], "jobs": [job(), 7], "services": [service()],
    });
    let only = |name: &str, record: Value| json!({ name: [record] }).to_string();
    let good = [whole.to_string(), only("hosts", host()), only("services", service())];
    made(&good, &["null", "[]", "{\"jobs\":5}"])
}

/// Taken is one of which at least one record can be.
fn a_snapshot(bytes: &[u8]) -> bool {
    match snapshot::read(bytes, NOW) {
        Ok(read) => {
            let taken = read.hosts.len() + read.jobs.len() + read.services.len();
            assert!(read.refused.len() as u64 <= read.counts.total());
            // Each has a comma or a bracket of its own.
            assert!(taken as u64 + read.counts.total() <= bytes.len() as u64);
            taken > 0
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn pages() -> Vec<(String, Vec<u8>)> {
    let key = json!({
        "route": "/v1/jobs", "key": "k", "hash": "ab".repeat(32), "status": 200,
        "response": { "job": job() }, "createdAt": ISO, "expiresAt": "2026-01-03T00:00:00.000Z",
    });
    let whole = json!({
        "dryRun": false, "running": true, "hosts": [host()], "jobs": [job()],
        "services": [service()], "idempotency": [key],
    });
    let keys = json!({ "idempotency": [whole["idempotency"][0], {}] });
    made(&[whole.to_string(), keys.to_string()], &["", "null", "[]", "{\"jobs\":5}"])
}

fn page(bytes: &[u8]) -> bool {
    match import::read(bytes, NOW) {
        Ok(page) => {
            let taken = page.hosts.len() + page.jobs.len() + page.services.len() + page.keys.len();
            assert!(taken + page.refused.len() <= bytes.len());
            for refused in &page.refused {
                assert!(!refused.why.is_empty());
                assert!(refused.id.as_ref().is_none_or(|id| id.len() <= 400));
            }
            taken > 0
        }
        Err(error) => {
            assert!(!error.is_empty());
            false
        }
    }
}

fn payloads() -> Vec<(String, Vec<u8>)> {
    let hash = "0123456789abcdef".repeat(4);
    let shell = json!({
        "kind": "shell", "command": "sh", "args": ["-c", "true"], "env": { "A": "b" },
        "timeoutMs": 60_000, "network": ["example.org:443"],
        "inputs": [{ "hash": hash, "path": "in/a" }], "outputs": ["out/*.png"],
    });
    let agent = json!({ "kind": "openclaw-agent", "message": "do it", "timeoutSeconds": 60 });
    let good = [
        shell.to_string(),
        json!({ "kind": "shell", "command": "c" }).to_string(),
        agent.to_string(),
    ];
    made(&good, &["", "null", "[]", "{\"kind\":\"shell\"}"])
}

/// What was checked is kept as text that is checked again the same way.
fn payload(bytes: &[u8]) -> bool {
    match check_payload(bytes) {
        Ok(checked) => {
            let again = check_payload(&checked.text);
            assert_eq!(again.as_ref(), Ok(&checked), "a payload changes by being checked");
            true
        }
        Err(error) => {
            assert!((1..2048).contains(&error.len()), "{} bytes of error", error.len());
            false
        }
    }
}
