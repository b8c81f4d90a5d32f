//! The command line `skyclaw`, as people and scripts have it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::binary;
use crate::node::Node;
use crate::process::{Ended, Process};
use crate::wait::PATIENCE;

/// A shell to run `skyclaw` in: its variables and a folder of its own, and nothing of the test's
/// environment. It must outlive what it starts, whose outputs lie in that folder.
#[derive(Debug)]
pub struct Shell {
    env: Vec<(String, OsString)>,
    cwd: Option<PathBuf>,
    patience: Duration,
    folder: TempDir,
}

impl Shell {
    /// One in which no variable of `skyclaw` is set.
    #[must_use]
    pub fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self { env: Vec::new(), cwd: None, patience: PATIENCE, folder }
    }

    /// One that names the coordinator at `url`.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self::bare().with("SKYCLAW_COORDINATOR_URL", url)
    }

    /// One that names this coordinator, and shows no token.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        Self::at(&node.url())
    }

    /// Sets a variable. The last value counts.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Another working directory than its own folder.
    #[must_use]
    pub fn cwd(mut self, cwd: &Path) -> Self {
        self.cwd = Some(cwd.to_owned());
        self
    }

    /// For commands that may take longer than [`PATIENCE`], as they wait for something themselves.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts a command and does not wait.
    #[must_use]
    pub fn start(&self, args: &[&str]) -> Process {
        // Outputs are appended to what is in their folder.
        let logs = tempfile::tempdir_in(self.folder.path()).expect("it is writable").keep();
        let cwd = self.cwd.as_deref().unwrap_or_else(|| self.folder.path());
        Process::start(&binary("skyclaw"), args, &self.env, cwd, &logs)
    }

    /// Runs a command to its end, whichever that is.
    #[must_use]
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ended {
        self.start(args).wait(self.patience)
    }

    /// The standard output of a command, which must end well.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.well(args).stdout
    }

    /// The document of a command with `--json`, which must end well.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.well(&[&["--json"][..], args].concat()).json()
    }

    #[track_caller]
    fn well(&self, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.said());
        ended
    }
}
