//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for something that takes milliseconds on an idle machine. Generous: the machine
/// may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks until there is something. Fails with what was seen last.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look)
}

/// As [`eventually`], with a deadline that is part of what is tested.
#[track_caller]
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + patience;
    loop {
        let seen = match look() {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(Instant::now() < until, "not within {patience:?}: {what}; last seen: {seen}");
        thread::sleep(GLANCE);
    }
}
