//! The policy file of a host, held by real nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skyclaw_tests::{Node, Setup, eventually, processes_with};

use crate::text;

/// Rules in the words of OpenClaw.
const RULES: &str = r#"{
  "version": 1,
  "defaults": { "security": "allowlist", "ask": "off", "askFallback": "deny" },
  "jobs": { "allowlist": [
    { "pattern": "printf", "argPattern": "'[a-z %]*' [a-z]+" },
    { "pattern": "/**/true" }
  ] },
  "services": { "allowlist": [ { "pattern": "sh", "argPattern": "-c '(exec )?sleep [0-9]+'" } ] },
  "agents": { "security": "deny" }
}"#;

/// A folder only its owner writes to, with a policy in it.
fn written(rules: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    fs::write(&path, rules).expect("it is writable");
    set(&path, 0o600);
    (folder, path)
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A host under this file alone.
fn under(path: &Path) -> Setup {
    Setup::both().env("SKYCLAW_ALLOWED_COMMANDS", "").env("SKYCLAW_POLICY", path.display())
}

/// Runs a job to its end.
fn run(node: &Node, command: &str, args: &[&str]) -> Value {
    let payload = json!({ "kind": "shell", "command": command, "args": args });
    let job = node.api.submit(&json!({ "payload": payload }));
    node.api.until_job_ended(text(&job, "id"))
}

#[track_caller]
fn refused(node: &Node, command: &str, args: &[&str], told: &str) {
    let job = run(node, command, args);
    assert_eq!((text(&job, "status"), text(&job, "error")), ("failed", told));
    assert_eq!(job["result"]["exitCode"], 126, "{job}");
}

#[test]
fn jobs_run_by_the_rules_of_the_file_and_refusals_name_the_rule() {
    let (_folder, path) = written(RULES);
    let node = under(&path).start();
    node.api.until_hosts(1);
    let job = run(&node, "printf", &["a %s", "b"]);
    assert_eq!(text(&job["result"], "stdout"), "a b");
    assert_eq!(text(&run(&node, "true", &["what", "ever"]), "status"), "completed");
    let missed = "(policy jobs: nothing on the allowlist matches)";
    refused(&node, "rm", &["-rf", "x"], &format!("command not allowed: rm {missed}"));
    // Also what stands on the list for services, and what the default list names.
    refused(&node, "sh", &["-c", "sleep 1"], &format!("command not allowed: sh {missed}"));
    let told = "command not allowed: printf (policy jobs: allowlist entry 1 \"printf\" does not match its arguments)";
    refused(&node, "printf", &["a %s", "b", "c"], told);
    refused(&node, "printf", &["a %s b"], told);
}

#[test]
fn services_run_by_their_own_rules() {
    let (_folder, path) = written(RULES);
    let setup = under(&path).env("SKYCLAW_SERVICE_HOST_ENABLED", 1).env("SKYCLAW_POLL_MS", 100);
    let node = setup.env("SKYCLAW_SERVICE_BASE_PORT", 24_700).start();
    node.api.until_hosts(1);
    let deploy = |id: &str, command: &str, args: Value| {
        let body = json!({ "serviceId": id, "name": id, "command": command, "args": args });
        node.api.post("/v1/services", &body).ok();
    };
    let failed = |id: &str| {
        eventually("the service is refused", || {
            let service = node.api.get(&format!("/v1/services/{id}")).ok()["service"].clone();
            let error = service["assignments"][0]["error"].clone();
            error.as_str().map(str::to_owned).ok_or_else(|| service.to_string())
        })
    };
    deploy("other", "true", json!([]));
    let told = "command not allowed: true (policy services: nothing on the allowlist matches)";
    assert_eq!(failed("other"), told);
    deploy("args", "sh", json!(["-c", "sleep 5; rm x"]));
    let told = "command not allowed: sh (policy services: allowlist entry 1 \"sh\" does not match its arguments)";
    assert_eq!(failed("args"), told);
    let word = format!("4242{}", std::process::id());
    deploy("fine", "sh", json!(["-c", format!("exec sleep {word}")]));
    eventually("it runs", || match processes_with(&word).as_slice() {
        [] => Err("no process".to_owned()),
        _ => Ok(()),
    });
}

#[test]
fn a_file_changed_while_the_node_runs_is_taken_at_the_next_start() {
    let (_folder, path) = written(RULES);
    let mut node = under(&path).start();
    node.api.until_hosts(1);
    fs::write(&path, r#"{ "version": 1, "jobs": { "security": "deny" } }"#).expect("it is ours");
    assert_eq!(text(&run(&node, "true", &[]), "status"), "completed");
    node.stop();
    node.start_again();
    refused(&node, "true", &[], "command not allowed: true (policy jobs: security is deny)");
}

#[test]
fn the_list_of_names_must_allow_a_command_too_where_it_is_set() {
    let (_folder, path) = written(r#"{ "version": 1, "jobs": { "security": "full" } }"#);
    let node = under(&path).env("SKYCLAW_ALLOWED_COMMANDS", "true").start();
    node.api.until_hosts(1);
    assert_eq!(text(&run(&node, "true", &[]), "status"), "completed");
    let told = "command not allowed: false (SKYCLAW_ALLOWED_COMMANDS does not name it)";
    refused(&node, "false", &[], told);
}

#[test]
fn a_file_that_others_could_have_written_or_that_is_not_understood_ends_the_start() {
    let start = |path: &Path, change: fn(Setup) -> Setup| {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = change(under(path)).run(folder.path());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(!folder.path().join("cwd/.skyclaw").exists(), "nothing was touched");
        ended.stderr
    };
    let same = |setup: Setup| setup;
    let (folder, path) = written(RULES);
    set(&path, 0o664);
    let said = start(&path, same);
    assert!(said.contains("[skyclaw] the policy file") && said.contains("chmod go-w"), "{said}");
    set(&path, 0o644);
    set(folder.path(), 0o777);
    let said = start(&path, same);
    assert!(said.contains("its folder") && said.contains("0777"), "{said}");
    set(folder.path(), 0o755);
    let said = start(&folder.path().join("none.json"), same);
    assert!(said.contains("cannot read the policy file") && said.contains("none.json"), "{said}");
    fs::write(&path, "{ \"version\": 1,\n  \"jobs\": { \"security\": \"ful\" } }").expect("ours");
    let said = start(&path, same);
    let words = "policy.json:2: unknown word `ful`, allowed is one of deny, allowlist, full";
    assert!(said.contains(words), "{said}");
    // A node that runs nothing asks for no rules.
    let coordinator = Setup::coordinator().env("SKYCLAW_POLICY", path.display()).start();
    assert!(coordinator.api.get("/healthz").status < 300);
}

#[test]
fn a_file_where_jobs_run_ends_the_start() {
    let (folder, path) = written(RULES);
    let place = tempfile::tempdir().expect("a folder");
    let setup = under(&path).env("SKYCLAW_WORK_DIR", folder.path().display());
    let ended = setup.run(place.path());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("jobs run in"), "{}", ended.stderr);
}

#[test]
fn the_command_line_says_which_rule_decides() {
    let (_folder, path) = written(RULES);
    let ask = |args: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut all = vec!["policy"];
        all.extend(args);
        let ended = under(&path).args(&all).run(folder.path());
        (ended.code, format!("{}{}", ended.stdout, ended.stderr))
    };
    let (code, said) = ask(&["--", "printf", "a %s", "b"]);
    assert!(code == Some(0) && said.contains("allowlist entry 1 \"printf\" matches"), "{said}");
    let (code, said) = ask(&["--", "rm", "-rf", "/"]);
    assert_eq!(code, Some(126));
    let told = "command not allowed: rm (policy jobs: nothing on the allowlist matches)\n\
                its arguments, as patterns see them: -rf /\n";
    assert_eq!(said, told);
    let (code, said) = ask(&["--services", "--", "sh", "-c", "sleep 1"]);
    assert!(code == Some(0) && said.contains("policy services"), "{said}");
    let (code, said) = ask(&["--", "/no/such/true"]);
    assert!(code == Some(127) && said.contains("no such program"), "{said}");
    let (code, said) = ask(&[]);
    assert!(code == Some(0) && said.contains("policy services: allowlist of 1 entry"), "{said}");
    assert!(said.contains("policy agents: deny"), "{said}");
    fs::write(&path, "{}").expect("ours");
    let (code, said) = ask(&[]);
    assert!(code == Some(1) && said.contains("missing field `version`"), "{said}");
}
