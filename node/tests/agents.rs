//! Agent jobs with a stand-in for OpenClaw: a script that behaves as the real one was seen to, and
//! as it must not. The real one is run by `tests/openclaw`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_node::openclaw::{Found, Install, Openclaw, OpenclawConfig, watch};
use skyclaw_node::supervisor::policy::Security;
use skyclaw_node::supervisor::{
    Order, Outcome, RunHandle, StopReason, Supervisor, SupervisorConfig,
};
use skyclaw_protocol::JobId;
use tokio_util::sync::CancellationToken;

/// What the script does is chosen by words of the message. It leaves what it was given beside itself.
const SCRIPT: &str = r#"#!/bin/sh
seen=__SEEN__
case "$1" in
  --version) cat "$seen/version"; exit "$(cat "$seen/code")" ;;
  models) echo '{"count":1,"models":[{"key":"mock/mock-1","available":true},{"key":"off/x","available":false}]}'; exit 0 ;;
  approvals) cat > "$seen/approvals"; mkdir -p "$OPENCLAW_STATE_DIR/state"; echo state > "$OPENCLAW_STATE_DIR/state/openclaw.sqlite"; exit 0 ;;
  agent) ;;
  waits) sleep 600 ;;
  *) echo "OpenClaw does not know the command \"$1\"." >&2; exit 1 ;;
esac
echo "$@" >> "$seen/args"
env > "$seen/env"
message=$(cat)
config=; state=
while [ $# -gt 0 ]; do
  case "$1" in --config) config=$2 ;; --state-dir) state=$2 ;; --cwd) pwd=$2 ;; esac
  shift
done
cp "$config" "$seen/config"
[ -z "$state" ] || cp "$state/state/openclaw.sqlite" "$seen/state"
ok='{"ok":true,"status":"ok","final":"'"done in $pwd"'","usage":{"total":3},"toolSummary":{"calls":1,"failures":0},"model":"mock-1"}'
case "$message" in
  *fails*) echo '{"ok":false,"status":"error","final":"","error":{"message":"Unknown model"}}'; exit 1 ;;
  *tool*) echo '{"ok":true,"status":"ok","final":"sorry","toolSummary":{"calls":1,"failures":1,"unresolvedError":{"toolName":"exec"}}}' ;;
  *huge*) head -c 9000000 /dev/zero | tr '\0' x ;;
  *cut*) echo '{"ok":true,"status":"ok","fin' ;;
  *hangs*) sleep 600 ;;
  *deaf*) trap '' TERM; while :; do sleep 1; done ;;
  *escapes*) setsid sh -c 'trap "" TERM; echo $$ > '"$seen"'/pid; while :; do sleep 1; done' & echo "$ok" ;;
  *lingers*) echo "$ok"; sleep 600 ;;
  *noisy*) echo warming up; echo "$ok" ;;
  *writes*) echo made > made.txt; echo "$ok" ;;
  *) echo "$ok" ;;
esac
"#;

struct Bench {
    supervisor: Supervisor,
    openclaw: Openclaw,
    folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    fn new(most: Security) -> Self {
        Self::with("OpenClaw 2026.9.6 (eb377ac)", 0, |config| config.rules.security = most)
    }

    fn with(version: &str, code: i32, change: impl FnOnce(&mut OpenclawConfig)) -> Self {
        Self::beside(version, code, None, change)
    }

