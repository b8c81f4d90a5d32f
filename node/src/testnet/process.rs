//! The processes of a local network and the folder they live in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::TestnetError;
use crate::config::SETTINGS;

/// Lines of a log that are shown when its process ended.
const LOG_TAIL: usize = 12;

/// What a process gets to stop by itself before it is killed.
const STOP: Duration = Duration::from_secs(15);

/// The network's own folder; removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> io::Result<Self> {
        let name = format!("skyclaw-testnet-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The folder of one node.
    pub(super) fn of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file beside the nodes' folders; only this user gets to it.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's temporary directory is the system's to sweep.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One node; killed when dropped.
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    over: bool,
}

impl Process {
    pub(super) fn start(
        folder: &Folder,
        name: &str,
        settings: &[(&str, String)],
    ) -> Result<Self, TestnetError> {
        let system = |what| move |source| TestnetError::System { what, source };
        let home = folder.of(name);
        fs::create_dir_all(&home).map_err(system("no folder for a node"))?;
        let log = home.join("log");
        let stderr = File::create(&log).map_err(system("no log file for a node"))?;
        let exe = std::env::current_exe().map_err(system("the path of this program"))?;
        let mut command = Command::new(&exe);
        command
            .arg("--stop-with-parent")
            .arg(std::process::id().to_string())
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A process group of its own: Ctrl-C reaches it through us, in our order.
            .process_group(0)
            .kill_on_drop(true);
        // Settings of the person's shell are for other nodes.
        for (variable, _) in std::env::vars_os() {
            if is_setting(&variable.to_string_lossy()) {
                command.env_remove(variable);
            }
        }
        command.envs(settings.iter().map(|(name, value)| (*name, value)));
        // The service that is deployed runs this program: hosts show what runs there the folders of PATH.
        let found = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&found).chain(exe.parent().map(Path::to_owned));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        let child = command.spawn().map_err(system("a node could not be started"))?;
        Ok(Self { name: name.into(), child, log, over: false })
    }

    /// Reads nothing of what it says on standard output: a pipe that fills up would stop it.
    pub(super) fn unheard(mut self) -> Self {
        drop(self.child.stdout.take());
        self
    }

    /// The url it says it listens on.
    pub(super) async fn listening_url(
        &mut self,
        patience: Duration,
    ) -> Result<String, TestnetError> {
        let Some(stdout) = self.child.stdout.take() else {
            return Err(self.fault("has no output"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let url = tokio::time::timeout(patience, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once("listening on ") {
                    return Some(url.to_owned());
                }
            }
            None
        })
        .await;
        match url {
            Ok(Some(url)) => Ok(url),
            Ok(None) => Err(self.fault("ended before it listened")),
            Err(_) => Err(self.fault("did not listen in time")),
        }
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<(), TestnetError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.fault("has ended")),
        }
    }

    /// How it ended, said once.
    pub(super) fn has_just_ended(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let how = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("signal {signal}"),
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "nobody knows how".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        self.over = true;
        Some(format!("{} has ended ({how})", self.name))
    }

    /// Whether it was said to have ended.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The id of the process while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn fault(&self, what: &'static str) -> TestnetError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
        TestnetError::Process { name: self.name.clone(), what, log: tail }
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended; kills it when it takes too long.
    pub(super) async fn ended(mut self) {
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Whether a variable tells a node what to do: our own, and those of OpenTelemetry, which its library reads as well.
fn is_setting(variable: &str) -> bool {
    ["SKYCLAW_", "OTEL_"].iter().any(|prefix| variable.starts_with(prefix))
        || SETTINGS.iter().any(|setting| setting.env == variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_of_the_person_reaches_a_node_of_the_testnet() {
        assert!(SETTINGS.iter().all(|setting| is_setting(setting.env)));
        for variable in ["SKYCLAW_LATER", "OTEL_RESOURCE_ATTRIBUTES"] {
            assert!(is_setting(variable), "{variable}");
        }
        for variable in ["PATH", "HOME", "LANG", "MY_SKYCLAW_TOKEN"] {
            assert!(!is_setting(variable), "{variable}");
        }
    }
}
