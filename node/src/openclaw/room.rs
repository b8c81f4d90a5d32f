//! Room for agents on this host: a turn takes about 1.1 GB, whatever it does.
//!
//! Always: of those that were let in and have not left, there are at most as many as the owner says,
//! and when one is let in the machine has what it needs to spare, beside what those still need that came
//! just before. Who comes first goes in first.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After so long an agent has reached its size, and the machine's own figures count it.
const GROWN: Duration = Duration::from_secs(30);

/// How often the machine is asked while somebody waits for memory: others free it, too.
const LOOK: Duration = Duration::from_secs(1);

/// The room of one host. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    bytes: u64,
    available: fn() -> Option<u64>,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Who waits, in order.
    waiting: Vec<u64>,
    /// Who is in, and since when.
    inside: Vec<(u64, Instant)>,
}

impl Room {
    /// For at most `most` agents of `bytes` each.
    #[must_use]
    pub(crate) fn new(most: usize, bytes: u64) -> Self {
        Self::with(most, bytes, available)
    }

    fn with(most: usize, bytes: u64, available: fn() -> Option<u64>) -> Self {
        let (most, state, left) = (most.max(1), Mutex::default(), Notify::new());
        Self(Arc::new(Inner { most, bytes, available, state, left }))
    }

    /// How many more could begin now.
    #[must_use]
    pub(crate) fn free(&self) -> usize {
        let state = self.0.state();
        let places = self.0.most.saturating_sub(state.inside.len());
        let fitting = self.0.fitting(&state).min(places);
        fitting.saturating_sub(state.waiting.len())
    }

    /// Why no agent will ever begin here, if that is so.
    pub(crate) fn too_small(&self) -> Option<String> {
        let total = total()?;
        let bytes = self.0.bytes;
        (total < bytes).then(|| {
            format!("an agent needs {bytes} bytes (SKYCLAW_OPENCLAW_MEMORY_BYTES), this machine has {total}")
        })
    }

    /// Takes a place in the queue; it is given up when dropped.
    #[must_use]
    pub(crate) fn ticket(&self) -> Ticket {
        let mut state = self.0.state();
        let number = state.next;
        state.next += 1;
        state.waiting.push(number);
        Ticket { room: self.clone(), number }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many the memory is enough for. A machine that does not say is taken at its owner's word.
    fn fitting(&self, state: &State) -> usize {
        let Some(available) = (self.available)() else { return usize::MAX };
        let young = state.inside.iter().filter(|(_, since)| since.elapsed() < GROWN).count();
        let taken = self.bytes.saturating_mul(young as u64);
        let left = available.saturating_sub(taken) / self.bytes.max(1);
        usize::try_from(left).unwrap_or(usize::MAX)
    }
}

/// A place in the queue, and then in the room.
#[derive(Debug)]
pub(crate) struct Ticket {
    room: Room,
    number: u64,
}

impl Ticket {
    /// Waits until there is room. Dropping this future keeps the place in the queue.
    pub(crate) async fn enter(&self) {
        loop {
            let left = self.room.0.left.notified();
            if self.try_enter() {
                return;
            }
            // Whoever waits behind looks again, too, so nobody is forgotten.
            let _ = tokio::time::timeout(LOOK, left).await;
        }
    }

    fn try_enter(&self) -> bool {
        let room = &self.room.0;
        let mut state = room.state();
        if state.inside.iter().any(|(number, _)| *number == self.number) {
            return true;
        }
        let first = state.waiting.first() == Some(&self.number);
        if !first || state.inside.len() >= room.most || room.fitting(&state) == 0 {
            return false;
        }
        state.waiting.remove(0);
        state.inside.push((self.number, Instant::now()));
        room.left.notify_waiters();
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.room.0.state();
        state.waiting.retain(|number| *number != self.number);
        state.inside.retain(|(number, _)| *number != self.number);
        drop(state);
        self.room.0.left.notify_waiters();
    }
}

/// Memory that can be taken without harm: of the machine, and of the control group this process is
/// in (version 2; others are not looked at).
fn available() -> Option<u64> {
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| of_group(&text));
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// All memory of the machine.
fn total() -> Option<u64> {
    of_line(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

fn of_machine(meminfo: &str) -> Option<u64> {
    of_line(meminfo, "MemAvailable:")
}

fn of_line(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn of_group(cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let read = |name: &str| -> Option<u64> {
        let file = format!("/sys/fs/cgroup{}/{name}", path.trim_end_matches('/'));
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    // "max" is no number: there is no limit.
    Some(read("memory.max")?.saturating_sub(read("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[tokio::test]
    async fn no_more_are_inside_than_the_owner_says_and_the_first_goes_first() {
        let room = Room::with(2, GIB, || Some(100 * GIB));
        let (a, b, c, d) = (room.ticket(), room.ticket(), room.ticket(), room.ticket());
        a.enter().await;
        b.enter().await;
        assert!(!c.try_enter() && !d.try_enter());
        assert_eq!(room.free(), 0);
        drop(a);
        assert!(!d.try_enter());
        c.enter().await;
        drop((b, c));
        d.enter().await;
        drop(d);
        assert_eq!(room.free(), 2);
    }

    #[tokio::test]
    async fn memory_that_one_just_admitted_will_take_is_not_given_twice() {
        let room = Room::with(8, GIB, || Some(2 * GIB + 5));
        assert_eq!(room.free(), 2);
        let (a, b, c) = (room.ticket(), room.ticket(), room.ticket());
        assert_eq!(room.free(), 0);
        a.enter().await;
        b.enter().await;
        assert!(!c.try_enter());
        drop(a);
        c.enter().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_up_stands_in_nobodys_way() {
        let room = Room::with(1, GIB, || None);
        let (a, b, c) = (room.ticket(), room.ticket(), room.ticket());
        a.enter().await;
        let waits = tokio::spawn(async move { c.enter().await });
        drop(b);
        drop(a);
        waits.await.unwrap();
    }

    #[test]
    fn a_machine_that_is_full_lets_nobody_in() {
        assert_eq!(Room::with(4, GIB, || Some(GIB - 1)).free(), 0);
    }

    #[test]
    fn figures_of_the_kernel_are_read() {
        assert_eq!(of_machine("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(of_machine(""), None);
        assert!(available().is_some_and(|bytes| bytes > 0));
    }
}
