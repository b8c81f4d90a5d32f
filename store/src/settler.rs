//! The settler: what the journal has gets into redb, and redb is put on disk, beside the engine.
//!
//! The engine asks for one or the other and goes on; it waits only where no more may wait, or where the journal
//! has no room. What goes wrong is kept with what waits ([`Behind`](crate::behind::Behind)): the engine finds it
//! before the next batch.
//!
//! It is a thread as a rule. Where a test wants to say when, each step is a call.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::Fault;
use crate::read::Shared;

/// What is to be done. Whoever syncs settles first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// redb is given what waits.
    Settle,
    /// redb puts it on disk.
    Sync,
}

#[derive(Debug, Default)]
struct State {
    /// What was asked for and is not begun: the most of it, so that nothing gathers.
    wanted: Option<Task>,
    /// What it is at.
    busy: Option<Task>,
    /// Tasks, and parts of them, that were ended, well or not.
    rounds: u64,
    stop: bool,
    /// The thread is gone.
    ended: bool,
}

/// Between the engine and the thread.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    asked: Condvar,
    done: Condvar,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way is not asked for again: whoever needs more finds out once it is done.
    fn ask(&self, state: &mut State, task: Task) {
        if state.wanted.max(state.busy) < Some(task) {
            state.wanted = Some(task);
            self.asked.notify_one();
        }
    }

    fn begin(state: &mut State) -> Option<Task> {
        state.busy = state.wanted.take();
        state.busy
    }

    /// Part of a task is done: there may be room.
    fn progress(&self) {
        self.state().rounds += 1;
        self.done.notify_all();
    }

    fn end(&self) {
        self.state().busy = None;
        self.progress();
    }
}

/// The steps, for whoever takes them.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    desk: Arc<Desk>,
    shared: Arc<Shared>,
}

impl Steps {
    /// Does what was asked for. False if it was nothing.
    pub(crate) fn take(&self) -> bool {
        let task = Desk::begin(&mut self.desk.state());
        let Some(task) = task else { return false };
        self.carry_out(task);
        true
    }

    fn carry_out(&self, task: Task) {
        // What goes wrong is kept with what waits, where all find it.
        let settled = self.shared.settle_in_parts(|| self.desk.progress());
        if settled.is_ok() && task == Task::Sync {
            let _ = self.shared.sync();
        }
        self.desk.end();
    }

    /// The life of the thread.
    fn run(&self) {
        let _gone = Gone(self);
        loop {
            let mut state = self.desk.state();
            let task = loop {
                if state.stop {
                    return;
                }
                if let Some(task) = Desk::begin(&mut state) {
                    break task;
                }
                state = self.desk.asked.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            self.carry_out(task);
        }
    }
}

/// Says that the thread is gone, whyever.
struct Gone<'s>(&'s Steps);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.shared.behind.give_up("the thread that writes to it ended by a panic");
        }
        let mut state = self.0.desk.state();
        (state.ended, state.busy) = (true, None);
        self.0.desk.done.notify_all();
    }
}

/// The settler of one open journal; dropping it waits for the step that is under way.
#[derive(Debug)]
pub(crate) struct Settler {
    steps: Steps,
    /// None where each step is a call.
    thread: Option<JoinHandle<()>>,
}

impl Settler {
    /// Begins, on a thread of its own or not.
    pub(crate) fn begin(shared: &Arc<Shared>, apart: bool) -> io::Result<Self> {
        let steps = Steps { desk: Arc::default(), shared: Arc::clone(shared) };
        let thread = if apart {
            let steps = steps.clone();
            let thread = thread::Builder::new().name("settler".into());
            Some(thread.spawn(move || steps.run())?)
        } else {
            None
        };
        Ok(Self { steps, thread })
    }

    /// Asks for it, and does not wait.
    pub(crate) fn ask(&self, task: Task) {
        let desk = &self.steps.desk;
        desk.ask(&mut desk.state(), task);
    }

    /// Asks for it, and waits until something was done. The caller looks whether that is enough, and asks again.
    pub(crate) fn wait(&self, task: Task) -> Result<(), Fault> {
        let desk = &self.steps.desk;
        let mut state = desk.state();
        let rounds = state.rounds;
        desk.ask(&mut state, task);
        if self.thread.is_none() {
            drop(state);
            self.steps.take();
        } else {
            while state.rounds == rounds && !state.ended {
                state = desk.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
        }
        self.steps.shared.health()
    }

    /// For tests that say when.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> Steps {
        self.steps.clone()
    }

    /// Waits until all that was asked for is done. For tests that look at the files.
    #[cfg(test)]
    pub(crate) fn rest(&self) {
        if self.thread.is_none() {
            while self.steps.take() {}
            return;
        }
        let mut state = self.steps.desk.state();
        while state.busy.max(state.wanted).is_some() && !state.ended {
            state = self.steps.desk.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.steps.desk.state().stop = true;
        self.steps.desk.asked.notify_all();
        // A panic was kept with what waits.
        let _ = thread.join();
    }
}
