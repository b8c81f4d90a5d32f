//! A program that looks like OpenClaw from outside and fails in the ways in which programs fail.
//!
//! | In the message of `agent exec` | It |
//! |---|---|
//! | `TOOLFAIL` | ends well, with a tool that failed and was not made good |
//! | `ERROR`, `TIMEOUT` | says so and exits with 1, 2 |
//! | `HUGE` | writes 20 MiB |
//! | `TRUNCATED`, `NOISE`, `NOTHING` | writes half an answer, lines before the answer, nothing |
//! | `HANG` | never answers |
//! | `STUBBORN` | never answers and ignores SIGTERM |
//! | `GRANDCHILD` | leaves a process in a session of its own, and never answers |
//! | `LINGER` | answers and stays |
//! | anything else | answers `stub: done` |
//!
//! What it was called with is kept beside it. It is a shell script, so that it runs where no Node is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What a usable version says of itself.
const VERSION: &str = "echo 'OpenClaw 2026.9.6 (stub)'";

/// A stub in a folder of its own, gone when dropped.
#[derive(Debug)]
pub struct Stub {
    folder: TempDir,
}

/// How the stub was called once.
#[derive(Clone, Debug)]
pub struct StubCall {
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub env: Vec<String>,
    /// What came on standard input; `agent exec` alone reads it.
    pub stdin: String,
}

impl Default for Stub {
    fn default() -> Self {
        Self::new()
    }
}

impl Stub {
    /// One that is fit for agent jobs.
    #[must_use]
    pub fn new() -> Self {
        Self::saying(VERSION)
    }

    /// One from before `agent exec`.
    #[must_use]
    pub fn old() -> Self {
        Self::saying("echo 'OpenClaw 2026.7.1 (stub)'")
    }

    /// One whose Node is too old for it.
    #[must_use]
    pub fn on_an_old_node() -> Self {
        Self::saying(
            "echo 'openclaw: Node 20.20.2: node:sqlite is unavailable; use 24.16+/26.1+' >&2; exit 1",
        )
    }

    fn saying(version: &str) -> Self {
        let stub = Self { folder: tempfile::tempdir().expect("a folder can be made") };
        fs::create_dir(stub.folder.path().join("calls")).expect("the test's folder is writable");
        let calls = stub.folder.path().join("calls");
        let script = SCRIPT.replace("@VERSION@", version);
        let script = script.replace("@CALLS@", &calls.display().to_string());
        fs::write(stub.path(), script).expect("the test's folder is writable");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(stub.path(), mode).expect("it is the test's own");
        stub
    }

    /// The program.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("openclaw")
    }

    /// Its folder, which may go into a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What stands in the command lines of its processes that stay.
    #[must_use]
    pub fn mark(&self) -> String {
        self.folder.path().join("calls").display().to_string()
    }

    /// The calls that ran a turn of an agent, in no order.
    #[must_use]
    pub fn turns(&self) -> Vec<StubCall> {
        self.calls().into_iter().filter(|call| call.args.starts_with(&exec())).collect()
    }

    /// All calls so far, in no order.
    #[must_use]
    pub fn calls(&self) -> Vec<StubCall> {
        let calls = fs::read_dir(self.folder.path().join("calls")).expect("it is there");
        let read =
            |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        calls
            .flatten()
            .map(|entry| entry.path())
            .map(|path| StubCall {
                args: lines(read(&path.join("args"))),
                env: lines(read(&path.join("env"))),
                stdin: read(&path.join("stdin")),
            })
            .collect()
    }
}

fn exec() -> [String; 2] {
    ["agent".into(), "exec".into()]
}

/// POSIX sh, and what every machine has.
const SCRIPT: &str = r#"#!/bin/sh
call=$(mktemp -d "@CALLS@/XXXXXX")
for arg; do printf '%s\n' "$arg"; done >"$call/args"
env >"$call/env"

answer() { # status, ok, final, more
  printf '{\n  "ok": %s,\n  "status": "%s",\n  "final": "%s",\n  "payloads": [],\n' "$2" "$1" "$3"
  printf '  "usage": {"input": 10, "output": 2, "total": 12, "cost": {"total": 0}},\n%s' "$4"
  printf '  "model": "mock-1", "provider": "mock", "sessionId": "stub-session"\n}\n'
}

case "$1 $2" in
"--version "*)
  @VERSION@
  exit
  ;;
"models list")
  echo '{"count": 1, "models": [{"key": "mock/mock-1", "name": "Mock", "input": "text",'
  echo '  "contextWindow": 128000, "local": true, "available": true, "tags": ["default"]}]}'
  exit
  ;;
"approvals set")
  cat >"$call/stdin"
  mkdir -p "$OPENCLAW_STATE_DIR/state"
  echo stub >"$OPENCLAW_STATE_DIR/state/openclaw.sqlite"
  exit
  ;;
"agent exec") ;;
*)
  echo "OpenClaw does not know the command \"$1\"." >&2
  exit 1
  ;;
esac

cat >"$call/stdin"
# The folder stands in the command line, so that tests find it.
for_ever='while :; do sleep 60; done'
says() { grep -q "$1" "$call/stdin"; }

if says TOOLFAIL; then
  answer ok true "tool said: exec denied" \
    '  "toolSummary": {"calls": 1, "tools": ["exec"], "failures": 1, "unresolvedError": {"toolName": "exec"}},
'
elif says ERROR; then
  answer error false "" '  "error": {"message": "the stub was told to fail", "kind": "exception"},
'
  exit 1
elif says TIMEOUT; then
  answer timeout false "" '  "error": {"message": "Request timed out", "kind": "timeout"},
'
  exit 2
elif says HUGE; then
  head -c 20971520 /dev/zero | tr '\0' x
elif says TRUNCATED; then
  answer ok true "cut off" "" | head -c 80
elif says NOISE; then
  echo "[plugins] a line that belongs elsewhere"
  answer ok true "stub: done" ""
elif says NOTHING; then
  :
elif says STUBBORN; then
  trap '' TERM
  exec sh -c "trap '' TERM; $for_ever" "$call"
elif says GRANDCHILD; then
  setsid sh -c "$for_ever" "$call" &
  exec sh -c "$for_ever" "$call"
elif says HANG; then
  exec sh -c "$for_ever" "$call"
elif says LINGER; then
  answer ok true "stub: done" ""
  exec sh -c "$for_ever" "$call"
else
  answer ok true "stub: done" ""
fi
"#;