    /// A Gateway may listen on that port.
    fn beside(
        version: &str,
        code: i32,
        gateway: Option<u16>,
        change: impl FnOnce(&mut OpenclawConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        fs::create_dir(&seen).unwrap();
        fs::write(seen.join("version"), version).unwrap();
        fs::write(seen.join("code"), code.to_string()).unwrap();
        let script = folder.path().join("openclaw");
        write_program(&script, &SCRIPT.replace("__SEEN__", seen.to_str().unwrap()));
        let shared = folder.path().join("owners.json");
        let owners = "{ models: { providers: { mock: { apiKey: 'sk' } } }, gateway: { auth: { token: 'g' } } }";
        fs::write(&shared, owners).unwrap();
        let command = script.to_str().unwrap().to_owned();
        let mut config = OpenclawConfig {
            command: command.clone(),
            config: Some(shared),
            ..OpenclawConfig::default()
        };
        change(&mut config);
        let openclaw = Openclaw::new(config);
        let port = gateway.map(|port| ("OPENCLAW_GATEWAY_PORT".to_owned(), port.to_string()));
        let supervisor = Supervisor::new(SupervisorConfig {
            shim: Some(env!("CARGO_BIN_EXE_skyclaw-node").into()),
            allowed: vec![command, "sh".into()],
            openclaw: openclaw.clone(),
            grace: Duration::from_millis(300),
            work_root: Some(folder.path().join("work")),
            environment: [
                ("PATH".to_owned(), std::env::var("PATH").unwrap()),
                ("CANARY".to_owned(), "secret".to_owned()),
                ("OPENCLAW_GATEWAY_TOKEN".to_owned(), "way-in".to_owned()),
            ]
            .into_iter()
            .chain(port)
            .collect(),
            ..SupervisorConfig::default()
        });
        let (supervisor, stop) = (supervisor.unwrap(), CancellationToken::new());
        tokio::spawn(watch(openclaw.clone(), supervisor.clone(), stop.clone()));
        Self { supervisor, openclaw, folder, stop }
    }

    fn start(&self, payload: Value) -> RunHandle {
        self.supervisor.start(Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload })
    }

    async fn run(&self, payload: Value) -> Outcome {
        self.start(payload).outcome().await.unwrap()
    }

    async fn asks(&self, message: &str) -> (Outcome, Value) {
        let outcome = self.run(agent(message)).await;
        let note = outcome.agent.as_ref().map(|note| serde_json::from_str(note).unwrap());
        (outcome, note.unwrap_or_default())
    }

    fn seen(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("seen").join(name)).unwrap_or_default()
    }

    /// Directories of jobs that are left.
    async fn left(&self) -> usize {
        let work = self.folder.path().join("work");
        let count = || {
            let roots = fs::read_dir(&work).unwrap().flatten();
            let jobs = roots.flat_map(|root| fs::read_dir(root.path()).unwrap().flatten());
            jobs.filter(|entry| entry.path().is_dir()).count()
        };
        for _ in 0..100 {
            if count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        count()
    }
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn agent(message: &str) -> Value {
    json!({ "kind": "openclaw-agent", "message": message, "timeoutSeconds": 1 })
}

fn owners(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_found_is_advertised() {
    let bench = Bench::new(Security::Deny);
    let found = bench.openclaw.known().await;
    let all = found.capabilities(&owners("shell openclaw")).join(" ");
    assert_eq!(all, "model:mock/mock-1 openclaw openclaw.exec shell");
    assert_eq!(found.told().unwrap().version.as_deref(), Some("2026.9.6"));
    assert_eq!(bench.left().await, 0);
}

#[tokio::test]
async fn one_that_cannot_run_is_not_advertised_and_says_why_to_jobs() {
    let node = "openclaw: Node 20.20.2: node:sqlite is unavailable; use 24.16+";
    let bench = Bench::with(node, 1, |_| {});
    let found = bench.openclaw.known().await;
    assert_eq!(found.capabilities(&owners("shell openclaw")), ["shell"]);
    assert_eq!(found.told().unwrap().trouble.as_deref(), Some(node));
    let (outcome, _) = bench.asks("hello").await;
    assert_eq!(outcome.error.unwrap(), format!("this host runs no agents: {node}"));
}

#[tokio::test]
async fn another_program_under_its_name_runs_as_jobs_say_it() {
    let bench = Bench::with("v20.20.2", 0, |_| {});
    assert_eq!(bench.openclaw.known().await.install, Install::Other);
    let run = bench.run(json!({ "kind": "openclaw-run" })).await;
    assert!(run.stderr.contains("does not know the command \"run\""), "{run:?}");
}

/// Answers as a Gateway that lives does; its port.
fn gateway() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let read = caller.read(&mut asked).unwrap_or(0);
            let found = asked[..read].starts_with(b"GET /healthz ");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let _ = write!(
                caller,
                "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
        }
    });
    port
}

