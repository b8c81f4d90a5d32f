//! Jobs of real agents on hosts: what they answer, make, may do, and see.

use std::time::Instant;

use serde_json::{Value, json};
use skyclaw_tests::{MODEL, Openclaw, processes_with};

use crate::network::{Network, Program, TOKEN, TURN, agents_of, has, place};

impl From<&Openclaw> for Program {
    fn from(openclaw: &Openclaw) -> Self {
        Self { launcher: openclaw.launcher(), path: openclaw.path(&[]) }
    }
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

#[track_caller]
fn completed(job: &Value) -> (&str, &Value) {
    assert_eq!(job["status"], "completed", "{job:#}");
    (text(&job["result"], "stdout"), &job["result"]["agent"])
}

/// (a) (b) (i) What a host finds out about its OpenClaw, and messages that an argument list could not carry.
#[test]
fn a_host_says_what_its_openclaw_can_do_and_its_agent_answers() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 1, &json!({ "security": "deny" }), |host| host);

    let listed = network.skyclaw(&["--json", "hosts"]);
    assert_eq!(listed.code, Some(0), "{}{}", listed.stdout, listed.stderr);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let host = &listed["hosts"][0];
    for capability in ["openclaw", "openclaw.exec", &format!("model:{MODEL}")] {
        assert!(has(host, capability), "{capability}: {host:#}");
    }
    assert_eq!(host["openclaw"]["version"], "2026.9.6", "{host:#}");
    assert!(host["openclaw"].get("trouble").is_none(), "{host:#}");

    let job = network.run("hello", &json!({}));
    let (said, agent) = completed(&job);
    assert_eq!(said.trim_end(), "pong: hello");
    assert_eq!((&agent["status"], &agent["ok"]), (&json!("ok"), &json!(true)), "{agent:#}");
    assert_eq!((&agent["model"], &agent["toolFailures"]), (&json!("mock-1"), &json!(0)));
    assert_eq!((&agent["toolPolicy"], &agent["truncated"]), (&json!("none"), &json!(false)));
    assert_eq!(agent["openclawVersion"], "2026.9.6");
    assert!(agent["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{agent:#}");
    let calls = network.model.calls_about("hello");
    assert_eq!(calls.len(), 1, "one question for one job");
    assert!(calls[0].tools.is_empty(), "no tools: {:?}", calls[0].tools);

    let job = network.run("--config /etc/passwd --json", &json!({ "model": MODEL }));
    assert_eq!(completed(&job).0.trim_end(), "pong: --config /etc/passwd --json");

    let long = format!("{} the end", "word ".repeat((1 << 20) / 5));
    let job = network.run(&long, &json!({}));
    assert!(completed(&job).0.trim_end().ends_with("word  the end"), "{job:#}");
    let calls = network.model.calls_about("the end");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].message.len(), long.len(), "the whole message arrived");
    network.until_clean();
}

/// The strongest sandbox leaves an agent its model, its install, its configuration and its folders.
#[test]
fn an_isolated_agent_asks_its_model_and_uses_its_tools() {
    let Some(openclaw) = Openclaw::here() else { return };
    let program = (&openclaw).into();
    let mut network = Network::start(&program, 1, &json!({ "security": "full" }), |host| {
        host.env("SKYCLAW_SANDBOX", "isolated")
    });
    let more = json!({ "toolPolicy": "full", "outputs": ["*.out"] });
    let job = network.run("TOOL:ls /proc | grep -c '^[0-9]' > n.out; cat /etc/shadow n.out", &more);
    let (said, agent) = completed(&job);
    assert!(!said.contains("root:"), "{said}");
    assert_eq!(agent["model"], "mock-1", "{agent:#}");
    assert_eq!(job["result"]["outputs"][0]["path"], "n.out", "{job:#}");
    network.until_clean();
}

/// (c) (h) Tools run where the owner lets them, in the job's own folder, and see nothing of the host.
#[test]
fn an_agent_with_tools_makes_files_from_files_and_sees_no_secret() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 1, &json!({ "security": "full" }), |host| {
            host.foreign_env("CANARY_TOKEN", "canary-5f1c")
                .foreign_env("OPENAI_API_KEY", "sk-canary")
        });
    let api = network.first();
    let blob = api.send("PUT", "/v1/blobs", &[], b"from the submitter\n").ok();
    let more = json!({
        "toolPolicy": "full",
        "inputs": [{ "hash": blob["hash"], "path": "data.txt" }],
        "outputs": ["*.out"],
    });
    let job = network.run("TOOL:tr a-z A-Z <data.txt >made.out; cat made.out", &more);
    let (said, agent) = completed(&job);
    assert_eq!(said.trim_end(), "tool said: FROM THE SUBMITTER");
    assert_eq!((&agent["toolFailures"], &agent["toolPolicy"]), (&json!(0), &json!("full")));
    let output = &job["result"]["outputs"][0];
    assert_eq!(output["path"], "made.out", "{job:#}");
    let kept = api.get(&format!("/v1/blobs/{}", text(output, "hash")));
    assert_eq!(kept.text(), "FROM THE SUBMITTER\n");
    assert_eq!(network.model.calls_about("made.out").len(), 2, "a call, and what it said");

    let job = network.run("TOOL:env", &json!({ "toolPolicy": "full" }));
    let (said, _) = completed(&job);
    assert!(said.contains("OPENCLAW_SHELL=exec"), "it is the tool's environment: {said}");
    for secret in ["canary", TOKEN, "sk-local", "SKYCLAW_TOKEN"] {
        assert!(!said.contains(secret), "{secret} is seen: {said}");
    }
    let log = network.hosts[0].process.log() + &network.hosts[0].process.stdout();
    assert!(!log.contains("canary") && !log.contains("sk-local"), "{log}");
    network.until_clean();
}

