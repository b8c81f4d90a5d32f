//! Ways from the real OpenClaw into Skyclaw: its MCP client and its skills.

use std::path::Path;

use serde_json::{Value, json};
use skyclaw_tests::{Ended, Model, Openclaw, Setup, binary, workspace_root};

/// Runs OpenClaw with `skyclaw` on its `PATH` and a state of its own.
#[track_caller]
fn openclaw(openclaw: &Openclaw, folder: &Path, config: &Path, args: &[&str]) -> Ended {
    let programs = binary("skyclaw");
    let programs = programs.parent().expect("it lies in a folder");
    let path = openclaw.path(&[programs]);
    let state = folder.join("state");
    std::fs::create_dir_all(&state).expect("it is writable");
    let (config, state) = (config.display().to_string(), state.display().to_string());
    let env = [
        ("PATH", path.to_str().expect("UTF-8")),
        ("OPENCLAW_CONFIG_PATH", &config),
        ("OPENCLAW_STATE_DIR", &state),
        ("OPENCLAW_WORKSPACE_DIR", &state),
    ];
    // Outputs are appended to what is in the folder.
    let folder = folder.join(args[..2].join("-"));
    std::fs::create_dir_all(&folder).expect("it is writable");
    openclaw.run(&folder, args, &env, "")
}

/// `skyclaw mcp` is understood by OpenClaw's own client.
#[test]
fn the_real_mcp_client_finds_the_tools_of_skyclaw() {
    let Some(real) = Openclaw::here() else { return };
    let node = Setup::both().env("SKYCLAW_TOKEN", "secret").start();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("openclaw.json");
    let env = json!({ "SKYCLAW_COORDINATOR_URL": node.url(), "SKYCLAW_TOKEN": "secret" });
    let server = json!({ "command": "skyclaw", "args": ["mcp"], "env": env });
    Model::start().configure(
        &config,
        "mcp",
        &json!({ "mcp": { "servers": { "skyclaw": server } } }),
    );
    let ended = openclaw(&real, folder.path(), &config, &["mcp", "probe", "skyclaw", "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let probed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let tools: Vec<_> =
        probed["tools"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for tool in ["submit_job", "submit_agent", "job_status", "cancel_job", "why", "list_hosts"] {
        assert!(tools.contains(&format!("skyclaw__{tool}").as_str()), "{tool}: {tools:?}");
    }
    assert_eq!(probed["diagnostics"], json!([]), "{probed:#}");
}

/// The skill is taken as it stands in the tree, and is offered to the model once `skyclaw` is found.
#[test]
fn the_skill_is_eligible_where_skyclaw_is_on_the_path() {
    let Some(real) = Openclaw::here() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("openclaw.json");
    Model::start().configure(&config, "skill", &json!({}));
    let skill = workspace_root().join("examples/openclaw-skill").display().to_string();
    let install = ["skills", "install", &skill, "--global"];
    let ended = openclaw(&real, folder.path(), &config, &install);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let args = ["skills", "info", "skyclaw", "--json"];
    let ended = openclaw(&real, folder.path(), &config, &args);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (&said["eligible"], &said["modelVisible"]),
        (&json!(true), &json!(true)),
        "{said:#}"
    );
    assert_eq!(said["requirements"]["bins"], json!(["skyclaw"]), "{said:#}");
}
