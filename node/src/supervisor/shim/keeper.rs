//! What a shim does while there is something to keep: one thread that waits for the daemon, for the inner
//! process, for children that end, for the clock, and for what watches over the run.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, wait};
use skyclaw_protocol::SandboxLevel;
use zeroize::Zeroize;

use super::super::kept::{Kept, Reports, Told};
use super::super::tree;
use super::super::wire::{self, Command, Event, Launch};
use super::{Outputs, again};
use crate::sandbox::Ground;
use crate::sandbox::cgroup::Parents;
use crate::sandbox::fault::Fault;
use crate::time;

/// Grace for the job's processes when the daemon is gone: nobody waits for their answer.
const ORPHAN_GRACE: Duration = Duration::from_millis(300);

/// How often the clock is looked at while a job may run until some moment: waiting itself does not
/// see a time in which the machine slept.
const LOOK: Duration = Duration::from_secs(1);

/// Rounds of killing that look at the whole tree and nothing else. What lives on resists: it forks as
/// fast as it is killed, or the kernel does not let go of it.
const GENTLE: u32 = 2;

/// Looks at the list of children within one later round.
const HUNT: u32 = 200;

/// See the module.
pub(super) struct Keeper {
    socket: UnixStream,
    reports: Reports,
    deaths: UnixStream,
    ground: Ground,
    groups: Parents,
    /// Whether the user namespace it may need is there.
    entered: Result<(), Fault>,
}

/// One run.
#[derive(Default)]
struct Run {
    /// The process that is the run, or becomes it.
    main: Option<Pid>,
    kept: Option<Kept>,
    exit: Option<Option<i32>>,
    /// That is to be told, once it is known whether it was the last process.
    untold: bool,
    /// When its grace is over.
    ends: Option<Instant>,
    /// Until when it may run.
    until: Option<Duration>,
    /// How often it was killed, once it is to be.
    killed: Option<u32>,
    /// Somebody had it end, or its daemon is gone.
    told: bool,
    daemon_is_gone: bool,
    command: [u8; Command::LENGTH],
    filled: usize,
}

impl Keeper {
    pub(super) fn new(
        socket: UnixStream,
        deaths: UnixStream,
        ground: Ground,
        entered: Result<(), Fault>,
    ) -> io::Result<Self> {
        let groups = match ground.level {
            SandboxLevel::None => Parents::none(),
            _ => Parents::find(),
        };
        let reports = Reports::new(socket.try_clone()?);
        Ok(Self { socket, reports, deaths, ground, groups, entered })
    }

    /// Keeps one run, and others after it as long as each left nothing behind.
    pub(super) fn keep(mut self, outputs: Outputs) -> io::Result<()> {
        let mut next = Some(outputs);
        let mut files = None;
        while let Some(outputs) = next {
            let Some(mut run) = self.run(outputs, &mut files)? else { return Ok(()) };
            next = if self.end(&mut run) { again::wait(&self.socket)? } else { None };
        }
        Ok(())
    }

    /// Makes ready, waits for the order, and keeps the run until no process of it is left. None if there
    /// is nothing to be told of it.
    fn run(&mut self, outputs: Outputs, files: &mut Option<usize>) -> io::Result<Option<Run>> {
        let mut run = Run::default();
        let mut outputs = Some(outputs);
        let kept = self.ground.level != SandboxLevel::None;
        let mut unkept = None;
        if kept && let Some(outputs) = outputs.take() {
            let entered = std::mem::replace(&mut self.entered, Ok(()));
            match entered.and_then(|()| Kept::begin(&self.ground, &self.groups, outputs)) {
                Ok(begun) => {
                    let (kept, main) = begun?;
                    (run.kept, run.main) = (Some(kept), Some(main));
                }
                Err(fault) => unkept = Some(fault),
            }
        }
        // The same as before the first run: nothing of those before is open.
        let open = again::open_files();
        if *files.get_or_insert(open) != open {
            return self.nothing(&mut run);
        }
        self.reports.say(&Event::Ready);
        self.reports.flush();
        let Some(mut order) = self.order(&mut run) else { return self.nothing(&mut run) };
        if let Some(fault) = unkept {
            // Told to who asks for a run: a spare one has nobody to tell.
            self.reports.say(&Event::Unkept { text: fault.to_string() });
            self.reports.flush();
            return Ok(None);
        }
        let given = match (&mut run.kept, outputs) {
            (Some(kept), _) => kept.give(&order),
            (None, Some(outputs)) => self.start(&mut run, &order, outputs),
            (None, None) => Ok(()),
        };
        // It may hold secrets, and this process may keep other runs.
        order.zeroize();
        given?;
        if kept || run.main.is_some() {
            self.tend(&mut run)?;
        }
        Ok(Some(run))
    }

