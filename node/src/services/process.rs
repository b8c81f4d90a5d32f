//! One process of an instance, from its directory to "nothing is left".
//!
//! Always: one [`End`], whatever happens, and none before every process of it is gone. It counts
//! as serving only while it answers.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use skyclaw_protocol::ServiceDef;
use skyclaw_protocol::orders::Order;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::agent::End;
use super::health::{LOOK, MISSES, Probe};
use super::ports::{self, Port};
use super::{Inner, InstanceId};
use crate::bundle::BundleError;
use crate::supervisor::{
    Ended, HostFault, LogRing, ServeOrder, StopReason, Supervisor, Workspace, asked, changed,
};

/// An instance's own, kept from one of its processes to the next.
#[derive(Debug, Default)]
pub(super) struct Home {
    space: Option<Workspace>,
    /// Its bundle lies there.
    unpacked: bool,
    /// Closes when the one who unpacks it writes there no more.
    unpacking: Option<oneshot::Receiver<()>>,
    /// A port that turned out not to be free.
    taken: Option<u16>,
}

impl Home {
    pub(super) async fn remove(&mut self) {
        if let Some(space) = self.space.take() {
            space.remove().await;
        }
    }

    /// Does without a directory in which a bundle is still being unpacked: that does not end with who
    /// asked for it, and the next process must find an empty one. It is removed after that.
    fn give_up(&mut self) {
        let Some(unpacking) = self.unpacking.take() else { return };
        let Some(space) = self.space.take() else { return };
        tokio::spawn(async move {
            // Nothing is said.
            let _ = unpacking.await;
            space.remove().await;
        });
    }
}

/// An instance serves.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) id: InstanceId,
    pub(super) attempt: u64,
    pub(super) address: SocketAddr,
}

/// What one process needs.
pub(super) struct Process {
    pub(super) id: InstanceId,
    pub(super) attempt: u64,
    pub(super) order: Box<Order>,
    pub(super) inner: Arc<Inner>,
    pub(super) supervisor: Supervisor,
    pub(super) home: Arc<tokio::sync::Mutex<Home>>,
    pub(super) log: LogRing,
    pub(super) client: reqwest::Client,
    /// Asks to end it, with the time between TERM and KILL.
    pub(super) stop: watch::Receiver<Option<Duration>>,
    /// The moment at which it is to be dead.
    pub(super) until: watch::Receiver<Option<Duration>>,
    pub(super) up: mpsc::Sender<Up>,
}

/// Why a process that ran was ended here.
enum Fault {
    /// It never served.
    Never(String),
    /// It served once.
    Sick(String),
}

impl Process {
    pub(super) async fn run(self) -> End {
        let home = Arc::clone(&self.home);
        let mut home = home.lock().await;
        let mut stop = self.stop.clone();
        let ready = tokio::select! {
            biased;
            _ = asked(&mut stop) => None,
            ready = self.prepare(&mut home) => Some(ready),
        };
        let (cwd, port) = match ready {
            Some(Ok(ready)) => ready,
            Some(Err(end)) => return self.tell(end),
            None => {
                home.give_up();
                return End::Stopped;
            }
        };
        let Some(space) = &home.space else { return End::Host("its directory is gone".into()) };
        self.log.note(&format!("process {} starts, PORT={}", self.attempt, port.number()));
        let (served, end) = self.carry(space, cwd, port.number()).await;
        self.inner.table.serves(&self.id, None);
        // Freed first, so that looking at it finds only others.
        let number = port.number();
        let end = match end {
            End::Broke(text) if !served && !ports::is_free(number) => {
                home.taken = Some(number);
                End::PortTaken(text)
            }
            end => end,
        };
        drop(port);
        self.tell(end)
    }

    fn tell(&self, end: End) -> End {
        match &end {
            End::Broke(text) | End::Hopeless(text) | End::Host(text) => self.log.note(text),
            End::PortTaken(text) => {
                self.log.note(&format!("its port was taken by another program: {text}"));
            }
            End::Stopped => self.log.note("stopped"),
        }
        end
    }