/// Only its own client gets the way in, and only where its owner allows agents everything.
#[tokio::test]
async fn a_gateway_that_lives_is_asked_where_all_is_allowed() {
    let port = gateway();
    let bench = |most| {
        Bench::beside("OpenClaw 2026.9.6", 0, Some(port), |config| {
            (config.gateway, config.rules.security) = (true, most);
        })
    };
    let ask =
        json!({ "kind": "openclaw-agent", "message": "hi", "mode": "gateway", "agentId": "ops" });
    let open = bench(Security::Full);
    let found = open.openclaw.known().await;
    let listed = found.capabilities(&owners("openclaw"));
    assert!(found.gateway && listed.contains(&"openclaw.gateway".to_owned()));
    let outcome = open.run(ask.clone()).await;
    assert!(outcome.success, "{outcome:?}");
    let (args, env) = (open.seen("args"), open.seen("env"));
    assert!(args.contains("--agent ops --session-key skyclaw-job_test --timeout 600"), "{args}");
    assert!(args.contains("--message-file /") && !args.contains("--config"), "{args}");
    assert!(env.contains("OPENCLAW_GATEWAY_TOKEN=way-in") && !env.contains("secret"), "{env}");
    let mut weaker = ask.clone();
    weaker["toolPolicy"] = json!("none");
    let error = open.run(weaker).await.error.unwrap();
    assert!(error.starts_with("a Gateway acts by its own rules"), "{error}");
    let closed = bench(Security::Allowlist);
    assert!(!closed.openclaw.known().await.gateway);
    assert!(closed.start(ask).outcome().await.is_err());
}

/// Taken for another program it would run whatever jobs say.
#[tokio::test]
async fn one_that_says_nothing_is_not_taken_for_another_program() {
    for code in [0, 1] {
        let bench = Bench::with("", code, |_| {});
        let run = bench.run(json!({ "kind": "openclaw-run", "args": ["config", "get"] })).await;
        assert!(run.error.unwrap().starts_with("this host runs only"), "{code}");
    }
}

/// The job may run elsewhere.
#[tokio::test]
async fn what_the_host_has_lost_is_its_own_fault() {
    let bench = Bench::with("OpenClaw 2026.9.6", 0, |config| {
        config.config = Some("/nonexistent/openclaw.json".into());
    });
    let fault = bench.start(agent("hello")).outcome().await.unwrap_err();
    assert!(fault.to_string().contains("cannot be read"), "{fault}");
}

#[tokio::test]
async fn a_changed_program_is_looked_at_again() {
    let bench = Bench::new(Security::Deny);
    let mut changes = bench.openclaw.changes();
    bench.openclaw.known().await;
    changes.borrow_and_update();
    fs::write(bench.folder.path().join("seen/version"), "OpenClaw 2026.7.1").unwrap();
    let program = bench.folder.path().join("openclaw");
    write_program(&program, &format!("{}\n# newer", fs::read_to_string(&program).unwrap()));
    tokio::time::timeout(Duration::from_secs(60), changes.changed()).await.unwrap().unwrap();
    let told = bench.openclaw.known().await.told().unwrap();
    assert_eq!(told.version.as_deref(), Some("2026.7.1"));
    assert!(told.trouble.unwrap().contains("has no `agent exec`"));
}

#[tokio::test]
async fn a_turn_gets_its_own_places_and_nothing_of_the_daemon() {
    let bench = Bench::new(Security::Full);
    let (outcome, note) = bench.asks("hello").await;
    assert!(outcome.success, "{outcome:?}");
    assert!(outcome.stdout.starts_with("done in /"), "{}", outcome.stdout);
    assert_eq!((&note["status"], &note["usage"]["total"]), (&json!("ok"), &json!(3)));
    assert_eq!(
        (&note["toolPolicy"], &note["openclawVersion"]),
        (&json!("full"), &json!("2026.9.6"))
    );
    let args = bench.seen("args");
    assert!(args.starts_with("agent exec --json --config /"), "{args}");
    assert!(args.contains("--message-file - --timeout 1"), "{args}");
    let config: Value = serde_json::from_str(&bench.seen("config")).unwrap();
    assert_eq!(
        (&config["models"]["providers"]["mock"]["apiKey"], config.get("gateway")),
        (&json!("sk"), None)
    );
    let env = bench.seen("env");
    assert!(env.contains("OPENCLAW_OFFLINE=1") && !env.contains("secret"), "{env}");
    assert!(!env.contains("way-in"), "{env}");
    assert_eq!(bench.left().await, 0);
}

