//! The policy file of a host, held by real nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, Setup, Shell, can, eventually, processes_with};

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

#[test]
fn what_runs_may_reach_see_and_take_is_shown_in_words() {
    let data = tempfile::tempdir().expect("a folder");
    let data = fs::canonicalize(data.path()).expect("it is there");
    fs::create_dir(data.join("in")).expect("it is ours");
    let opened = data.join("in");
    let rules = json!({ "version": 1,
        "jobs": { "network": "allowlist", "egress": ["A.example.org", "*.b.test:8443"], "private": true },
        "services": { "network": "any", "networkDefault": true },
        "read": [opened], "memoryBytes": 1_000_000_000_u64, "processes": 64 });
    let (_folder, path) = written(&rules.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let said = under(&path).args(&["policy"]).run(folder.path());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for line in [
        "network of jobs: a.example.org, *.b.test:8443, also at private addresses, for those that ask for it",
        "network of services: all that this machine reaches",
        "network of agents: all that this machine reaches",
        &format!("what runs may read: {}", opened.display()),
        "bytes of memory of one run: at most 1000000000",
        "processes and threads of one run: at most 64",
    ] {
        assert!(said.stdout.lines().any(|said| said == line), "{line}: {}", said.stdout);
    }
    let bare = Setup::both().args(&["policy"]).run(folder.path());
    assert!(bare.stdout.contains("network of jobs: none\n"), "{}", bare.stdout);
    fs::remove_dir_all(data).expect("it is ours");
}

#[test]
fn a_mistake_in_what_runs_may_reach_or_see_ends_the_start() {
    let place = tempfile::tempdir().expect("a folder");
    let link = place.path().join("link");
    std::os::unix::fs::symlink("/usr", &link).expect("a link");
    for (members, told) in [
        (
            json!({ "jobs": { "network": "web" } }),
            "unknown word `web`, allowed is one of none, allowlist, any",
        ),
        (
            json!({ "jobs": { "network": "allowlist" } }),
            "jobs: \"network\": \"allowlist\" needs egress",
        ),
        (json!({ "jobs": { "egress": ["a.org"] } }), "jobs: egress has a meaning only beside"),
        (
            json!({ "jobs": { "network": "allowlist", "egress": ["https://a.org"] } }),
            "egress names \"https://a.org\"",
        ),
        (json!({ "jobs": { "netwrk": "any" } }), "unknown field `netwrk`"),
        (json!({ "read": ["/"] }), "read: / would open the whole machine"),
        (json!({ "write": ["/home"] }), "a home"),
        (json!({ "read": [link] }), "name /usr"),
        (json!({ "read": ["/no/such/folder"] }), "No such file"),
        (json!({ "read": "/usr" }), "invalid type"),
        (json!({ "processes": 1 }), "nothing can run with less than 8"),
    ] {
        let mut rules = members.clone();
        rules["version"] = json!(1);
        let (_folder, path) = written(&rules.to_string());
        let folder = tempfile::tempdir().expect("a folder");
        let ended = under(&path).run(folder.path());
        assert_eq!(ended.code, Some(1), "{members}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{members}: {}", ended.stderr);
    }
    // Its own database lies in what it would open.
    let folder = tempfile::tempdir().expect("a folder");
    let real = fs::canonicalize(folder.path()).expect("it is there");
    fs::create_dir(real.join("cwd")).expect("it is ours");
    let cwd = real.join("cwd");
    let (_kept, path) = written(&json!({ "version": 1, "write": [cwd] }).to_string());
    let ended = under(&path).run(&real);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("which is the node's own"), "{}", ended.stderr);
}

#[test]
fn a_host_that_is_weaker_than_it_may_be_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::both().env("SKYCLAW_SANDBOX", "none").env("SKYCLAW_SANDBOX_MIN", "basic");
    let ended = setup.run(folder.path());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = "SKYCLAW_SANDBOX_MIN=basic is not reached here, only none: SKYCLAW_SANDBOX=none asks for no more";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(!folder.path().join("cwd/.skyclaw").exists(), "nothing was touched");
}

#[test]
fn a_level_is_seen_and_not_what_an_owner_says() {
    let claims = "shell,sandbox:isolated,receipt";
    let setup = Setup::both().env("SKYCLAW_SANDBOX", "none").env("SKYCLAW_CAPABILITIES", claims);
    let node = setup.start();
    let host = node.api.until_hosts(1)[0].clone();
    assert_eq!(host["capabilities"], json!(["receipt", "shell"]));
    assert!(host.get("sandbox").is_none(), "{host}");
    // What asks for it waits, and is told for what.
    let mut job = skyclaw_tests::shell("true");
    job["requirement"] = json!({ "sandbox": "isolated" });
    let id = text(&node.api.submit(&job), "id").to_owned();
    let said = Shell::of(&node).run(&["why", &id]).stdout;
    assert!(
        said.contains("no host has sandbox:isolated") && said.contains("skyclaw doctor"),
        "{said}"
    );
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
}

#[test]
fn hosts_say_the_level_they_reach() {
    if !can(&[Need::Sandbox("basic")]) {
        return;
    }
    let node = Setup::both().env("SKYCLAW_SANDBOX", "auto").start();
    let host = node.api.until_hosts(1)[0].clone();
    let level = text(&host, "sandbox");
    let capability = json!(format!("sandbox:{level}"));
    let all = host["capabilities"].as_array().expect("a list");
    assert!(all.contains(&capability) && all.contains(&json!("sandbox:basic")), "{host}");
    let mut job = skyclaw_tests::shell("true");
    job["requirement"] = json!({ "sandbox": level });
    let job = node.api.until_job_ended(text(&node.api.submit(&job), "id"));
    assert_eq!(text(&job, "status"), "completed", "{job}");
    let shell = Shell::of(&node);
    let table = shell.run(&["hosts"]).stdout;
    assert!(table.contains("SANDBOX") && table.contains(level), "{table}");
    assert!(!table.contains("sandbox:"), "{table}");
    let told = shell.run(&["doctor"]).stdout;
    assert!(told.contains("sandbox-here") && told.contains(&format!("level {level}")), "{told}");
}

#[test]
fn folders_that_the_owner_opens_are_seen_as_far_as_they_are_opened() {
    if !can(&[Need::Sandbox("landlock")]) {
        return;
    }
    // Not in the folder for temporary files, of which each run has its own.
    let base = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let base_path = fs::canonicalize(base.path()).expect("it is there");
    set(&base_path, 0o755);
    for (name, mode) in [("in", 0o755), ("out", 0o777), ("other", 0o755)] {
        let folder = base_path.join(name);
        fs::create_dir(&folder).expect("it is ours");
        fs::write(folder.join("file"), name).expect("it is ours");
        set(&folder, mode);
    }
    let rules = json!({ "version": 1, "jobs": { "allowlist": [{ "pattern": "sh" }] },
        "read": [base_path.join("in")], "write": [base_path.join("out")] });
    let (_folder, path) = written(&rules.to_string());
    let node = under(&path).env("SKYCLAW_SANDBOX", "auto").start();
    node.api.until_hosts(1);
    let at = base_path.display();
    let script = format!(
        "cat {at}/in/file {at}/out/file; echo new > {at}/out/new; echo bad > {at}/in/new; cat {at}/other/file"
    );
    let job = run(&node, "sh", &["-c", &script]);
    assert_eq!(text(&job["result"], "stdout"), "inout", "{job}");
    assert_eq!(fs::read_to_string(base_path.join("out/new")).ok().as_deref(), Some("new\n"));
    assert!(!base_path.join("in/new").exists());
}
