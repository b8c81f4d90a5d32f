//! Callers of a gateway, at a steady rate.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use skyclaw_tests::{Connection, Response, eventually};

/// One request over a connection of its own.
pub(super) fn get(gateway: SocketAddr, target: &str) -> io::Result<Response> {
    Connection::open(gateway)?.exchange("GET", target, &[], b"")
}

/// Callers under way.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `callers` that each ask `rate` times a second, over connections that are kept.
    pub(super) fn start(gateway: SocketAddr, target: &str, callers: usize, rate: u32) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let answered = Arc::<AtomicUsize>::default();
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let begun = Instant::now();
        let callers = (0..callers).map(|_| {
            let (stop, answered, failed) = (stop.clone(), answered.clone(), failed.clone());
            let target = target.to_owned();
            thread::spawn(move || {
                let mut connection = None;
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    next += Duration::from_secs(1) / rate;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    match call(&mut connection, gateway, &target) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(why) => {
                            connection = None;
                            let at = begun.elapsed();
                            failed.lock().expect("no caller panics").push(format!("{at:?}: {why}"));
                        }
                    }
                }
            })
        });
        let callers = callers.collect();
        Self { stop, answered, failed, callers }
    }

    /// Waits for so many answers from now on.
    pub(super) fn until_answered(&self, count: usize) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        eventually("requests are answered", || {
            let now = self.answered.load(Ordering::Relaxed);
            let failed = self.failed.lock().expect("no caller panics");
            if now >= until { Ok(()) } else { Err(format!("{now} of {until}; {failed:?}")) }
        });
    }

    /// How many were answered, and what the others came to.
    pub(super) fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().expect("no caller panics");
        }
        let failed = self.failed.lock().expect("no caller panics").clone();
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

fn call(
    connection: &mut Option<Connection>,
    gateway: SocketAddr,
    target: &str,
) -> Result<(), String> {
    let open = || Connection::open(gateway).map_err(|error| error.to_string());
    let mut one = connection.take().map_or_else(open, Ok)?;
    let answer = one.exchange("GET", target, &[], b"").map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    *connection = Some(one);
    Ok(())
}
