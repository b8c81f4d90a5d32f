//! Jobs as real processes under the supervisor, with the built daemon as their shim.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_node::supervisor::{Order, Outcome, StopReason, Supervisor, SupervisorConfig};
use skyclaw_protocol::JobId;

/// A supervisor and the directory its jobs live below.
struct Bench {
    supervisor: Supervisor,
    base: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SupervisorConfig)) -> Self {
        let base = tempfile::tempdir().unwrap();
        let mut config = SupervisorConfig {
            shim: Some(env!("CARGO_BIN_EXE_skyclaw-node").into()),
            allowed: ["sh", "bash", "true", "no-such-x"].map(Into::into).into(),
            openclaw_command: "sh".into(),
            grace: Duration::from_millis(300),
            work_root: Some(base.path().join("work")),
            environment: vec![
                ("PATH".into(), std::env::var("PATH").unwrap()),
                ("LANG".into(), "C.UTF-8".into()),
                ("SKYCLAW_TOKEN".into(), "secret".into()),
                ("HOME".into(), "/root".into()),
            ],
            ..SupervisorConfig::default()
        };
        change(&mut config);
        Self { supervisor: Supervisor::new(config).unwrap(), base }
    }

    fn order(payload: Value) -> Order {
        Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload }
    }

    async fn run(&self, payload: Value) -> Outcome {
        self.supervisor.start(Self::order(payload)).outcome().await
    }

    async fn sh(&self, script: &str) -> Outcome {
        self.run(sh(script)).await
    }

    /// A path outside the job's directories, for marks.
    fn mark(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }
}

fn sh(script: &str) -> Value {
    json!({"kind": "shell", "command": "sh", "args": ["-c", script]})
}

fn sh_within(timeout_ms: u64, script: &str) -> Value {
    json!({"kind": "shell", "command": "sh", "args": ["-c", script], "timeoutMs": timeout_ms})
}

#[track_caller]
fn failed(outcome: &Outcome, exit_code: i32, error: Option<&str>) {
    assert_eq!(
        (outcome.success, outcome.exit_code, outcome.error.as_deref()),
        (false, exit_code, error),
        "{outcome:?}"
    );
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The process id a job wrote to a file.
async fn pid_in(file: &Path) -> i32 {
    let mut pid = None;
    eventually("the pid is written", || {
        pid = fs::read_to_string(file)
            .ok()
            .filter(|text| text.ends_with('\n'))
            .and_then(|text| text.trim().parse().ok());
        pid.is_some()
    })
    .await;
    pid.unwrap()
}

/// Gone, or dead and merely not yet reaped by an init that is slow.
fn is_gone(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
        .eq(&false)
}

#[tokio::test]
async fn exit_codes_are_reported_without_an_error_text() {
    let bench = Bench::new();
    let ok = bench.sh("echo out; echo err >&2").await;
    assert_eq!((ok.success, ok.exit_code, ok.error.clone()), (true, 0, None));
    assert_eq!((ok.stdout.as_str(), ok.stderr.as_str()), ("out\n", "err\n"));
    failed(&bench.sh("exit 7").await, 7, None);
    failed(&bench.sh("exit 255").await, 255, None);
}

#[tokio::test]
async fn death_by_a_signal_is_exit_one_without_an_error_text() {
    let bench = Bench::new();
    failed(&bench.sh("kill -9 $$").await, 1, None);
    failed(&bench.sh("kill -TERM $$").await, 1, None);
}

#[tokio::test]
async fn what_cannot_be_started_fails_in_the_words_of_the_original() {
    let bench = Bench::with(|config| config.allowed.push("/etc/hostname".into()));
    let shell = |command: &str| json!({"kind": "shell", "command": command});
    failed(&bench.run(shell("no-such-x")).await, 1, Some("spawn no-such-x ENOENT"));
    failed(&bench.run(shell("/etc/hostname")).await, 1, Some("spawn /etc/hostname EACCES"));
    let mut payload = sh("true");
    payload["cwd"] = json!("/no/such/dir");
    failed(&bench.run(payload).await, 1, Some("spawn sh ENOENT"));
    let mut payload = sh("true");
    payload["args"] = json!(["-c", "true", "x".repeat(3 << 20)]);
    failed(&bench.run(payload).await, 1, Some("spawn sh E2BIG"));
}

#[tokio::test]
async fn a_command_that_is_not_allowed_does_not_run() {
    let bench = Bench::new();
    let outcome = bench.run(json!({"kind": "shell", "command": "/bin/sh"})).await;
    failed(&outcome, 126, Some("command not allowed: /bin/sh"));
    assert_eq!((outcome.duration, outcome.stdout.len()), (Duration::ZERO, 0));
    let bench = Bench::with(|config| config.openclaw_command = "openclaw".into());
    let outcome = bench.run(json!({"kind": "openclaw-run"})).await;
    failed(&outcome, 126, Some("command not allowed: openclaw"));
}

#[tokio::test]
async fn poison_payloads_fail_with_a_reason() {
    let bench = Bench::new();
    failed(&bench.run(json!({"kind": "Shell"})).await, 1, Some("unknown job kind: Shell"));
    let wrong = json!({"kind": "shell", "command": "sh", "args": "x"});
    failed(&bench.run(wrong).await, 1, Some("payload.args must be an array of strings"));
    failed(&bench.run(json!([])).await, 1, Some("payload must be an object"));
}

#[tokio::test]
async fn the_openclaw_command_runs_with_its_arguments_in_its_directory() {
    let bench = Bench::new();
    let dir = bench.base.path().canonicalize().unwrap();
    let payload = json!({"kind": "openclaw-run", "args": ["-c", "pwd"], "openclawDir": dir});
    assert_eq!(bench.run(payload).await.stdout, format!("{}\n", dir.display()));
    // Without arguments it is `sh run`, with none at all an `sh` that reads an empty input.
    let outcome = bench.run(json!({"kind": "openclaw-run"})).await;
    assert!(!outcome.success && outcome.stderr.contains("run"), "{outcome:?}");
    assert!(bench.run(json!({"kind": "openclaw-run", "args": []})).await.success);
}

#[tokio::test]
async fn a_timeout_ends_the_job_and_says_so() {
    let bench = Bench::new();
    let start = Instant::now();
    let outcome = bench.run(sh_within(5, "echo early; sleep 60")).await;
    failed(&outcome, 1, Some("timed out after 1000ms"));
    assert_eq!(outcome.stdout, "early\n");
    assert!((1000..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_huge_timeout_does_not_fire_early() {
    let bench = Bench::new();
    assert!(bench.run(sh_within(3_000_000_000, "sleep 0.3")).await.success);
}
