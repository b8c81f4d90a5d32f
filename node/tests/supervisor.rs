//! Jobs as real processes under the supervisor, with the built daemon as their shim.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "supervisor/lease.rs"]
mod lease;
#[path = "supervisor/output.rs"]
mod output;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_node::openclaw::{Openclaw, OpenclawConfig};
use skyclaw_node::supervisor::{Order, Outcome, StopReason, Supervisor, SupervisorConfig};
use skyclaw_protocol::JobId;

/// A supervisor and the directory its jobs live below.
struct Bench {
    supervisor: Supervisor,
    base: tempfile::TempDir,
}

/// Another program under the name of OpenClaw.
fn program(name: &str) -> Openclaw {
    Openclaw::unseen(OpenclawConfig { command: name.into(), ..OpenclawConfig::default() })
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
            openclaw: program("sh"),
            grace: Duration::from_millis(300),
            work_root: Some(base.path().join("work")),
            environment: vec![
                ("PATH".into(), std::env::var("PATH").unwrap()),
                ("LANG".into(), "C.UTF-8".into()),
                ("SKYCLAW_TOKEN".into(), "secret".into()),
                ("HOME".into(), "/daemon-home".into()),
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
        self.supervisor.start(Self::order(payload)).outcome().await.unwrap()
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

/// D3.
#[tokio::test]
async fn exit_codes_are_reported_without_an_error_text() {
    let bench = Bench::new();
    let ok = bench.sh("echo out; echo err >&2").await;
    assert_eq!((ok.success, ok.exit_code, ok.error.clone()), (true, 0, None));
    assert_eq!((ok.stdout.as_str(), ok.stderr.as_str()), ("out\n", "err\n"));
    failed(&bench.sh("exit 7").await, 7, None);
    failed(&bench.sh("exit 255").await, 255, None);
}

/// D5.
#[tokio::test]
async fn death_by_a_signal_is_exit_one_without_an_error_text() {
    let bench = Bench::new();
    failed(&bench.sh("kill -9 $$").await, 1, None);
    failed(&bench.sh("kill -TERM $$").await, 1, None);
}

/// D11.
#[tokio::test]
async fn what_cannot_be_started_fails_in_the_words_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::write(&data, "x").unwrap();
    let data = data.to_str().unwrap();
    let bench = Bench::with(|config| config.allowed.push(data.into()));
    let shell = |command: &str| json!({"kind": "shell", "command": command});
    failed(&bench.run(shell("no-such-x")).await, 1, Some("spawn no-such-x ENOENT"));
    failed(&bench.run(shell(data)).await, 1, Some(&format!("spawn {data} EACCES")));
    let mut payload = sh("true");
    payload["cwd"] = json!("/no/such/dir");
    failed(&bench.run(payload).await, 1, Some("spawn sh ENOENT"));
    let mut payload = sh("true");
    payload["args"] = json!(["-c", "true", "x".repeat(3 << 20)]);
    failed(&bench.run(payload).await, 1, Some("spawn sh E2BIG"));
}

/// D4.
#[tokio::test]
async fn a_command_that_is_not_allowed_does_not_run() {
    let bench = Bench::new();
    let outcome = bench.run(json!({"kind": "shell", "command": "/bin/sh"})).await;
    failed(&outcome, 126, Some("command not allowed: /bin/sh"));
    assert_eq!((outcome.duration, outcome.stdout.len()), (Duration::ZERO, 0));
    let bench = Bench::with(|config| config.openclaw = program("openclaw"));
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

/// D16 D20.
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

/// D9 D10.
#[tokio::test]
async fn a_timeout_ends_the_job_and_says_so() {
    let bench = Bench::new();
    let start = Instant::now();
    let outcome = bench.run(sh_within(5, "echo early; sleep 60")).await;
    failed(&outcome, 1, Some("timed out after 1000ms"));
    assert_eq!(outcome.stdout, "early\n");
    assert!((1000..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

/// F18.
#[tokio::test]
async fn a_huge_timeout_does_not_fire_early() {
    let bench = Bench::new();
    assert!(bench.run(sh_within(3_000_000_000, "sleep 0.3")).await.success);
}

/// A process that detaches itself twice, ignores TERM and writes its pid.
fn detached(mark: &Path, closes_output: bool) -> String {
    let output = if closes_output { ">/dev/null 2>&1" } else { "" };
    format!(
        "(setsid sh -c '(trap \"\" TERM HUP INT; sh -c \"echo \\$PPID > {}\"; \
         while :; do sleep 1; done) & exit 0' &) {output}; ",
        mark.display()
    )
}

/// F17.
#[tokio::test]
async fn a_timeout_reaches_a_detached_descendant_that_ignores_term() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let run = bench.run(sh_within(1000, &format!("{}sleep 60", detached(&mark, false))));
    let (outcome, pid) = tokio::join!(run, pid_in(&mark));
    failed(&outcome, 1, Some("timed out after 1000ms"));
    assert!(is_gone(pid));
}

#[tokio::test]
async fn what_a_job_leaves_in_the_background_is_ended_with_it() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let script = format!("{}while ! [ -s {} ]; do :; done", detached(&mark, true), mark.display());
    let outcome = bench.sh(&script).await;
    assert!(outcome.success && outcome.error.is_none(), "{outcome:?}");
    assert!(is_gone(pid_in(&mark).await));
}

/// D21.
#[tokio::test]
async fn a_result_waits_for_the_output_and_the_timeout_ends_the_wait() {
    let bench = Bench::new();
    let outcome = bench.sh("(sleep 0.3; echo late) & echo early; exit 3").await;
    failed(&outcome, 3, None);
    assert_eq!(outcome.stdout, "early\nlate\n");
    let outcome = bench.run(sh_within(1000, "sleep 60 & exit 0")).await;
    failed(&outcome, 1, Some("timed out after 1000ms"));
}

#[tokio::test]
async fn cancelling_gives_grace_and_then_kills() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let stubborn = format!("{}wait", detached(&mark, false));
    for (script, said) in [(polite, "ready\nbye\n"), (stubborn.as_str(), "")] {
        let run = bench.supervisor.start(Bench::order(sh(script)));
        tokio::time::sleep(Duration::from_millis(300)).await;
        run.canceller().cancel(StopReason::Cancelled);
        run.canceller().cancel(StopReason::LeaseLost);
        let outcome = run.outcome().await.unwrap();
        failed(&outcome, 1, Some("cancelled: job terminated"));
        assert_eq!(outcome.stdout, said);
    }
    assert!(is_gone(pid_in(&mark).await));
}

#[tokio::test]
async fn stopping_the_host_ends_every_job_and_cleans_up() {
    let bench = Bench::new();
    let runs: Vec<_> = (0..3)
        .map(|_| bench.supervisor.start(Bench::order(sh("trap '' TERM; sleep 60"))))
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    bench.supervisor.shutdown(Duration::from_millis(100)).await;
    assert!(start.elapsed() < Duration::from_secs(2));
    for run in runs {
        failed(&run.outcome().await.unwrap(), 1, Some("host stopped: job terminated"));
    }
    failed(&bench.sh("true").await, 1, Some("host stopped: job terminated"));
    assert_eq!(job_dirs(&bench), 0);
}

/// Directories of jobs that exist now.
fn job_dirs(bench: &Bench) -> usize {
    let roots = fs::read_dir(bench.base.path().join("work")).unwrap();
    roots
        .flatten()
        .flat_map(|root| fs::read_dir(root.path()).unwrap().flatten())
        .filter(|entry| entry.file_name() != ".lock")
        .count()
}

#[tokio::test]
async fn a_job_has_private_directories_that_are_removed() {
    let bench = Bench::new();
    let outcome = bench
        .sh("pwd; echo $HOME; echo $TMPDIR; stat -c %a . $HOME $TMPDIR; \
             mkdir -p $HOME/a/b; touch $HOME/a/b/c x; ln -s / y; chmod 0 $HOME/a/b $HOME/a .")
        .await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let base = bench.base.path().canonicalize().unwrap();
    let [work, home, tmp, modes @ ..] = &lines[..] else { panic!("{outcome:?}") };
    for (dir, name) in [(work, "work"), (home, "home"), (tmp, "tmp")] {
        assert!(Path::new(dir).starts_with(&base) && dir.ends_with(name), "{dir}");
    }
    assert_eq!(modes, ["700"; 3]);
    eventually("the directories are gone", || job_dirs(&bench) == 0).await;
}

/// D15 as F15 and F16 have it.
#[tokio::test]
async fn neither_secrets_nor_hooks_get_into_the_environment() {
    let bench = Bench::new();
    let mut payload = sh("env");
    payload["env"] = json!({
        "GREETING": "hi", "LD_PRELOAD": "/x.so", "PATH": "/evil", "BASH_ENV": "/x",
        "SKYCLAW_TOKEN": "y", "NODE_OPTIONS": "-r x", "HOME": "/evil", "TMPDIR": "/evil",
    });
    let outcome = bench.run(payload).await;
    let names: Vec<&str> =
        outcome.stdout.lines().map(|line| line.split('=').next().unwrap()).collect();
    for name in ["LD_PRELOAD", "BASH_ENV", "SKYCLAW_TOKEN", "NODE_OPTIONS"] {
        assert!(!names.contains(&name), "{name}");
    }
    assert!(!outcome.stdout.contains("evil") && !outcome.stdout.contains("daemon-home"));
    assert!(outcome.stdout.contains("GREETING=hi\n") && outcome.stdout.contains("LANG=C.UTF-8\n"));
}

/// D8.
#[tokio::test]
async fn a_job_gets_no_descriptor_of_the_daemon_and_an_empty_input() {
    // What the tests themselves were started with is inherited, so only kinds are looked at.
    let outcome = Bench::new().sh("cat; readlink /proc/$$/fd/*").await;
    assert!(outcome.stdout.starts_with("/dev/null\npipe:"), "{outcome:?}");
    for kind in ["socket:", "anon_inode:", ".lock"] {
        assert!(!outcome.stdout.contains(kind), "{}", outcome.stdout);
    }
}

#[tokio::test]
async fn a_job_cannot_read_what_the_daemon_or_its_shim_hold() {
    if rustix::process::geteuid().is_root() {
        return; // Root reads everything.
    }
    let bench = Bench::new();
    let daemon = std::process::id();
    let outcome = bench.sh(&format!("cat /proc/{daemon}/environ /proc/$PPID/environ")).await;
    assert_eq!((outcome.success, outcome.stdout.as_str()), (false, ""));
}

/// F15.
#[tokio::test]
async fn a_path_in_the_payload_does_not_choose_the_program() {
    let bench = Bench::new();
    let evil = bench.mark("sh");
    fs::write(&evil, "#!/bin/sh\necho evil\n").unwrap();
    let mut payload = sh("echo good");
    payload["env"] = json!({"PATH": bench.base.path()});
    payload["cwd"] = json!(bench.base.path());
    assert_eq!(bench.run(payload).await.stdout, "good\n");
}

/// F07.
#[tokio::test]
async fn jobs_run_side_by_side() {
    let bench = Bench::new();
    let start = Instant::now();
    let runs: Vec<_> =
        (0..4).map(|_| bench.supervisor.start(Bench::order(sh("sleep 1")))).collect();
    for run in runs {
        assert!(run.outcome().await.unwrap().success);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_job_that_kills_its_shim_fails_and_leaves_nothing() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let script = format!(
        "{}while ! [ -s {} ]; do :; done; kill -9 $PPID; sleep 60",
        detached(&mark, false),
        mark.display()
    );
    let outcome = bench.sh(&script).await;
    let lost = "the job's supervisor was killed; what the job left was ended";
    failed(&outcome, 1, Some(lost));
    let pid = pid_in(&mark).await;
    assert!(is_gone(pid));
    // The next job is not affected.
    assert!(bench.sh("true").await.success);
}

#[tokio::test]
async fn signals_to_a_jobs_group_or_shim_do_not_end_supervision() {
    let bench = Bench::new();
    assert_eq!(bench.sh("kill -TERM $PPID; kill -HUP $PPID; echo on").await.stdout, "on\n");
    failed(&bench.sh("kill -TERM 0; sleep 60").await, 1, None);
}

#[tokio::test]
async fn processes_that_fork_without_end_are_ended() {
    let bench = Bench::new();
    // Each link of the chain starts the next in a session of its own and exits.
    let mark = bench.mark("chain");
    fs::write(&mark, format!("setsid sh {0} & exit 0", mark.display())).unwrap();
    let start = Instant::now();
    let outcome = bench.run(sh_within(1000, &format!("sh {}; sleep 60", mark.display()))).await;
    failed(&outcome, 1, Some("timed out after 1000ms"));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// Runs in a process of its own, see below.
#[tokio::test]
async fn helper_that_is_killed() {
    let Ok(mark) = std::env::var("TEST_HELPER_MARK") else { return };
    let bench = Bench::new();
    let script = format!("{}sleep 60", detached(Path::new(&mark), false));
    bench.sh(&script).await;
}

#[tokio::test]
async fn a_daemon_killed_outright_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let mut helper = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_is_killed", "--nocapture"])
        .env("TEST_HELPER_MARK", &mark)
        .env("TMPDIR", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = pid_in(&mark).await;
    assert!(!is_gone(pid));
    helper.kill().unwrap();
    helper.wait().unwrap();
    eventually("the job's processes are gone", || is_gone(pid)).await;
}

#[tokio::test]
#[ignore = "slow: waits until the daemon loses patience"]
async fn a_job_that_stops_its_shim_is_ended_all_the_same() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let script = format!("{}kill -STOP $PPID; sleep 60", detached(&mark, false));
    let outcome = bench.run(sh_within(1000, &script)).await;
    failed(&outcome, 1, Some("timed out after 1000ms"));
    assert!(is_gone(pid_in(&mark).await));
}

#[tokio::test]
#[ignore = "a measurement"]
async fn start_to_outcome() {
    let bench = Bench::new();
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert!(bench.run(json!({"kind": "shell", "command": "true"})).await.success);
        times.push(start.elapsed());
    }
    times.sort();
    println!("p50 {:?} p95 {:?} max {:?}", times[25], times[47], times[49]);
}

#[tokio::test]
#[ignore = "needs perl; a process that changes its id thousands of times a second"]
async fn a_process_that_forks_and_exits_all_the_time_is_ended() {
    let bench = Bench::new();
    let mark = bench.mark("jumps");
    let chain = format!(
        "perl -MPOSIX -e '$SIG{{TERM}}=\"IGNORE\"; while(1){{ exit if fork; POSIX::setsid(); open(F,\">>\",\"{}\"); print F \"x\"; close F }}'; sleep 60",
        mark.display()
    );
    let start = Instant::now();
    let outcome = bench.run(sh_within(1000, &chain)).await;
    let jumps = fs::metadata(&mark).unwrap().len();
    println!("{jumps} jumps, ended after {:?}", start.elapsed());
    failed(&outcome, 1, Some("timed out after 1000ms"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = fs::metadata(&mark).unwrap().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(later, fs::metadata(&mark).unwrap().len());
}
