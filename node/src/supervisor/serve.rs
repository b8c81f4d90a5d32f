//! The process of a service: run without a time limit, its output in a ring.
//!
//! The rules are those for services, the environment and the shim those of jobs; the directory is the
//! instance's, and is kept from one process to the next.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skyclaw_protocol::egress::NetworkAsk;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::keep::{Kept, What};
use super::policy::{Section, Verdict, Whose};
use super::ring::LogRing;
use super::wire::Launch;
use super::workdir::JobDir;
use super::{Canceller, HostFault, Inner, StopReason, Supervisor, clean, errno, run};
use crate::egress::Door;

/// A process to run.
#[derive(Clone, Debug)]
pub struct ServeOrder {
    /// What it is; for logs.
    pub name: String,
    /// The command, which must be allowed.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// The port on which it is to answer.
    pub port: Option<u16>,
    /// What it asks to find in its environment; the policy of jobs decides.
    pub env: Vec<(String, String)>,
    /// What it finds there whatever it asks for.
    pub set: Vec<(String, String)>,
    /// What it asks to reach.
    pub network: Option<NetworkAsk>,
    /// Where its output goes.
    pub log: LogRing,
}

/// How a service's process ended. No process of it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code; none if a signal ended it.
    Exited(Option<i32>),
    /// It was told to.
    Stopped(StopReason),
    /// It never began, and will not however often it is tried: it is not allowed, or is nothing
    /// that can be run.
    Refused(String),
    /// It took more than it may, as this sentence says.
    Over(String),
    /// Its shim was killed.
    Lost(String),
}

/// A process under way. Dropping it does not end the process.
#[derive(Debug)]
pub struct ServeHandle {
    canceller: Canceller,
    ended: oneshot::Receiver<Result<Ended, HostFault>>,
}

impl ServeHandle {
    /// The way to end it.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Waits until no process of the service is left. Not to be asked again after that.
    ///
    /// # Errors
    /// [`HostFault`] if this host could not start it.
    pub async fn ended(&mut self) -> Result<Ended, HostFault> {
        let stopped = |_| Ok(Ended::Stopped(StopReason::HostStopped));
        (&mut self.ended).await.unwrap_or_else(stopped)
    }
}

/// The directories of one instance. Dropping it leaves them to the end of the daemon.
#[derive(Debug)]
pub struct Workspace(Arc<JobDir>);

impl Workspace {
    /// Where it works: empty at first.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(&self.0.work)
    }

    /// Writes a file there that was not, for this user alone.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<String, String> {
        let path = self.path().join(name);
        let mut options = fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(bytes));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Makes a folder there.
    pub(crate) fn folder(&self, name: &str) -> Result<String, String> {
        let path = self.path().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Its home, its folder for temporary files, and where it works.
    pub(super) fn places(&self) -> (&str, &str, &str) {
        (&self.0.home, &self.0.tmp, &self.0.work)
    }

    /// Removes all of it.
    pub async fn remove(self) {
        clean(&self.0).await;
    }
}

impl Supervisor {
    /// Makes directories for an instance.
    ///
    /// # Errors
    /// [`HostFault`] if they cannot be made, as on a full disk.
    pub fn workspace(&self) -> Result<Workspace, HostFault> {
        self.0.directory("an instance's").map(|dir| Workspace(Arc::new(dir)))
    }

    /// Runs a service's process in its directories.
    #[must_use]
    pub fn serve(&self, order: ServeOrder, space: &Workspace) -> ServeHandle {
        let (answer, ended) = oneshot::channel();
        let canceller = Canceller::new();
        let (cancelled, until) = (canceller.cancel.subscribe(), canceller.until.subscribe());
        let inner = Arc::clone(&self.0);
        let span = tracing::info_span!("service", service = %order.name);
        let dir = Arc::clone(&space.0);
        self.0.tasks.spawn(
            async move {
                let shutdown = inner.shutdown.subscribe();
                let result = if shutdown.borrow().is_some() {
                    Ok(Ended::Stopped(StopReason::HostStopped))
                } else {
                    match inner.launch(order, &dir).await {
                        Err(end) => end,
                        Ok((launch, log, _door)) => {
                            let task = run::Task {
                                program: &inner.program,
                                spare: &inner.spare,
                                ground: &inner.ground,
                                launch,
                                timeout: None,
                                grace: inner.grace,
                                launched: None,
                                cancelled,
                                until,
                                shutdown,
                                answered: None,
                            };
                            task.serve(&log).await
                        }
                    }
                };
                tracing::debug!(?result, "ended");
                let _ = answer.send(result);
                inner.prepare();
            }
            .instrument(span),
        );
        ServeHandle { canceller, ended }
    }
}

/// What is launched, where its output goes, and its way out while it runs.
type Ready = (Launch, LogRing, Option<Door>);

impl Inner {
    /// What is to be started; else how the run ends with that.
    async fn launch(
        &self,
        order: ServeOrder,
        dir: &JobDir,
    ) -> Result<Ready, Result<Ended, HostFault>> {
        let refused = |reason: String| Err(Ok(Ended::Refused(reason)));
        let command = order.command;
        let program = match self.policy.judge(Section::Services, &command, &order.args) {
            Verdict::Run(path) => path,
            Verdict::Missing(errno) => {
                let raw = Some(errno.raw_os_error());
                return refused(errno::spawn_error(&command, raw, ""));
            }
            Verdict::Refused(reason) => return refused(reason),
        };
        let reach = match self.reach(Whose::Services, order.network.as_ref()) {
            Ok(reach) => reach,
            Err(reason) => return refused(reason),
        };
        let mut env = self.policy.environment(&order.env, &dir.home, &dir.tmp);
        env.retain(|(name, _)| !order.set.iter().any(|(set, _)| set == name));
        env.extend(order.set);
        let cwd = order.cwd.into_os_string().into_string();
        let Ok(cwd) = cwd else { return refused("the working directory is no text".into()) };
        let (network, door) = self.way_out(reach, &dir.path).map_err(Err)?;
        let kept = self.keep(What::Service(order.port), network, &program, dir).await;
        let Kept { profile, places } = kept.map_err(Err)?;
        let (arg0, args) = (command, order.args);
        let launch = Launch { program, arg0, args, cwd, env, stdin: None, profile, places };
        Ok((launch, order.log, door))
    }
}
