//! Jobs that several real hosts run, one of which may lie.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use skyclaw_tests::{Ended, Node, Setup, Shell, eventually};
use tempfile::TempDir;

use crate::{cluster, text};

/// Checks receipts with nobody there to be asked.
#[track_caller]
fn checked(receipts: &Ended) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("receipts.json"), &receipts.stdout).expect("it is writable");
    Shell::at("http://127.0.0.1:1").cwd(folder.path()).run(&["verify", "receipts.json"])
}

/// What is asked, and what each host answers in its own way.
fn submit(node: &Node, copies: u32, agree: u32) -> String {
    let job = json!({
        "payload": { "kind": "shell", "command": "sh", "args": ["-c", "answer"] },
        "verify": { "copies": copies, "agree": agree },
    });
    text(&node.api.submit(&job), "id").to_owned()
}

/// Programs that say these words.
struct Answers(TempDir);

impl Answers {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for word in ["honest", "forged"] {
            let path = folder.path().join(word);
            fs::create_dir(&path).expect("it is writable");
            let program = path.join("answer");
            fs::write(&program, format!("#!/bin/sh\necho {word}\n")).expect("it is writable");
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        Self(folder)
    }

    /// A host with a key of its own, on which `answer` says that word.
    fn host(&self, node: &Node, id: &str, word: &str) -> Node {
        let system = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        let own = self.0.path().join(word);
        let path = std::env::join_paths(
            [own.as_path()].into_iter().map(Path::to_owned).chain(std::env::split_paths(&system)),
        );
        let path = path.expect("no colon in there").into_string().expect("it is text");
        Setup::host(&[&node.url()])
            .foreign_env("PATH", &path)
            .env("SKYCLAW_HOST_ID", id)
            .env("SKYCLAW_TOKEN", "secret")
            .env("SKYCLAW_POLL_MS", 50)
            .start()
    }
}

/// Waits until so many hosts have told what they found.
#[track_caller]
fn until_told(node: &Node, job: &str, count: usize) -> Value {
    eventually("hosts have told", || {
        let job = node.api.job(job);
        match job["verify"]["results"].as_array().map(Vec::len) {
            Some(told) if told >= count => Ok(job),
            _ => Err(job.to_string()),
        }
    })
}

#[test]
fn two_honest_hosts_outvote_one_that_lies_and_their_receipts_prove_it() {
    let node = Setup::coordinator().start();
    let answers = Answers::new();
    let id = submit(&node, 3, 2);
    // Who signs nothing does not get it.
    node.api.register("original", &["shell"], 1);
    assert_eq!(node.api.claim("original"), Value::Null);
    let _liar = answers.host(&node, "liar", "forged");
    let job = until_told(&node, &id, 1);
    assert_eq!(text(&job["verify"], "verdict"), "open");
    assert!(job.get("result").is_none(), "what one host says is no result yet: {job}");
    let shell = Shell::of(&node);
    let why = shell.run(&["why", &id]).said();
    assert!(why.contains("it needs 1 more distinct host"), "{why}");
    assert!(why.contains(": has run it, and another host must"), "{why}");
    assert!(why.contains("original: has no receipt"), "{why}");

    let (_one, _two) = (answers.host(&node, "one", "honest"), answers.host(&node, "two", "honest"));
    let job = node.api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), &job["result"]["stdout"]), ("completed", &json!("honest\n")));
    let verify = &job["verify"];
    assert_eq!(text(verify, "verdict"), "agreed", "{verify}");
    let results = verify["results"].as_array().expect("results");
    let of = |host: &str| results.iter().find(|told| told["host"] == host).expect("it told");
    assert_eq!((&of("liar")["agrees"], &of("one")["agrees"]), (&json!(false), &json!(true)));
    assert_eq!(of("one")["digest"], of("two")["digest"]);
    assert_ne!(of("one")["digest"], of("liar")["digest"]);
    assert!(node.api.metric("skyclaw_verify_dissents_total") >= 1.0);
    let shown = shell.run(&["job", &id]).said();
    let liar = shown.lines().find(|line| line.contains("liar")).unwrap_or_default();
    assert!(liar.contains("SPOKE AGAINST THE OTHERS"), "{shown}");

    // Those that agree have signed it, each with its key.
    let printed = shell.run(&["receipt", &id]);
    let document = printed.json();
    let receipts = document["receipts"].as_array().expect("receipts");
    let signers: Vec<&Value> = receipts.iter().map(|receipt| &receipt["key"]["peerId"]).collect();
    assert_eq!(signers.len(), 2, "{document}");
    assert!(receipts.iter().all(|receipt| receipt["host"] != "liar"), "{document}");
    assert!(signers.contains(&&of("one")["peerId"]) && signers.contains(&&of("two")["peerId"]));
    let ended = checked(&printed);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.said().contains("distinct hosts that say the same: 2"), "{}", ended.said());
}