    /// There is nothing to run: what was made ready ends.
    fn nothing(&mut self, run: &mut Run) -> io::Result<Option<Run>> {
        if let Some(kept) = &mut run.kept {
            kept.let_go();
            while !self.reap(run) {
                ready([Some(self.deaths.as_fd())], None)?;
            }
            if let Some(kept) = &run.kept {
                kept.remove();
            }
        }
        Ok(None)
    }

    /// What is to be run. None if the daemon wants nothing any more, or the inner process is gone.
    fn order(&mut self, run: &mut Run) -> Option<Vec<u8>> {
        loop {
            if run.kept.is_some() && self.reap(run) {
                return None;
            }
            let [asked, _] =
                ready([Some(self.socket.as_fd()), Some(self.deaths.as_fd())], None).ok()?;
            if asked {
                return wire::receive_frame(&self.socket).ok();
            }
        }
    }

    /// Starts what is kept in nothing.
    fn start(&mut self, run: &mut Run, order: &[u8], outputs: Outputs) -> io::Result<()> {
        let launch: Launch = serde_json::from_slice(order.get(wire::HEAD..).unwrap_or_default())?;
        self.reports.say(&Event::Starting);
        self.reports.flush();
        match super::start(&launch, outputs) {
            Ok(main) => {
                run.main = Some(main);
                // A daemon that is gone is noticed, and the job ended, later.
                self.reports.say(&Event::Started { pid: main.as_raw_nonzero().get() });
            }
            Err(error) => {
                let (errno, text) = (error.raw_os_error(), error.to_string());
                self.reports.say(&Event::NotStarted { errno, text });
            }
        }
        Ok(())
    }

    /// Keeps the run until it has no process any more.
    fn tend(&mut self, run: &mut Run) -> io::Result<()> {
        while !self.reap(run) {
            self.look_at_clock(run);
            if run.killed.is_some() && self.kill(run) {
                return Ok(());
            }
            let pause = self.pause(run);
            self.reports.flush();
            let daemon = (!run.daemon_is_gone).then(|| self.socket.as_fd());
            let kept = run.kept.as_ref();
            let (inner, watch) = (kept.and_then(Kept::inner), kept.and_then(Kept::watch));
            let [asked, heard, over, _] =
                ready([daemon, inner, watch, Some(self.deaths.as_fd())], pause)?;
            if let Some(kept) = &mut run.kept {
                if heard {
                    kept.hear(&mut self.reports);
                }
                if over && let Some(text) = kept.over() {
                    self.reports.say(&Event::Over { text });
                    run.killed.get_or_insert(0);
                }
            }
            if asked {
                self.obey(run);
            }
        }
        Ok(())
    }

