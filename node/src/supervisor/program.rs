//! Which program becomes the shim of a run: the small one beside this process's own file, or that file
//! itself.
//!
//! Always: it is of the very build of this process. What a start asks of it stands, with the name of the
//! build, in its first argument; a program of another build ends with a code of its own before it does
//! anything else. Found once, and held open: a package that is upgraded under a running node does not
//! change what its runs hang under.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

/// Its name, and that by which the processes of it call themselves.
pub(super) const NAME: &str = "skyclaw-job";

/// Names the sources of both ends.
const BUILD: &str = env!("SKYCLAW_JOB_BUILD");

/// What the first argument begins with.
const PREFIX: &str = "__skyclaw-job-";

/// How a program ends that is asked for something as another build: the protocol is another one.
pub(super) const OTHER_BUILD: i32 = 76;

/// The file of this process, also after another was put in its place.
const OWN: &str = "/proc/self/exe";

/// What a process of ours is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The keeper of runs.
    Shim,
    /// What becomes a sandbox.
    Inner,
    /// Nothing: it only says of which build it is.
    Check,
}

impl Part {
    const ALL: [(&str, Self); 3] =
        [("shim", Self::Shim), ("inner", Self::Inner), ("check", Self::Check)];

    /// The argument that asks for it.
    pub(super) fn argument(self) -> String {
        let name = Self::ALL.iter().find(|(_, part)| *part == self).map_or("", |(name, _)| *name);
        format!("{PREFIX}{name}:{BUILD}")
    }

    /// What an argument asks for, if it asks for such a thing; none within for another build.
    pub(super) fn read(argument: &OsStr) -> Option<Option<Self>> {
        let asked = argument.as_bytes().strip_prefix(PREFIX.as_bytes())?;
        let part = Self::ALL.iter().find(|(name, part)| {
            let rest = asked.strip_prefix(name.as_bytes());
            rest.and_then(|rest| rest.strip_prefix(b":")) == Some(BUILD.as_bytes())
                && part.argument().as_bytes() == argument.as_bytes()
        });
        Some(part.map(|(_, part)| *part))
    }
}

/// The program. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Program(Arc<Which>);

#[derive(Debug)]
enum Which {
    /// One that was named, as tests do. Nothing stands in for it.
    Named(PathBuf),
    /// The small one, and whether it was given up.
    Small { file: File, path: PathBuf, given_up: AtomicBool },
    /// This process's own.
    Own,
}

impl Program {
    /// The one that is named, else the one of this process.
    pub(crate) fn of(named: Option<&Path>) -> Self {
        static FOUND: OnceLock<Program> = OnceLock::new();
        match named {
            Some(path) => Self(Arc::new(Which::Named(path.to_owned()))),
            None => FOUND.get_or_init(Self::find).clone(),
        }
    }

    fn find() -> Self {
        let found = fs::read_link(OWN).map_err(|error| error.to_string());
        match found.and_then(|own| beside(&own)) {
            Ok(which) => Self(Arc::new(which)),
            Err(reason) => {
                tracing::info!("runs hang under this program itself and start slower: {reason}");
                Self(Arc::new(Which::Own))
            }
        }
    }

    /// What is executed.
    pub(super) fn path(&self) -> PathBuf {
        match &*self.0 {
            Which::Named(path) => path.clone(),
            // The file that was looked at, whatever lies under its name now.
            Which::Small { file, given_up, .. } if !given_up.load(Ordering::Relaxed) => held(file),
            Which::Small { .. } | Which::Own => OWN.into(),
        }
    }

    /// It has said that it is another build than it was: its file was written over. True if this
    /// process's own stands in from now on.
    pub(super) fn give_up(&self) -> bool {
        let Which::Small { path, given_up, .. } = &*self.0 else { return false };
        if !given_up.swap(true, Ordering::Relaxed) {
            let path = path.display();
            tracing::warn!("{path} was replaced by one of another build: it is not used any more");
        }
        true
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Which::Named(path) | Which::Small { path, .. } => path.display().fmt(f),
            Which::Own => OWN.fmt(f),
        }
    }
}

/// The small program beside the file of this process, if it may be used. The error says why not.
fn beside(own: &Path) -> Result<Which, String> {
    let folder = own.parent().ok_or("its own file has no folder")?;
    let path = folder.join(NAME);
    let why = |error: io::Error| format!("{}: {error}", path.display());
    let path_only = i32::try_from(OFlags::PATH.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(path_only).open(&path).map_err(why)?;
    let found = file.metadata().map_err(why)?;
    let ours = fs::metadata(OWN).map_err(why)?;
    // Whoever may write there could have any code run as this node. The node's own file is trusted already.
    let owned = found.uid() == 0 || found.uid() == ours.uid();
    let writable_by_more = found.mode() & 0o022 & !ours.mode() != 0;
    if !found.is_file() || !owned || writable_by_more {
        return Err(format!("{} is not kept from others as the node's is", path.display()));
    }
    let checked = Command::new(held(&file))
        .arg0_and(Part::Check)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(why)?;
    match checked.status.code() {
        Some(0) if checked.stdout == BUILD.as_bytes() => {
            Ok(Which::Small { file, path, given_up: AtomicBool::new(false) })
        }
        Some(OTHER_BUILD) => Err(format!("{} is of another build", path.display())),
        _ => Err(format!("{} does not answer as it should ({})", path.display(), checked.status)),
    }
}

/// Answers what is asked there; the exit code.
pub(super) fn answer() -> i32 {
    let written = io::stdout().lock().write_all(BUILD.as_bytes());
    i32::from(written.and_then(|()| io::stdout().lock().flush()).is_err())
}

/// A name for an open file, as the process that is about to execute it has it, too.
fn held(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// What every start of a process of ours has in common.
pub(super) trait Start {
    /// Its name, what it is to become, and no environment.
    fn arg0_and(&mut self, part: Part) -> &mut Self;
}

impl Start for Command {
    fn arg0_and(&mut self, part: Part) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.arg0(NAME).arg(part.argument()).env_clear()
    }
}

impl Start for tokio::process::Command {
    fn arg0_and(&mut self, part: Part) -> &mut Self {
        self.as_std_mut().arg0_and(part);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_from_its_own_argument_and_from_no_other_builds() {
        for (name, part) in Part::ALL {
            assert_eq!(Part::read(part.argument().as_ref()), Some(Some(part)));
            for other in ["", "0.0.1-0", &format!("{BUILD}0"), &BUILD[..BUILD.len() - 1]] {
                let argument = format!("{PREFIX}{name}:{other}");
                assert_eq!(Part::read(argument.as_ref()), Some(None), "{argument}");
            }
        }
        assert_eq!(Part::read("__skyclaw-job-shim".as_ref()), Some(None), "that of older builds");
        for other in ["", "--help", "run", "skyclaw-job"] {
            assert_eq!(Part::read(other.as_ref()), None, "{other}");
        }
    }
}