#[test]
fn hosts_that_disagree_end_the_job_as_failed_and_it_says_who_said_what() {
    let node = Setup::coordinator().start();
    let answers = Answers::new();
    let id = submit(&node, 2, 2);
    let _liar = answers.host(&node, "liar", "forged");
    until_told(&node, &id, 1);
    let _one = answers.host(&node, "one", "honest");
    let job = node.api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), text(&job["verify"], "verdict")), ("failed", "disagree"));
    let error = text(&job, "error");
    let begins = "hosts disagree: 2 of 2 had to say the same: liar (standard output ";
    assert!(error.starts_with(begins) && error.contains("; one (standard output "), "{error}");
    assert!(job.get("result").is_none(), "{job}");
    // Both words are kept, and can be shown to others.
    let ended = checked(&Shell::of(&node).run(&["receipt", &id]));
    let lines = ended.said();
    assert_eq!(ended.code, Some(1), "{lines}");
    let line = |part: &str| lines.lines().find(|line| line.starts_with(part)).unwrap_or_default();
    assert!(line("signature (1)").ends_with("holds") && line("signature (2)").ends_with("holds"));
    assert!(line("equal results").contains("DOES NOT HOLD"), "{lines}");
}

#[test]
fn whoever_takes_over_from_the_jobs_coordinator_asks_the_next_host() {
    let mut nodes = cluster::nodes(3, 2);
    let answers = Answers::new();
    let id = submit(&nodes[0], 2, 2);
    let _one = answers.host(&nodes[1], "one", "honest");
    until_told(&nodes[1], &id, 1);
    nodes[0].kill();
    let _two = answers.host(&nodes[2], "two", "honest");
    let job = nodes[1].api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), &job["result"]["stdout"]), ("completed", &json!("honest\n")));
    let results = job["verify"]["results"].as_array().expect("results");
    let hosts: Vec<&Value> = results.iter().map(|told| &told["host"]).collect();
    assert_eq!(hosts, ["one", "two"]);
    cluster::until_status(&nodes[2], &id, "completed");
    let receipts = nodes[2].api.get(&format!("/v1/jobs/{id}/receipt")).ok();
    assert_eq!(receipts["receipts"].as_array().map(Vec::len), Some(2), "{receipts}");
}

#[test]
fn a_command_is_run_on_as_many_hosts_as_it_is_asked_for() {
    let node = Setup::both().start();
    let _one = Answers::new().host(&node, "one", "honest");
    node.api.until_hosts(2);
    let shell = Shell::of(&node);
    let args = ["submit", "--wait", "--copies", "2", "--json", "--", "sh", "-c", "echo same"];
    let ended = shell.run(&args);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let document = ended.json();
    let job = &document["job"];
    let results = job["verify"]["results"].as_array().expect("results");
    assert_eq!((results.len(), &job["attempts"]), (2, &json!(2)));
    assert_ne!(results[0]["host"], results[1]["host"]);
    assert!(results.iter().all(|told| told["agrees"] == true), "{results:?}");
    // More must not agree than there are.
    let args = ["submit", "--copies", "2", "--agree", "3", "--", "true"];
    let ended = shell.run(&args);
    assert_ne!(ended.code, Some(0));
    assert!(ended.said().contains("verify.agree must be from 1 to 2"), "{}", ended.said());
}
