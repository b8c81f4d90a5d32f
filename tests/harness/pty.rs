//! A program on a terminal of its own, as `script` of util-linux makes one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::binary::binary;
use crate::wait::eventually;

/// `skyclaw` on a terminal, between two looks at the terminal's modes; all of it ends when dropped.
#[derive(Debug)]
pub struct Pty {
    script: Child,
    keys: Option<ChildStdin>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Starts `skyclaw ARGS` on a terminal of that many lines and columns.
    #[must_use]
    pub fn start(args: &[&str], env: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        // Whatever happens to the program is told by what the shell writes after it, also if both are sent
        // SIGINT by the terminal.
        let inner = format!(
            "trap : INT; stty rows {rows} cols {columns}; echo \"before $(stty -g)\"; \"$PROGRAM\" {}; \
             echo \"code $?\"; echo \"after $(stty -g)\"",
            args.join(" ")
        );
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &inner, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PROGRAM", binary("skyclaw"))
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script starts");
        let mut out = script.stdout.take().expect("it is piped");
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut piece) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(&piece[..n]);
            }
        });
        Self { keys: script.stdin.take(), script, written }
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) {
        let pipe = self.keys.as_mut().expect("it is open");
        pipe.write_all(keys.as_bytes()).and_then(|()| pipe.flush()).expect("it reads");
    }

    /// All that was written to the terminal so far.
    #[must_use]
    pub fn written(&self) -> String {
        let bytes = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until this was written after the first `from` bytes. Returns how many there are then.
    #[track_caller]
    pub fn until(&self, from: usize, text: &str) -> usize {
        eventually(&format!("`{text}` on the terminal"), || {
            let all = self.written();
            let new = all.get(from..).unwrap_or_default();
            if new.contains(text) { Ok(all.len()) } else { Err(new.to_owned()) }
        })
    }

    /// The number of the program.
    #[must_use]
    #[track_caller]
    pub fn program(&self) -> u32 {
        eventually("the program runs", || {
            let shell = children(self.script.id());
            let found = shell.iter().flat_map(|pid| children(*pid)).find(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "skyclaw\n")
            });
            found.ok_or_else(|| format!("{shell:?}"))
        })
    }

    /// The terminal has another size.
    #[track_caller]
    pub fn resize(&self, rows: u16, columns: u16) {
        let terminal = fs::read_link(format!("/proc/{}/fd/1", self.program()));
        let done = Command::new("stty")
            .arg("-F")
            .arg(terminal.expect("it is open"))
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .status();
        assert!(done.expect("stty starts").success());
    }

    /// Sends the program a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.program().cast_signed()).expect("a number");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the program's end. Returns its exit code; the modes of the terminal must be what they
    /// were, and the screen the one before.
    #[track_caller]
    pub fn ended_in_order(&self) -> i32 {
        self.until(0, "after ");
        let all = eventually("the shell has said all", || {
            let all = self.written();
            let rest = all.rsplit("after ").next().unwrap_or_default();
            if rest.contains('\n') { Ok(all.clone()) } else { Err(all.clone()) }
        });
        let said = |word: &str| {
            let line = all.lines().find_map(|line| line.split(word).nth(1));
            line.unwrap_or_else(|| panic!("no `{word}`: {all}")).trim().to_owned()
        };
        assert_eq!(said("before "), said("after "), "the modes of the terminal differ");
        let screens = |switch: &str| all.matches(switch).count();
        assert_eq!(screens("\u{1b}[?1049h"), screens("\u{1b}[?1049l"), "another screen is left");
        assert_eq!(screens("\u{1b}[?25l"), screens("\u{1b}[?25h"), "the cursor is hidden");
        said("code ").parse().expect("a number")
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // What runs on the terminal is hung up with it.
        _ = self.script.kill();
        _ = self.script.wait();
    }
}

fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