/// (d) What the owner forbids fails, and is seen to have failed, whatever the submitter asks for.
#[test]
fn tools_that_the_owner_forbids_fail_the_job_and_are_named() {
    let Some(openclaw) = Openclaw::here() else { return };
    let program = (&openclaw).into();
    let denied = |network: &Network, message: &str, policy: &str| {
        let job = network.run(message, &json!({ "toolPolicy": "full" }));
        assert_eq!(job["status"], "failed", "{job:#}");
        let agent = &job["result"]["agent"];
        assert!(agent["toolFailures"].as_u64().is_some_and(|n| n >= 1), "{job:#}");
        assert!(agent.get("unresolvedToolError").is_some(), "{agent:#}");
        assert_eq!(agent["toolPolicy"], policy, "{agent:#}");
    };
    {
        let mut network = Network::start(&program, 1, &json!({ "security": "deny" }), |host| host);
        denied(&network, "TOOL:touch should-not-be", "none");
        network.until_clean();
    }
    let agents = json!({
        "security": "allowlist",
        "allowlist": [{ "pattern": "uname", "argPattern": "-s" }, { "pattern": "/usr/bin/*sum" }],
    });
    let mut network = Network::start(&program, 1, &agents, |host| host);
    for (command, said) in [("uname -s", "Linux"), ("uname -s | md5sum", "  -")] {
        let job = network.run(&format!("TOOL:{command}"), &json!({ "toolPolicy": "allowlist" }));
        let (answer, agent) = completed(&job);
        assert!(answer.trim_end().ends_with(said), "{command}: {answer}");
        assert_eq!(agent["toolPolicy"], "allowlist", "{agent:#}");
    }
    denied(&network, "TOOL:uname -s -a", "allowlist");
    denied(&network, "TOOL:uname -s; id", "allowlist");
    denied(
        &network,
        "CALL:write {\"path\": \"/tmp/skyclaw-escaped\", \"content\": \"x\"}",
        "allowlist",
    );
    network.until_clean();
}

/// `openclaw run` never existed: legacy jobs that ask for it hear what to ask for.
#[test]
fn a_legacy_run_ends_at_once_with_what_to_type() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 1, &json!({ "security": "full" }), |host| host);
    for args in [json!(["run"]), Value::Null] {
        let payload = json!({ "kind": "openclaw-run", "args": args });
        let payload = if args.is_null() { json!({ "kind": "openclaw-run" }) } else { payload };
        let begun = Instant::now();
        let id = crate::network::submit(network.first(), &json!({ "payload": payload }));
        let job = network.until_ended(&id, TURN);
        assert_eq!(job["status"], "failed", "{job:#}");
        let words = format!("{} {}", text(&job, "error"), text(&job["result"], "stderr"));
        assert!(words.contains("openclaw-agent"), "{job:#}");
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
    assert!(network.model.calls().is_empty());
    network.until_clean();
}

/// Hosts take as many agents as they have room for, however many wait, and all get their turn.
#[test]
fn twenty_agents_on_three_hosts_all_end_and_never_crowd_a_host() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 3, &json!({ "security": "deny" }), |host| {
            host.env("SKYCLAW_MAX_PARALLEL", 8).env("SKYCLAW_OPENCLAW_MAX", 1)
        });
    let ids: Vec<_> =
        (0..20).map(|n| network.submit(&format!("number-{n}."), &json!({}))).collect();
    let mut most = vec![0; network.hosts.len()];
    let jobs = skyclaw_tests::within(TURN * 8, "all have ended", || {
        for (most, host) in most.iter_mut().zip(&network.hosts) {
            *most = agents_of(host).max(*most);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        let jobs: Vec<_> = ids.iter().map(|id| network.coordinators[1].api.job(id)).collect();
        let open = jobs.iter().filter(|job| job["status"] != "completed").count();
        let failed = jobs.iter().find(|job| job["status"] == "failed");
        assert!(failed.is_none(), "{failed:#?}");
        if open == 0 { Ok(jobs) } else { Err(format!("{open} have not ended")) }
    });
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(completed(job).0.trim_end(), format!("pong: number-{n}."));
        assert_eq!(network.model.calls_about(&format!("number-{n}.")).len(), 1, "ran once");
    }
    assert_eq!(network.model.calls().len(), 20);
    for (n, most) in most.iter().enumerate() {
        assert_eq!((*most, network.model.open(&place(n)).1), (1, 1), "host {n}");
    }
    network.until_clean();
    assert!(processes_with("number-").is_empty());
}
