//! What a job may start, and what it finds in its environment.
//!
//! Always: the program is chosen by the host's own settings at start, never by anything in a
//! payload. A payload says a name; the name is on the list or the job does not run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where programs are looked for if the daemon itself has no `PATH`; what `execvp` uses.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Variables a job gets from the daemon's environment, besides `LC_*`.
const INHERITED: [&str; 4] = ["LANG", "TZ", "TERM", "PATH"];

/// What an allowed name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Program {
    /// The absolute path that is run.
    Found(String),
    /// There is none: what the system would answer (`ENOENT`, `EACCES`).
    Missing(Errno),
}

/// The allow list, resolved once, and the part of the environment every job gets.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    programs: BTreeMap<String, Program>,
    environment: Vec<(String, String)>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Run this path.
    Run(String),
    /// The name is allowed but nothing stands for it.
    Missing(Errno),
    /// The name is not on the list.
    Refused,
}

impl Policy {
    /// Resolves the names with the daemon's `PATH`; warns about those that stand for nothing.
    pub(super) fn new(allowed: &[String], daemon: &[(String, String)]) -> Self {
        let path = daemon.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
        let programs: BTreeMap<_, _> =
            allowed.iter().map(|name| (name.clone(), resolve(name, path))).collect();
        for (name, program) in &programs {
            if matches!(program, Program::Missing(_)) {
                tracing::warn!(command = %name, "allowed command is not found in PATH; jobs that name it will fail");
            }
        }
        let mut environment: Vec<_> = daemon
            .iter()
            .filter(|(name, _)| INHERITED.contains(&name.as_str()) || name.starts_with("LC_"))
            .cloned()
            .collect();
        if !environment.iter().any(|(name, _)| name == "PATH") {
            environment.push(("PATH".into(), DEFAULT_PATH.into()));
        }
        Self { programs, environment }
    }

    /// Whether `command` may run, and what it is. Equality only: `/bin/sh` is not `sh`.
    pub(super) fn judge(&self, command: &str) -> Verdict {
        match self.programs.get(command) {
            Some(Program::Found(path)) => Verdict::Run(path.clone()),
            Some(Program::Missing(errno)) => Verdict::Missing(*errno),
            None => Verdict::Refused,
        }
    }

    /// The whole environment of a job.
    pub(super) fn environment(
        &self,
        asked: &[(String, String)],
        home: &str,
        tmp: &str,
    ) -> Vec<(String, String)> {
        let mut all: BTreeMap<&str, &str> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (allowed, refused): (Vec<_>, Vec<_>) =
            asked.iter().partition(|(name, _)| may_set(name));
        all.extend(allowed.into_iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !refused.is_empty() {
            tracing::info!(count = refused.len(), "left out variables that a job may not set");
        }
        all.insert("HOME", home);
        all.insert("TMPDIR", tmp);
        all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// Whether a payload may set this variable. Refused is what makes a program load or run other
/// code than the host meant, what names the private directories, and what is ours.
fn may_set(name: &str) -> bool {
    const PREFIXES: [&str; 7] = ["LD_", "DYLD_", "PYTHON", "PERL", "RUBY", "GIT_", "SKYCLAW_"];
    // The last four do for bash and glibc what the named ones do: start-up options, a prompt
    // that is expanded (and so executed), loadable converters.
    const NAMES: [&str; 9] =
        ["PATH", "BASH_ENV", "ENV", "IFS", "HOME", "TMPDIR", "SHELLOPTS", "PS4", "GCONV_PATH"];
    let mut bytes = name.bytes();
    // Other names are exported bash functions (`BASH_FUNC_ls%%`) or cannot be set at all.
    let is_name = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name
        && !NAMES.contains(&name)
        && !name.ends_with("_OPTIONS")
        && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The file a name stands for, as `execvp` would find it. A name with a slash is a path.
fn resolve(name: &str, path: &str) -> Program {
    if name.is_empty() || name.contains('\0') {
        return Program::Missing(Errno::NOENT);
    }
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        // An empty entry means the working directory, which is no place for a host's programs.
        std::env::split_paths(OsStr::new(path))
            .filter(|dir| !dir.as_os_str().is_empty())
            .map(|dir| dir.join(name))
            .collect()
    };
    let mut worst = Errno::NOENT;
    for candidate in candidates {
        match runnable(&candidate) {
            Ok(path) => return Program::Found(path),
            Err(Errno::ACCESS) => worst = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Program::Missing(worst)
}

fn runnable(candidate: &Path) -> Result<String, Errno> {
    let path = std::path::absolute(candidate).map_err(|_| Errno::NOENT)?;
    let meta = std::fs::metadata(&path).map_err(|_| Errno::NOENT)?;
    if !meta.is_file() {
        return Err(Errno::ACCESS);
    }
    access(&path, Access::EXEC_OK)?;
    path.into_os_string().into_string().map_err(|_| Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    /// D4.
    #[test]
    fn a_command_must_equal_an_entry() {
        let policy = Policy::new(&["sh".into()], &pairs(&[("PATH", "/bin:/usr/bin")]));
        assert!(matches!(policy.judge("sh"), Verdict::Run(path) if path.starts_with('/')));
        for command in ["/bin/sh", "./sh", "sh ", "SH", "bash", ""] {
            assert_eq!(policy.judge(command), Verdict::Refused, "{command}");
        }
    }

    #[test]
    fn an_entry_that_stands_for_nothing_stays_allowed() {
        let policy = Policy::new(&["no-such-x".into()], &[]);
        assert_eq!(policy.judge("no-such-x"), Verdict::Missing(Errno::NOENT));
    }

    #[test]
    fn a_file_that_is_not_executable_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "x").unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(resolve("data", path), Program::Missing(Errno::ACCESS));
    }

    #[test]
    fn the_environment_is_the_few_of_the_daemon_and_what_the_payload_may_set() {
        let daemon = pairs(&[
            ("PATH", "/usr/bin"),
            ("LANG", "C.UTF-8"),
            ("LC_TIME", "C"),
            ("TZ", "UTC"),
            ("TERM", "dumb"),
            ("SKYCLAW_TOKEN", "secret"),
            ("HOME", "/root"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        let asked = pairs(&[
            ("GREETING", "hi"),
            ("LANG", "de"),
            ("PATH", "/evil"),
            ("LD_PRELOAD", "/evil.so"),
            ("DYLD_INSERT_LIBRARIES", "x"),
            ("NODE_OPTIONS", "--require=/evil"),
            ("BASH_ENV", "/evil"),
            ("ENV", "/evil"),
            ("IFS", "x"),
            ("PYTHONPATH", "/evil"),
            ("PERL5LIB", "/evil"),
            ("RUBYOPT", "-r/evil"),
            ("GIT_SSH_COMMAND", "evil"),
            ("SKYCLAW_TOKEN", "x"),
            ("HOME", "/evil"),
            ("TMPDIR", "/evil"),
            ("BASH_FUNC_ls%%", "() { evil; }"),
            ("SHELLOPTS", "xtrace"),
            ("PS4", "$(evil)"),
            ("", "x"),
            ("A=B", "x"),
        ]);
        let got = Policy::new(&[], &daemon).environment(&asked, "/h", "/t");
        let expected = pairs(&[
            ("GREETING", "hi"),
            ("HOME", "/h"),
            ("LANG", "de"),
            ("LC_TIME", "C"),
            ("PATH", "/usr/bin"),
            ("TERM", "dumb"),
            ("TMPDIR", "/t"),
            ("TZ", "UTC"),
        ]);
        assert_eq!(got, expected);
    }
}
