//! How many requests may be sent a second time.
//!
//! Always: over time at most a fifth of what was sent once, plus ten a second, so that retries never
//! multiply the load of a service that is already failing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Thousandths of a retry that each request earns.
const EARNED: u64 = 200;

/// What is earned without any request, each millisecond: ten retries a second.
const FLOOR_PER_MS: u64 = 10;

/// The most that is saved up: what 500 requests earn.
const MOST: u64 = 100_000;

/// The retries of one service. `now` is in milliseconds.
#[derive(Debug)]
pub(super) struct Budget {
    /// What requests earned since the account was last looked at.
    earned: AtomicU64,
    /// What there is, and when that was.
    account: Mutex<(u64, u64)>,
}

impl Budget {
    /// Ten retries to begin with.
    pub(super) const fn new(now: u64) -> Self {
        Self { earned: AtomicU64::new(0), account: Mutex::new((10_000, now)) }
    }

    /// A request was sent for the first time.
    pub(super) fn earn(&self) {
        if self.earned.load(Relaxed) < MOST {
            self.earned.fetch_add(EARNED, Relaxed);
        }
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&self, now: u64) -> bool {
        let Ok(mut account) = self.account.lock() else { return false };
        let (saved, since) = *account;
        let floor = now.saturating_sub(since).saturating_mul(FLOOR_PER_MS);
        let all =
            saved.saturating_add(floor).saturating_add(self.earned.swap(0, Relaxed)).min(MOST);
        let left = all.checked_sub(1_000);
        *account = (left.unwrap_or(all), now);
        left.is_some()
    }
}
