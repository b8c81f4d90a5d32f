//! A process that does not outlive its test.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::{eventually, within};

/// How many lines of a log are shown when a test fails.
const TAIL: usize = 40;

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Ended {
    /// All that it wrote: its standard output, then its standard error.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The document on its standard output.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("no document ({error}): {}", self.said()))
    }
}

/// A process with its outputs in files; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program` in `cwd` with nothing in its environment but `PATH`, a private `HOME` and
    /// `TMPDIR`, and `env`. Outputs are appended to `<logs>/stdout` and `<logs>/stderr`.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: &[A],
        env: &[(String, OsString)],
        cwd: &Path,
        logs: &Path,
    ) -> Self {
        let tmp = logs.join("tmp");
        fs::create_dir_all(&tmp).expect("the test's folder is writable");
        let open = |name: &str| {
            let path = logs.join(name);
            let file = File::options().create(true).append(true).open(&path);
            (path, file.expect("the test's folder is writable"))
        };
        let (stdout, out) = open("stdout");
        let (stderr, err) = open("stderr");
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", &tmp)
            .env("TMPDIR", &tmp)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Self { child, stdout, stderr, ended: None }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            // It may end in this moment.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended = Some(self.child.wait().expect("a child can be waited for"));
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended.is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> Ended {
        let status = within(patience, "the process ends", || {
            self.is_running();
            self.ended.ok_or_else(|| format!("it runs; its log ends:\n{}", self.log_tail()))
        });
        let (stdout, stderr) = (self.stdout(), self.log());
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until its log has these words.
    #[track_caller]
    pub fn until_logged(&self, words: &str) {
        eventually(&format!("it says `{words}`"), || {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        });
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("log of process {} ends:\n{}", self.pid(), self.log_tail());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Processes that have `text` in their arguments or environment, zombies left out.
#[must_use]
pub fn processes_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            ["cmdline", "environ"].iter().any(|file| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(text.len()).any(|part| part == text.as_bytes())
            })
        })
        .collect()
}

/// Memory of a process in use now, in KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