#[tokio::test]
async fn the_tools_are_the_weaker_of_what_is_asked_for_and_what_the_host_allows() {
    let bench = Bench::new(Security::Deny);
    let (_, note) = bench.asks("hello").await;
    assert_eq!(note["toolPolicy"], "none");
    let config: Value = serde_json::from_str(&bench.seen("config")).unwrap();
    assert_eq!(config["tools"], json!({ "deny": ["*"] }));
    let bench = Bench::new(Security::Allowlist);
    let (outcome, note) = bench.asks("hello").await;
    assert!(outcome.success, "{outcome:?}");
    assert_eq!(note["toolPolicy"], "allowlist");
    assert!(bench.seen("approvals").contains("\"askFallback\":\"deny\""));
    assert_eq!(bench.seen("state"), "state\n");
    for most in [Security::Allowlist, Security::Full] {
        let bench = Bench::new(most);
        for weak in ["none", "allowlist"] {
            let job = json!({ "kind": "openclaw-agent", "message": "x", "toolPolicy": weak });
            let outcome = bench.run(job).await;
            let told = format!("\"toolPolicy\":\"{weak}\"");
            assert!(outcome.success && outcome.agent.unwrap().contains(&told), "{weak}");
        }
    }
}

#[tokio::test]
async fn only_models_that_are_shared_are_used() {
    let bench = Bench::new(Security::Deny);
    let asks = |model: &str| json!({ "kind": "openclaw-agent", "message": "x", "model": model });
    assert!(bench.run(asks("mock/mock-1")).await.success);
    let outcome = bench.run(asks("dear/one")).await;
    assert_eq!(outcome.error.as_deref(), Some("this host shares no model dear/one"));
    let mut falls = asks("mock/mock-1");
    falls["fallbacks"] = json!(["off/x"]);
    let outcome = bench.run(falls).await;
    assert_eq!(outcome.error.as_deref(), Some("this host shares no model off/x"));
    let args = ["agent", "exec", "x", "--model=dear/one"];
    let outcome = bench.run(json!({ "kind": "openclaw-run", "args": args })).await;
    assert_eq!(outcome.error.as_deref(), Some("this host shares no model dear/one"));
}

#[tokio::test]
async fn a_failed_tool_a_failed_turn_and_a_broken_answer_are_failures_with_their_reason() {
    let bench = Bench::new(Security::Full);
    let (outcome, note) = bench.asks("the tool is refused").await;
    assert!(!outcome.success && outcome.exit_code == 0 && outcome.stdout == "sorry");
    assert!(outcome.error.unwrap().starts_with("the tool exec failed"));
    assert_eq!(note["toolFailures"], 1);
    let (outcome, _) = bench.asks("fails").await;
    assert_eq!((outcome.exit_code, outcome.error.as_deref()), (1, Some("openclaw: Unknown model")));
    let (outcome, note) = bench.asks("huge").await;
    assert!(outcome.error.unwrap().starts_with("openclaw wrote more than"));
    assert_eq!(note["truncated"], true);
    let (outcome, _) = bench.asks("cut").await;
    assert_eq!(outcome.error.unwrap(), "openclaw ended (exit code 0) without an answer in JSON");
    assert!(bench.asks("noisy").await.0.success);
}

#[tokio::test]
async fn a_cancelled_turn_leaves_nothing_even_if_it_is_deaf() {
    let bench = Bench::new(Security::Full);
    for message in ["hangs", "deaf"] {
        let mut handle = bench.start(agent(message));
        assert!(handle.launched().await);
        let canceller = handle.canceller();
        canceller.cancel_within(StopReason::Cancelled, Duration::from_millis(500));
        let began = Instant::now();
        let outcome = handle.outcome().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(outcome.error.as_deref(), Some("cancelled: job terminated"));
        assert!(outcome.agent.unwrap().contains("\"status\":\"cancelled\""));
    }
    assert_eq!(bench.left().await, 0);
}

