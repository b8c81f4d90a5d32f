//! What programs do that fail, by one that looks like OpenClaw: no Node, and so everywhere and quick.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{
    MODEL, Model, Node, PATIENCE, Setup, Stub, eventually, processes_with, resident_kib, within,
};
use tempfile::TempDir;

use crate::network::{
    Program, TOKEN, agent, agent_host, has, policy, started_by, submit, until_clean, until_ended,
};

/// From TERM to KILL, with a busy machine's leisure.
const TO_THE_KILL: Duration = Duration::from_secs(25);

/// A node that takes jobs and lends a stub.
struct Host {
    node: Node,
    stub: Stub,
    _folder: TempDir,
}

impl Host {
    #[track_caller]
    fn of(stub: Stub) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("openclaw.json");
        Model::start().configure(&config, "stub", &json!({}));
        let rules = folder.path().join("policy.json");
        let rules_text = policy(&json!({ "security": "full" })).to_string();
        fs::write(&rules, rules_text).expect("the test's folder is writable");
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let program = Program { launcher: stub.path(), path };
        let setup =
            Setup::both().env("SKYCLAW_TOKEN", TOKEN).env("SKYCLAW_POLICY", rules.display());
        let setup = setup.foreign_env("CANARY_TOKEN", "canary-77ab");
        let node = agent_host(setup, &program, &config).start();
        Self { node, stub, _folder: folder }
    }

    #[track_caller]
    fn ready() -> Self {
        let host = Self::of(Stub::new());
        eventually("it can run agents", || {
            let record = host.record();
            if has(&record, "openclaw.exec") { Ok(()) } else { Err(record.to_string()) }
        });
        host
    }

    #[track_caller]
    fn record(&self) -> Value {
        self.node.api.until_hosts(1)[0].clone()
    }

    #[track_caller]
    fn submit(&self, message: &str) -> String {
        submit(&self.node.api, &agent(message, &json!({ "timeoutSeconds": 60 })))
    }

    #[track_caller]
    fn run(&self, message: &str) -> Value {
        until_ended(&self.node.api, &self.submit(message), PATIENCE)
    }

    /// A job that failed as this message asks for, once and with words; what is known of the agent.
    #[track_caller]
    fn fails(&self, message: &str, status: &str, words: &str) -> Value {
        let job = self.run(message);
        assert_eq!(job["status"], "failed", "{job:#}");
        let agent = job["result"]["agent"].clone();
        assert_eq!((&agent["status"], &job["attempts"]), (&json!(status), &json!(1)), "{job:#}");
        let said = format!("{} {}", job["error"], agent["error"]);
        assert!(said.contains(words), "no {words}: {job:#}");
        agent
    }

    /// Submits, waits until so many processes stay, cancels, and waits until they have gone.
    #[track_caller]
    fn cancels(&mut self, message: &str, processes: usize) {
        let mark = self.stub.mark();
        let id = self.submit(message);
        eventually("it runs", || {
            let here = processes_with(&mark);
            if here.len() >= processes { Ok(()) } else { Err(format!("{here:?}")) }
        });
        self.node.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
        within(TO_THE_KILL, "it has ended, with what it started", || {
            let left = (processes_with(&mark), started_by(&self.node));
            if left.0.is_empty() && left.1.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        let turns = self.stub.turns();
        assert_eq!(turns.iter().filter(|turn| turn.stdin == message).count(), 1, "ran once");
        until_clean(&mut self.node);
    }
}

#[test]
fn the_program_is_called_with_the_hosts_own_words_and_nothing_of_its_environment() {
    let mut host = Host::ready();
    let message = "--config=/etc/shadow; rm -rf $HOME\n$(id) `id`";
    let job = host.run(message);
    assert_eq!(job["status"], "completed", "{job:#}");
    assert_eq!(job["result"]["stdout"].as_str().map(str::trim_end), Some("stub: done"), "{job:#}");
    let turns = host.stub.turns();
    let turn = &turns[0];
    assert_eq!((turns.len(), turn.stdin.as_str()), (1, message));
    assert!(!turn.args.iter().any(|arg| arg.contains("shadow")), "{:?}", turn.args);
    let value = |name: &str| {
        let at = turn.args.iter().position(|arg| arg == name);
        at.and_then(|at| turn.args.get(at + 1)).cloned().unwrap_or_default()
    };
    assert_eq!((value("--timeout").as_str(), value("--message-file").as_str()), ("60", "-"));
    assert!(turn.args.iter().any(|arg| arg == "--json"), "{:?}", turn.args);
    let own = host.node.folder().join("tmp").display().to_string();
    assert!(value("--cwd").starts_with(&own), "{:?}", turn.args);
    for call in host.stub.calls() {
        let env = call.env.join("\n");
        assert!(!env.contains("canary") && !env.contains(TOKEN), "{:?}: {env}", call.args);
        assert!(!env.contains("SKYCLAW_"), "{:?}: {env}", call.args);
    }
    let home = turn.env.iter().find_map(|line| line.strip_prefix("HOME="));
    assert!(home.is_some_and(|home| home.starts_with(&own)), "{:?}", turn.env);
    until_clean(&mut host.node);
}

#[test]
fn what_went_wrong_is_said_and_nothing_is_tried_again() {
    let host = Host::ready();
    let agent = host.fails("TOOLFAIL", "ok", "exec");
    assert_eq!((&agent["toolFailures"], &agent["ok"]), (&json!(1), &json!(true)), "{agent:#}");
    assert!(agent["unresolvedToolError"].to_string().contains("exec"), "{agent:#}");
    host.fails("ERROR", "error", "told to fail");
    host.fails("TIMEOUT", "timeout", "timed out");
    assert_eq!(host.stub.turns().len(), 3, "each ran once");
}

#[test]
fn an_answer_that_is_none_is_an_error_and_never_a_text() {
    let mut host = Host::ready();
    for message in ["TRUNCATED", "NOTHING"] {
        host.fails(message, "error", "without an answer");
    }
    let before = resident_kib(host.node.process.pid());
    host.fails("HUGE", "error", "bytes");
    let grown = resident_kib(host.node.process.pid()).saturating_sub(before);
    assert!(grown < 64 << 10, "20 MiB of output took {grown} KiB");
    let job = host.run("NOISE");
    assert_eq!(job["status"], "completed", "lines before the answer: {job:#}");
    until_clean(&mut host.node);
}

#[test]
fn a_cancelled_program_ends_whatever_it_does_against_it() {
    let mut host = Host::ready();
    host.cancels("HANG", 1);
    host.cancels("GRANDCHILD", 2);
    host.cancels("STUBBORN", 1);
}

#[test]
fn a_program_that_answered_and_stays_is_ended_and_its_answer_counts() {
    let mut host = Host::ready();
    let job = until_ended(&host.node.api, &host.submit("LINGER"), TO_THE_KILL * 2);
    assert_eq!(job["status"], "completed", "{job:#}");
    assert_eq!(job["result"]["agent"]["status"], "ok", "{job:#}");
    until_clean(&mut host.node);
}

/// The program's own deadline is its affair; the host's comes a minute later.
#[test]
fn a_program_that_forgets_its_deadline_is_ended_by_the_host() {
    let mut host = Host::ready();
    let id = submit(&host.node.api, &agent("HANG", &json!({ "timeoutSeconds": 1 })));
    let job = until_ended(&host.node.api, &id, Duration::from_secs(61 + 30));
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(job["result"]["agent"]["status"], "timeout", "{job:#}");
    until_clean(&mut host.node);
}

#[test]
fn versions_that_cannot_run_agents_say_so_and_are_offered_none() {
    let old = Host::of(Stub::old());
    let record = eventually("it knows its version", || {
        let record = old.record();
        if record["openclaw"]["version"].is_string() { Ok(record) } else { Err(record.to_string()) }
    });
    assert_eq!(record["openclaw"]["version"], "2026.7.1", "{record:#}");
    assert!(has(&record, "openclaw") && !has(&record, "openclaw.exec"), "{record:#}");
    let trouble = record["openclaw"]["trouble"].as_str().unwrap_or_default();
    assert!(trouble.contains("2026.8.1"), "it says which is needed: {record:#}");

    let broken = Host::of(Stub::on_an_old_node());
    let record = eventually("it knows its trouble", || {
        let record = broken.record();
        if record["openclaw"]["trouble"].is_string() { Ok(record) } else { Err(record.to_string()) }
    });
    assert!(
        record["openclaw"]["trouble"].as_str().is_some_and(|t| t.contains("Node")),
        "{record:#}"
    );
    for capability in ["openclaw", "openclaw.exec", &format!("model:{MODEL}")] {
        assert!(!has(&record, capability), "{capability}: {record:#}");
    }
}

#[test]
fn a_legacy_job_for_run_ends_with_what_to_type() {
    let host = Host::ready();
    let payload = json!({ "kind": "openclaw-run", "args": ["run"] });
    let id = submit(&host.node.api, &json!({ "payload": payload }));
    let job = until_ended(&host.node.api, &id, PATIENCE);
    assert_eq!(job["status"], "failed", "{job:#}");
    assert!(job.to_string().contains("openclaw-agent"), "{job:#}");
}