    /// Its directory, with what its bundle holds, and a port.
    async fn prepare(&self, home: &mut Home) -> Result<(PathBuf, Port), End> {
        let fault = |error: &dyn std::fmt::Display| End::Host(error.to_string());
        let space = match home.space.take() {
            Some(space) => space,
            None => self.supervisor.workspace().map_err(|error| fault(&error))?,
        };
        let space = home.space.insert(space);
        let def = &self.order.def;
        if let Some(hash) = def.bundle.filter(|_| !home.unpacked) {
            let (busy, unpacking) = oneshot::channel();
            home.unpacking = Some(unpacking);
            let unpacked = self.inner.bundles.fetch_and_unpack(hash, space.path(), busy).await;
            home.unpacking = None;
            if let Err(error) = unpacked {
                // What was unpacked of it must not be there the next time.
                home.remove().await;
                let text = error.to_string();
                return Err(match error {
                    BundleError::Unavailable(_) => End::Broke(text),
                    BundleError::Broken(_) => End::Hopeless(text),
                    BundleError::Host(_) => End::Host(text),
                });
            }
            home.unpacked = true;
        }
        let cwd = working_directory(def, space.path())?;
        let port = Port::take(self.inner.config.base_port, home.taken);
        Ok((cwd, port.map_err(|error| fault(&error))?))
    }

    /// Runs it to its end; true if it served.
    async fn carry(&self, space: &Workspace, cwd: PathBuf, port: u16) -> (bool, End) {
        let def = &self.order.def;
        let env = match self.environment() {
            Ok(env) => env,
            Err(why) => return (false, End::Hopeless(why)),
        };
        let order = ServeOrder {
            name: self.id.service.to_string(),
            command: def.command.clone(),
            args: def.args.clone(),
            cwd,
            port: Some(port),
            env,
            set: vec![("PORT".to_owned(), port.to_string())],
            network: def.network.clone(),
            log: self.log.clone(),
        };
        let probe = Probe::new(&self.client, port, def.health.as_ref());
        let grace = self.inner.config.grace;
        let mut process = self.supervisor.serve(order, space);
        let canceller = process.canceller();
        let (mut stop, mut until) = (self.stop.clone(), self.until.clone());
        if let Some(at) = *until.borrow_and_update() {
            canceller.may_run_until(at);
        }
        let (mut told, mut fault, mut served) = (false, None, false);
        let ended = {
            let mut oversee = std::pin::pin!(self.oversee(&probe, &mut served));
            loop {
                tokio::select! {
                    ended = process.ended() => break ended,
                    grace = asked(&mut stop), if !told => {
                        told = true;
                        self.inner.table.serves(&self.id, None);
                        canceller.cancel_within(StopReason::HostStopped, grace);
                    }
                    at = changed(&mut until) => canceller.may_run_until(at),
                    found = &mut oversee, if !told && fault.is_none() => {
                        fault = Some(found);
                        self.inner.table.serves(&self.id, None);
                        canceller.cancel_within(StopReason::Cancelled, grace);
                    }
                }
            }
        };
        (served, self.judge(ended, told, fault))
    }

    fn judge(&self, ended: Result<Ended, HostFault>, told: bool, fault: Option<Fault>) -> End {
        match (ended, fault) {
            _ if told => End::Stopped,
            (Err(fault), _) => End::Host(fault.to_string()),
            (Ok(Ended::Refused(text)), _) => End::Hopeless(text),
            (_, Some(Fault::Never(text))) => End::Hopeless(self.with_last_words(text)),
            (_, Some(Fault::Sick(text))) => End::Broke(self.with_last_words(text)),
            (Ok(Ended::Stopped(_)), None) => End::Stopped,
            (Ok(Ended::Over(text)), None) => End::Broke(self.with_last_words(text)),
            (Ok(Ended::Lost(text)), None) => End::Broke(text),
            (Ok(Ended::Exited(code)), None) => {
                let text = match code {
                    Some(code) => format!("service process exited with code {code}"),
                    None => "service process was ended by a signal".to_owned(),
                };
                End::Broke(self.with_last_words(text))
            }
        }
    }