#[tokio::test]
async fn what_an_agent_leaves_running_is_ended_after_its_answer() {
    let bench = Bench::new(Security::Full);
    let began = Instant::now();
    let (escaped, lingered) = tokio::join!(bench.run(agent("escapes")), async {
        // One at a time has room: this one begins when the other has gone.
        bench.run(agent("lingers")).await
    });
    assert!(escaped.success && lingered.success, "{escaped:?} {lingered:?}");
    assert!(lingered.agent.unwrap().contains("\"lingered\":true"));
    let pid: i32 = bench.seen("pid").trim().parse().unwrap();
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert!(began.elapsed() > Duration::from_secs(10), "both were given time to end by themselves");
    assert_eq!(bench.left().await, 0);
}

#[tokio::test]
async fn openclaw_run_runs_turns_in_the_hosts_places_and_nothing_else() {
    let bench = Bench::new(Security::Full);
    let run = |args: &[&str]| json!({ "kind": "openclaw-run", "args": args });
    for args in [&["run"][..], &[]] {
        let outcome = bench.run(run(args)).await;
        assert!(outcome.error.unwrap().starts_with("openclaw has no `run`"));
    }
    let absent = bench.run(json!({ "kind": "openclaw-run" })).await;
    assert!(absent.error.unwrap().starts_with("openclaw has no `run`"));
    let outcome = bench.run(run(&["config", "get", "gateway"])).await;
    assert!(outcome.error.unwrap().starts_with("this host runs only"));
    assert_eq!(bench.seen("args"), "");
    let version = bench.run(run(&["--version"])).await;
    assert!(version.success && version.stdout.starts_with("OpenClaw 2026.9.6"), "{version:?}");
    let turn = bench.run(run(&["agent", "exec", "tool", "--json"])).await;
    assert!(bench.seen("args").contains("--cwd /") && turn.stdout.starts_with('{'), "{turn:?}");
    for (name, value) in [("openclawDir", json!("/etc")), ("env", json!({ "HTTPS_PROXY": "x" }))] {
        let mut job = run(&["agent", "exec", "--message-file", "passwd"]);
        job[name] = value;
        let error = bench.run(job).await.error.unwrap();
        assert_eq!(error, format!("payload.{name} is the host's own for a turn: leave it out"));
    }
}

/// The room is counted from the moment a job comes, so that no claim brings one too many.
#[tokio::test]
async fn no_more_agents_run_at_once_than_there_is_room_for() {
    let bench = Bench::with("OpenClaw 2026.9.6", 0, |config| config.most = 2);
    bench.openclaw.known().await;
    let mut first = bench.start(agent("hangs"));
    let mut second = bench.start(agent("hangs"));
    assert!(first.launched().await && second.launched().await);
    let mut third = bench.start(agent("hello"));
    let waits = tokio::time::timeout(Duration::from_millis(700), third.launched()).await;
    assert!(waits.is_err(), "the third began beside two");
    let third = bench.start(agent("hello"));
    first.canceller().cancel(StopReason::Cancelled);
    second.canceller().cancel(StopReason::Cancelled);
    assert!(third.outcome().await.unwrap().success);
}

/// Others would wait behind it for ever.
#[tokio::test]
async fn what_is_no_agent_takes_no_room() {
    let bench = Bench::with("v20.20.2", 0, |_| {});
    bench.openclaw.known().await;
    assert_eq!(bench.openclaw.free_room(), 1);
    let mut waits = bench.start(json!({ "kind": "openclaw-run", "args": ["waits"] }));
    assert!(waits.launched().await);
    assert_eq!(bench.openclaw.free_room(), 1);
    waits.canceller().cancel(StopReason::Cancelled);
    waits.outcome().await.unwrap();
}

#[tokio::test]
async fn files_that_an_agent_makes_need_a_place_where_they_are_kept() {
    let bench = Bench::new(Security::Full);
    let payload = json!({ "kind": "openclaw-agent", "message": "writes", "outputs": ["*.txt"] });
    let outcome = bench.run(payload).await;
    let error = outcome.error.unwrap();
    assert_eq!(error, "its outputs were not kept: this host keeps no blobs");
}

#[test]
fn nothing_known_means_nothing_is_added() {
    let found = Found::default();
    assert_eq!(found.capabilities(&owners("shell openclaw")), ["openclaw", "shell"]);
    assert_eq!(OpenclawConfig::default().rules.security, Security::Deny);
}
