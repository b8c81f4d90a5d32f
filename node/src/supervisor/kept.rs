//! What a shim has of a run in a sandbox: the sandbox's first process, [`inner`], its control groups, and
//! what watches over it.
//!
//! Always: the shim is outside of the sandbox, so nothing in there sees or signals it; it alone ends the
//! run, for the daemon, for the clock, or for what [`Watch`] finds. At `isolated` the thread that watches is
//! there before the namespace of processes is made, since none can be made after that. Elsewhere it is
//! started once the run has gone on for longer than most do: until then it would have seen nothing.
//!
//! [`inner`]: super::inner

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, getpid};
use serde::Deserialize;
use skyclaw_protocol::SandboxLevel;

use super::program::{Part, Start};
use super::wire::{self, Event};
use crate::sandbox::cgroup::{Cgroup, Parents};
use crate::sandbox::fault::Fault;
use crate::sandbox::watch::{LOOK, Watch};
use crate::sandbox::{Ground, Places, Profile, namespaces, user};

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    isolated: bool,
    /// The inner process, and this process's end of its socket until the other one closes: with the inner
    /// process, or when it becomes the job.
    main: Pid,
    inner: Option<UnixStream>,
    group: Cgroup,
    heard: Heard,
    /// What is to be watched, once the order is there.
    watch: Option<Arc<Watch>>,
    watcher: Watcher,
}

/// What the inner process has said.
#[derive(Debug, Default)]
struct Heard {
    begun: bool,
    failed: bool,
    gone: bool,
    /// It took more than it may.
    over: bool,
}

/// Whether the end of the inner process is that of the job's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It had become the job.
    Began,
    /// It had not, or has told the job's end itself.
    Otherwise,
}

#[derive(Debug)]
enum Watcher {
    /// Nothing is to be watched yet.
    None,
    /// A thread waits for what it is to watch, and will say here what is over its bound.
    Ready(mpsc::Sender<Arc<Watch>>, UnixStream),
    /// It is to begin then.
    Due(Instant),
    /// It has begun. If this is none there is no word to come any more.
    Begun(Option<UnixStream>),
}

impl Watcher {
    fn ready() -> io::Result<Self> {
        let (word, mut says) = UnixStream::pair()?;
        let (begin, begins) = mpsc::channel::<Arc<Watch>>();
        thread::Builder::new().name("watch".into()).spawn(move || {
            if let Ok(watch) = begins.recv() {
                let _ = says.write_all(watch.until_over().as_bytes());
            }
        })?;
        Ok(Self::Ready(begin, word))
    }

    /// Has it watch that, at once if the thread is there.
    fn begin(self, watch: &Arc<Watch>) -> Self {
        match self {
            Self::Ready(begin, word) => {
                let _ = begin.send(Arc::clone(watch));
                Self::Begun(Some(word))
            }
            Self::None => Self::Due(Instant::now() + LOOK),
            other => other,
        }
    }
}

/// What the daemon is to hear. Held until there is nothing to do: what is said at once is heard at once.
#[derive(Debug)]
pub(super) struct Reports {
    to: UnixStream,
    held: Vec<u8>,
}

impl Reports {
    /// To the daemon's end of this socket.
    pub(super) const fn new(to: UnixStream) -> Self {
        Self { to, held: Vec::new() }
    }

    /// Says it next.
    pub(super) fn say(&mut self, event: &Event) {
        self.held.extend(wire::encode(event).unwrap_or_default());
    }

    /// Says what is held. Nobody may be there to hear it.
    pub(super) fn flush(&mut self) {
        if !self.held.is_empty() {
            let _ = self.to.write_all(&self.held);
            self.held.clear();
        }
    }
}

/// What a shim reads of an order, which holds secrets beside that.
#[derive(Debug, Deserialize)]
struct Look {
    profile: Profile,
    places: Option<Places>,
}