    fn with_last_words(&self, mut text: String) -> String {
        let words = self.log.last_words();
        if !words.is_empty() {
            text.push_str(": ");
            text.push_str(&words);
        }
        text
    }

    /// What the service asks for. Unless it says otherwise it is told to listen where only this
    /// machine reaches it, since everybody else comes through the host; only a host with a public
    /// url is reached from outside directly.
    ///
    /// # Errors
    /// Why a value cannot be read here.
    fn environment(&self) -> Result<Vec<(String, String)>, String> {
        let public = self.inner.config.public_base_url.is_some();
        let host = if public { "0.0.0.0" } else { "127.0.0.1" };
        let mut env = vec![("HOST".to_owned(), host.to_owned())];
        let mut def = self.order.def.clone();
        self.inner.config.seals.opening().open_all(&mut def)?;
        env.extend(def.env.into_iter().flatten());
        Ok(env)
    }

    /// Says that it serves once it does. Ends only with the reason to end the process.
    async fn oversee(&self, probe: &Probe, served: &mut bool) -> Fault {
        let limit = self.inner.config.start_timeout;
        let begun = Instant::now();
        let mut pause = LOOK.0;
        let address = loop {
            let text = match probe.look().await {
                Ok(address) => break address,
                Err(text) => text,
            };
            if begun.elapsed() >= limit {
                return Fault::Never(self.never(probe, limit, &text));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        };
        *served = true;
        self.inner.table.serves(&self.id, Some(address));
        self.log.note(&format!("serves, after {} ms", begun.elapsed().as_millis()));
        let up = Up { id: self.id.clone(), attempt: self.attempt, address };
        // The driver reads as long as it lives.
        let _ = self.up.send(up).await;
        let mut misses = 0;
        loop {
            sleep(probe.interval()).await;
            match probe.look().await {
                Ok(_) => misses = 0,
                Err(text) => {
                    misses += 1;
                    if misses == MISSES {
                        let what = probe.what();
                        return Fault::Sick(format!(
                            "did not answer its health check ({what}) {MISSES} times in a row: {text}"
                        ));
                    }
                }
            }
        }
    }

    fn never(&self, probe: &Probe, limit: Duration, last: &str) -> String {
        let within = format!("within {} s", limit.as_secs_f64());
        if self.order.def.health.is_some() {
            return format!("did not answer {} well {within}: {last}", probe.what());
        }
        let port = probe.port();
        format!("did not listen on port {port} (PORT) {within}")
    }
}

/// Where a process works: an absolute directory as it is named, a relative one within the
/// instance's own, else that itself. Not the daemon's, as in the original: that is no place for
/// what others send, and two instances would share it.
fn working_directory(def: &ServiceDef, own: &Path) -> Result<PathBuf, End> {
    let Some(cwd) = def.cwd.as_deref().filter(|cwd| !cwd.is_empty()) else {
        return Ok(own.to_owned());
    };
    let named = Path::new(cwd);
    if named.is_absolute() {
        return Ok(named.to_owned());
    }
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !named.components().all(inside) {
        return Err(End::Hopeless(format!(
            "the working directory {cwd} leads out of the instance's own"
        )));
    }
    let path = own.join(named);
    if def.bundle.is_some() {
        return if path.is_dir() {
            Ok(path)
        } else {
            Err(End::Hopeless(format!("there is no directory {cwd} in its bundle")))
        };
    }
    make_within(own, named).map(|()| path).map_err(|errno| match errno {
        // Only the service, or its name for it, can have it so.
        Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG => {
            let text = "it leads over what is no open folder of the instance's own";
            End::Hopeless(format!("cannot make the working directory {cwd}: {text}"))
        }
        errno => End::Host(format!("cannot make the working directory {cwd}: {errno}")),
    })
}

/// Makes the folders of a path of plain names below `own`, one in the other, and follows no link: this
/// is done outside of the sandbox, and an earlier process of the service may have left one that leads
/// anywhere.
fn make_within(own: &Path, named: &Path) -> rustix::io::Result<()> {
    // Those it made for itself may be closed to readers.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, own, flags, Mode::empty())?;
    for part in named.components() {
        let Component::Normal(name) = part else { continue };
        match mkdirat(&at, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
