//! Schemathesis: requests that fit the description, and such that break it, to a real node. No answer is a 5xx,
//! and each has a status, a type and a shape that are described.
//!
//! The seed is fixed and nothing follows from answers before (the phase `stateful` is not the same twice), so what fails
//! here fails again. What it leaves alone stands in `schemathesis.toml`.

use std::ffi::OsString;
use std::fs;

use serde_json::json;
use skyclaw_tests::{Node, Python, Setup, Shell};

use super::{TOKEN, own, run, with_keys};

/// Runs it with this configuration; all it finds is a failure.
#[track_caller]
fn fuzz(python: &Python, node: &Node, more: &[&str], config: &str) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let file = folder.join("schemathesis.toml");
    fs::write(&file, config).expect("the test's folder is writable");
    let mut args: Vec<OsString> = vec!["--config-file".into(), file.into(), "--no-color".into()];
    // One worker: two of them make Python 3.11 stumble over its own parser.
    let usual = [
        "--workers",
        "1",
        "--seed",
        "1",
        "--no-shrink",
        "--request-timeout",
        "40",
        "--continue-on-failure",
    ];
    args.extend(["run".into(), format!("{}/openapi.json", node.url()).into()]);
    // Where the description names a server relative to itself, it judges unknown parameters another way than with
    // the whole address: it calls them wrong beside numbers, and they are passed over, as described.
    args.extend(["--url".into(), node.url().into()]);
    args.extend(usual.iter().chain(more).map(OsString::from));
    let ended = run(python, "schemathesis", &args, folder);
    let said = ended.stdout;
    assert_eq!(ended.code, Some(0), "{said}{}", ended.stderr);
    // It has not passed over everything.
    assert!(said.contains("generated"), "{said}");
}

fn config() -> String {
    fs::read_to_string(own("schemathesis.toml")).expect("it is committed")
}

/// To a coordinator that runs nothing: nobody knows what commands would be thought of.
#[test]
fn the_private_api_answers_what_is_described_to_whatever_is_asked() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    let token = format!("x-skyclaw-token: {TOKEN}");
    let more = ["-H", &token, "--exclude-tag", "public", "-n", "20"];
    let more = [&more[..], &["--phases", "examples,coverage,fuzzing"]].concat();
    fuzz(&python, &node, &more, &config());
    assert!(node.api.get("/readyz").status == 200, "the node is well");
}

#[test]
fn the_public_api_answers_what_is_described_to_whatever_is_asked() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    let more = ["-H", "x-api-key: k1", "--include-tag", "public", "-n", "60"];
    fuzz(&python, &node, &more, &config());
    assert!(node.api.get("/readyz").status == 200, "the node is well");
}

#[test]
fn a_network_with_tickets_answers_what_is_described() {
    let Some(python) = Python::here() else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    Shell::bare().cwd(folder.path()).ok(&["network", "create", "home"]);
    let node = with_keys(Setup::coordinator().cwd(folder.path()));
    node.api.post("/v1/network/invites", &json!({ "roles": ["host"] })).ok();
    let token = format!("x-skyclaw-token: {TOKEN}");
    let only = "^/v1/network/(members|invites|revocations)$";
    let more = ["-H", &token, "--include-path-regex", only, "-n", "40"];
    fuzz(&python, &node, &more, &config());
}

/// Of records that are there, each as it stands after its life.
#[test]
fn what_is_shown_of_records_is_what_is_described() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::both().env("SKYCLAW_SERVICE_HOST_ENABLED", 1));
    let job = node.api.submit_shell("echo out; echo err >&2; exit 4");
    node.api.until_job_is(&job, "failed");
    let queued = json!({ "payload": { "kind": "shell", "command": "true" },
        "requirement": { "requiredCapabilities": ["none-has-it"] }, "maxAttempts": 3, "retry": 1 });
    node.api.submit(&queued);
    let service = json!({ "name": "api", "command": "sh", "args": ["-c", "sleep 600"],
        "env": { "A": "b" }, "health": { "path": "/" }, "restart": { "backoffMs": 500 } });
    let service = node.api.post("/v1/services", &service).ok()["service"]["id"].clone();
    let blob = node.api.send("PUT", "/v1/blobs", &[], b"bytes").ok()["hash"].clone();
    let host = node.api.until_hosts(1)[0]["id"].clone();
    node.api
        .post(
            "/v1/principals",
            &json!({ "name": "ci", "scopes": ["read"], "quotas": { "queued": 1 } }),
        )
        .ok();
    let mut config = config();
    for (path, id) in [
        ("/v1/jobs/{id}/logs", json!(job)),
        ("/v1/jobs/{id}", json!(job)),
        ("/v1/jobs/{id}/why", json!(job)),
        ("/v1/jobs/{id}/receipt", json!(job)),
        ("/v1/hosts/{id}/why", host.clone()),
        ("/v1/hosts/{id}", host),
        ("/v1/services/{id}/why", service.clone()),
        ("/v1/services/{id}/routes/why", service.clone()),
        ("/v1/services/{id}/logs", service.clone()),
        ("/v1/services/{id}", service),
        ("/v1/blobs/{id}", blob),
        ("/dashboard/{id}", json!("main.js")),
        ("/dashboard/views/{id}", json!("jobs.js")),
        ("/docs/{id}", json!("page.css")),
    ] {
        // In TOML a text is written as in JSON.
        config +=
            &format!("[[operations]]\ninclude-path = \"{path}\"\nparameters = {{ id = {id} }}\n");
    }
    let token = format!("x-skyclaw-token: {TOKEN}");
    let more = ["-H", &token, "--include-method", "GET", "--exclude-tag", "public", "-n", "10"];
    let more = [&more[..], &["--phases", "examples,fuzzing", "--mode", "positive"]].concat();
    fuzz(&python, &node, &more, &config);
}