impl Kept {
    /// Makes ready what is known before the job, and the process that is to become it.
    pub(super) fn begin(
        ground: &Ground,
        parents: &Parents,
        outputs: (OwnedFd, OwnedFd),
    ) -> Result<io::Result<(Self, Pid)>, Fault> {
        let isolated = ground.level == SandboxLevel::Isolated;
        let watcher = if isolated { Watcher::ready() } else { Ok(Watcher::None) };
        let watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => return Ok(Err(error)),
        };
        if isolated {
            namespaces::own_processes()?;
        }
        Ok(start(outputs).and_then(|(main, inner)| {
            // Before it hears anything it has started nothing.
            let mut group = Cgroup::create(parents, std::process::id());
            group.take(main.as_raw_nonzero().get().unsigned_abs());
            wire::send(&inner, ground)?;
            let heard = Heard::default();
            let inner = Some(inner);
            Ok((Self { isolated, main, inner, group, heard, watch: None, watcher }, main))
        }))
    }

    /// Hands the order on, and bounds what it starts.
    pub(super) fn give(&mut self, order: &[u8]) -> io::Result<()> {
        let look: Look = serde_json::from_slice(order.get(wire::HEAD..).unwrap_or_default())?;
        if let Some(places) = look.places {
            let limits = look.profile.limits;
            let bound = self.group.limit(&limits);
            let kills = if bound { self.group.kills() } else { None };
            // Where the run has no processes of its own, those that lose their parent come to the shim,
            // and the first one may be gone before them.
            let (root, itself) = if self.isolated { (self.main, true) } else { (getpid(), false) };
            let root = root.as_raw_nonzero().get();
            let count = !self.isolated && !user::can_be_given();
            let watch = Arc::new(Watch { root, itself, base: places.base, limits, kills, count });
            self.watcher = std::mem::replace(&mut self.watcher, Watcher::None).begin(&watch);
            self.watch = Some(watch);
        }
        // That it is gone is told by its end.
        if let Some(mut inner) = self.inner.as_ref() {
            let _ = inner.write_all(order);
        }
        Ok(())
    }

    /// There is no job for it: the inner process ends with that.
    pub(super) fn let_go(&mut self) {
        if let Some(inner) = self.inner.take() {
            let _ = inner.shutdown(Shutdown::Both);
        }
    }

    /// Where the inner process is heard.
    pub(super) fn inner(&self) -> Option<BorrowedFd<'_>> {
        self.inner.as_ref().map(AsFd::as_fd)
    }

    /// Where what watches is heard.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        match &self.watcher {
            Watcher::Begun(Some(word)) => Some(word.as_fd()),
            _ => None,
        }
    }

    /// When there is something to watch that is not watched yet.
    pub(super) fn watch_begins(&self) -> Option<Instant> {
        if let Watcher::Due(at) = &self.watcher { Some(*at) } else { None }
    }

    /// Whether it was watched.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.watcher, Watcher::Begun(_))
    }

    /// Begins to watch if it is time to.
    pub(super) fn watch_if_due(&mut self) -> io::Result<()> {
        let due = self.watch_begins().is_some_and(|at| at <= Instant::now());
        if let Some(watch) = self.watch.as_ref().filter(|_| due) {
            // Where there is no thread to be had it is not tried again.
            self.watcher = Watcher::None;
            self.watcher = Watcher::ready()?.begin(watch);
        }
        Ok(())
    }

    /// What is over its bound. None if nothing is, and never will be said to be.
    pub(super) fn over(&mut self) -> Option<String> {
        let Watcher::Begun(word) = &mut self.watcher else { return None };
        let mut text = String::new();
        word.take()?.read_to_string(&mut text).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// Hands on what the inner process says next, or takes note that it says nothing any more.
    pub(super) fn hear(&mut self, reports: &mut Reports) {
        let Some(inner) = &self.inner else { return };
        let Ok(event) = wire::receive::<Event>(inner) else {
            self.inner = None;
            if self.told() == Told::Began {
                reports.say(&Event::Started { pid: 0 });
            }
            return;
        };
        match event {
            Event::Starting => self.heard.begun = true,
            Event::NotStarted { .. } | Event::Unkept { .. } => self.heard.failed = true,
            Event::Gone => {
                self.heard.gone = true;
                self.last_look(reports);
            }
            _ => {}
        }
        reports.say(&event);
    }

    /// The same until it has said all, as it has ended or become the job.
    pub(super) fn hear_all(&mut self, reports: &mut Reports) -> Told {
        while self.inner.is_some() {
            self.hear(reports);
        }
        self.told()
    }

    fn told(&self) -> Told {
        let began = !self.isolated && self.heard.begun && !self.heard.failed;
        if began { Told::Began } else { Told::Otherwise }
    }

    /// Tells that no process is left. True if the run was begun and came to an end of its own.
    pub(super) fn end(&mut self, reports: &mut Reports) -> bool {
        if !self.heard.begun && !self.heard.failed {
            // The daemon takes the silence for what it is: the job had no part in it.
            return false;
        }
        if !self.heard.gone {
            self.last_look(reports);
            reports.say(&Event::Gone);
        }
        !self.heard.failed && !self.heard.over
    }

    /// The kernel may have ended the run for want of memory before the next look.
    fn last_look(&mut self, reports: &mut Reports) {
        let watch = self.watch.as_ref().filter(|watch| watch.kills.is_some());
        if let Some(text) = watch.and_then(|watch| watch.memory()) {
            self.heard.over = true;
            reports.say(&Event::Over { text });
        }
    }

    /// Takes the control groups away; true if nothing is left of them.
    pub(super) fn remove(&self) -> bool {
        self.group.remove()
    }
}

fn start((stdout, stderr): (OwnedFd, OwnedFd)) -> io::Result<(Pid, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // The file of this process, whatever lies under its name now.
    let child = Command::new("/proc/self/exe")
        .arg0_and(Part::Inner)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()?;
    Ok((Pid::from_child(&child), ours))
}