    /// Waits for every child and adopted descendant that has ended; true once there is none.
    fn reap(&mut self, run: &mut Run) -> bool {
        // First: what ends from here on is told of again.
        while (&self.deaths).read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        let last = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == run.main => {
                    run.exit = Some(status.exit_status());
                    run.untold = match &mut run.kept {
                        // What it said goes first.
                        Some(kept) => kept.hear_all(&mut self.reports) == Told::Began,
                        None => true,
                    };
                }
                Ok(None) => break false,
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(_) => break true,
            }
        };
        if let Some(code) = run.exit.filter(|_| std::mem::take(&mut run.untold)) {
            self.reports.say(&Event::Exited { code, last });
        }
        last
    }

    /// Ends what has no time left, and begins to watch what runs for longer than most.
    fn look_at_clock(&mut self, run: &mut Run) {
        let over = run.ends.is_some_and(|at| at <= Instant::now());
        let expired = run.until.is_some_and(|at| at <= time::since_boot());
        if run.killed.is_none() && (over || expired) {
            if expired && !over {
                // It is told before the deaths are. Nobody may be there to read it.
                self.reports.say(&Event::Expired);
            }
            run.told = true;
            run.killed = Some(0);
        }
        if let Some(kept) = &mut run.kept
            && let Err(error) = kept.watch_if_due()
        {
            self.reports.say(&Event::Over { text: format!("could not be watched: {error}") });
            run.killed.get_or_insert(0);
        }
    }

    /// How long there is nothing to do.
    fn pause(&self, run: &Run) -> Option<Duration> {
        if let Some(round) = run.killed {
            return Some(Duration::from_millis(if round <= 10 { 1 } else { 20 }));
        }
        let now = Instant::now();
        let ends = run.ends.map(|at| at.saturating_duration_since(now));
        let until = run.until.map(|at| at.saturating_sub(time::since_boot()).min(LOOK));
        let watch = run.kept.as_ref().and_then(Kept::watch_begins);
        let watch = watch.map(|at| at.saturating_duration_since(now));
        ends.into_iter().chain(until).chain(watch).min()
    }

    /// Takes what the daemon says: when the run is to end, and that it need not be heard any more.
    fn obey(&mut self, run: &mut Run) {
        let stop = match (&self.socket).read(&mut run.command[run.filled..]) {
            Ok(0) => None,
            Ok(n) => {
                run.filled = (run.filled + n) % run.command.len();
                if run.filled > 0 {
                    return;
                }
                match Command::decode(run.command) {
                    Command::Until(at) => {
                        run.until = Some(at);
                        return;
                    }
                    // There is one run at a time.
                    Command::Again => Some(Duration::ZERO),
                    Command::Stop(grace) => Some(grace),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(_) => None,
        };
        run.daemon_is_gone |= stop.is_none();
        let grace = stop.unwrap_or(ORPHAN_GRACE);
        run.told = true;
        if run.ends.is_none() && !grace.is_zero() {
            tree::signal_once(&[getpid()], Signal::TERM);
        }
        let asked = Instant::now().checked_add(grace);
        run.ends = [run.ends, asked].into_iter().flatten().min();
    }

    /// One round of killing descendants; true once none is left.
    fn kill(&mut self, run: &mut Run) -> bool {
        let round = run.killed.unwrap_or_default();
        run.told = true;
        run.killed = Some(round.saturating_add(1));
        tree::kill_round(&[getpid()], round >= GENTLE);
        if round >= GENTLE {
            for _ in 0..HUNT {
                if self.reap(run) {
                    return true;
                }
                if !tree::kill_children() {
                    break;
                }
            }
        }
        false
    }

    /// Tells that no process is left, and takes away what the run was kept in. True if this process may
    /// keep another one.
    fn end(&mut self, run: &mut Run) -> bool {
        let said = match &mut run.kept {
            Some(kept) => kept.end(&mut self.reports),
            None => {
                self.reports.say(&Event::Gone);
                false
            }
        };
        self.reports.flush();
        let Some(kept) = &run.kept else { return false };
        let usual = said && matches!(run.exit, Some(Some(_))) && !kept.is_watched();
        let alone = !run.told && !run.daemon_is_gone && run.filled == 0;
        kept.remove() && usual && alone && self.ground.may_keep_another()
    }
}

/// Waits until something can be read from one of them, or for so long; which of them it is.
fn ready<const N: usize>(
    from: [Option<BorrowedFd<'_>>; N],
    pause: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> =
        from.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    // Not a moment early, or it would be asked again at once.
    let pause = pause.map(|pause| pause + Duration::from_micros(1));
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    match poll(&mut polled, pause.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut seen = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(from.map(|fd| fd.is_some() && seen.next().unwrap_or(false)))
}
