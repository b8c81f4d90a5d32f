//! What a command stands for on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where programs are looked for if the daemon itself has no `PATH`; what `execvp` uses.
pub(super) const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What a command stands for: an absolute path, or what the system would answer (`ENOENT`,
/// `EACCES`).
pub(super) type Found = Result<String, Errno>;

/// The daemon's `PATH`, and the names that were found in it at start.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    path: String,
    /// These stay what they were, whatever is put into a folder of `PATH` later.
    known: BTreeMap<String, String>,
}

impl Programs {
    /// Looks `names` up; warns about those that stand for nothing.
    pub(super) fn new(names: BTreeSet<&str>, daemon: &[(String, String)]) -> Self {
        let path = daemon.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
        let mut known = BTreeMap::new();
        for name in names {
            match resolve(name, path) {
                Ok(program) => _ = known.insert(name.to_owned(), program),
                Err(_) => {
                    tracing::warn!(command = %name, "allowed command is not found in PATH; jobs that name it fail until it is installed");
                }
            }
        }
        Self { path: path.to_owned(), known }
    }

    /// All that were found at the start, and where.
    pub(super) fn all(&self) -> (Vec<String>, &str) {
        (self.known.values().cloned().collect(), &self.path)
    }

    /// What `command` stands for. What was not there at the start is looked for again: it may have
    /// been installed since.
    pub(super) fn find(&self, command: &str) -> Found {
        match self.known.get(command) {
            Some(program) => Ok(program.clone()),
            None => resolve(command, &self.path),
        }
    }
}

/// Whether a path is absolute and says where it leads: no `..`, no `.`, no `//`, at which a
/// pattern could be led astray.
pub(super) fn is_plain(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

/// The file a name stands for, as `execvp` would find it. A name with a slash is a path.
fn resolve(name: &str, path: &str) -> Found {
    if name.is_empty() || name.contains('\0') {
        return Err(Errno::NOENT);
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
            Ok(path) => return Ok(path),
            Err(Errno::ACCESS) => worst = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(worst)
}

fn runnable(candidate: &Path) -> Found {
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_not_executable_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("data"), "x").unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(resolve("data", path), Err(Errno::ACCESS));
        assert_eq!(resolve("other", path), Err(Errno::NOENT));
    }

    #[test]
    fn what_was_missing_is_found_once_it_is_installed_and_then_looked_up_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let programs = Programs::new(["tool"].into(), &[("PATH".into(), path.into())]);
        assert_eq!(programs.find("tool"), Err(Errno::NOENT));
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(programs.find("tool").as_deref(), Ok(tool.to_str().unwrap()));
        std::fs::remove_file(&tool).unwrap();
        assert_eq!(programs.find("tool"), Err(Errno::NOENT));
    }

    #[test]
    fn paths_with_detours_are_not_plain() {
        for path in ["/bin/sh", "/opt/a b/c"] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "",
            "sh",
            "./sh",
            "bin/sh",
            "/",
            "//bin/sh",
            "/bin/",
            "/opt/../bin/sh",
            "/./sh",
            "/bin/..",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
