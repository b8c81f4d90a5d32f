//! The timer of one lease, as its owner keeps it. Memory only.
//!
//! Always: validity is measured in durations on a monotonic clock; the wall time is for display
//! and for HTTP hosts over a restart of the owner. The end never moves back.

use crate::clock::{Mono, Now, Wall};
use crate::limits::{LEASE_NOTES, LEASE_SLACK_MS};

/// A lease that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the owner takes it back.
    pub ends: Mono,
    /// The same moment for people.
    pub shown: Wall,
    /// The moment as last written to disk.
    pub noted: Wall,
    /// Length of one extension, in milliseconds.
    pub lease_ms: u64,
    /// How much later than the host the owner counts it as over, in milliseconds.
    pub guard_ms: u64,
    /// No extension beyond this, even if the host names the job as running.
    pub limit: Option<Mono>,
    /// No extension beyond this by a host that only counts what it runs: one that lost an answer
    /// may count for ever what it does not run.
    pub count_limit: Mono,
    /// False once the host can no longer be running it: the lease then runs out.
    pub renewable: bool,
    /// True once the host was heard of after the grant: only then does losing it count as an
    /// attempt lost.
    pub heard: bool,
    /// True while its owner granted it itself and has led the job since: otherwise nobody knows what
    /// became of it meanwhile, and losing it does not count.
    pub counts: bool,
}

impl Lease {
    /// A lease granted now.
    #[must_use]
    pub fn grant(now: Now, lease_ms: u64, guard_ms: u64, run: RunTime) -> Self {
        // A host that measures its lease is told of full extensions only: one more must fit.
        let whole = if guard_ms > 0 { lease_ms } else { 0 };
        Self {
            ends: now.mono.plus_ms(lease_ms).plus_ms(guard_ms),
            shown: now.wall.plus_ms(lease_ms),
            noted: now.wall.plus_ms(lease_ms),
            lease_ms,
            guard_ms,
            limit: run.timeout_ms.map(|ms| limit(now, lease_ms, ms.saturating_add(whole))),
            count_limit: limit(now, lease_ms, run.timeout_ms.unwrap_or(run.default_ms)),
            renewable: true,
            heard: false,
            counts: true,
        }
    }

    /// A lease found on disk after a restart of its owner. HTTP leases end when they said they
    /// would; a lease with a guard gets the full wait, since its timers are gone. When the run
    /// began is not known any more: its timeout counts from now.
    #[must_use]
    pub fn recover(now: Now, until: Wall, lease_ms: u64, guard_ms: u64, run: RunTime) -> Self {
        let whole = if guard_ms > 0 { lease_ms } else { 0 };
        let left = if guard_ms > 0 { lease_ms } else { until.ms_since(now.wall).min(lease_ms) };
        Self {
            ends: now.mono.plus_ms(left).plus_ms(guard_ms),
            shown: now.wall.plus_ms(left),
            noted: until,
            lease_ms,
            guard_ms,
            limit: run.timeout_ms.map(|ms| limit(now, lease_ms, ms.saturating_add(whole))),
            count_limit: limit(now, lease_ms, run.timeout_ms.unwrap_or(run.default_ms)),
            renewable: true,
            heard: false,
            counts: false,
        }
    }

    /// Whether a host whose own timer ends its runs may be told of a full extension: one that ends
    /// it short of that must not be told so.
    #[must_use]
    pub fn may_be_renewed(&self, now: Now) -> bool {
        let end = now.mono.plus_ms(self.lease_ms).plus_ms(self.guard_ms);
        !self.is_over(now.mono)
            && self.limit.is_none_or(|limit| end <= limit.plus_ms(self.guard_ms))
    }

    /// The host said that it still runs the job, by its name or only by a count. True if the
    /// extension should be written to disk: see [`LEASE_NOTES`].
    pub fn renew(&mut self, now: Now, named: bool) -> bool {
        self.heard = true;
        self.renewable |= named;
        if !self.renewable {
            return false;
        }
        let end = now.mono.plus_ms(self.lease_ms).plus_ms(self.guard_ms);
        let end = match (named, self.limit) {
            (true, None) => end,
            (true, Some(limit)) => end.min(limit.plus_ms(self.guard_ms)),
            (false, _) => end.min(self.count_limit),
        };
        if end <= self.ends {
            return false;
        }
        self.ends = end;
        self.shown = now.wall.plus_ms(now.mono.ms_until(end).saturating_sub(self.guard_ms));
        let note = self.shown.ms_since(self.noted) >= self.lease_ms / LEASE_NOTES;
        if note {
            self.noted = self.shown;
        }
        note
    }

    /// Another owner may have extended it until now: a lease with a guard gets the full wait.
    pub fn wait_anew(&mut self, now: Now) {
        self.counts = false;
        if self.guard_ms > 0 {
            let end = now.mono.plus_ms(self.lease_ms).plus_ms(self.guard_ms);
            self.ends = self.ends.max(end);
        }
    }

    /// Its host is no member any more: it is over now, by no fault of the job.
    pub fn end_now(&mut self, now: Now) {
        self.ends = now.mono.min(self.ends);
        self.renewable = false;
        self.counts = false;
    }

    /// True once the owner may take it back.
    #[must_use]
    pub fn is_over(&self, now: Mono) -> bool {
        now >= self.ends
    }
}

fn limit(now: Now, lease_ms: u64, run_ms: u64) -> Mono {
    now.mono.plus_ms(run_ms.max(1000).saturating_add(LEASE_SLACK_MS).max(lease_ms))
}

/// How long a run may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTime {
    /// As the job says.
    pub timeout_ms: Option<u64>,
    /// What hosts take where it does not.
    pub default_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RunTime = RunTime { timeout_ms: None, default_ms: 300_000 };

    const fn at(ms: u64) -> Now {
        Now { mono: Mono(ms * 1_000_000), wall: Wall(1_000_000 + ms) }
    }

    #[test]
    fn a_lease_ends_after_its_length_and_not_before() {
        let lease = Lease::grant(at(0), 700, 0, ANY);
        assert!(!lease.is_over(at(699).mono));
        assert!(lease.is_over(at(700).mono));
        assert_eq!(lease.shown, Wall(1_000_700));
    }

    #[test]
    fn renewing_moves_the_end_forward_only() {
        let mut lease = Lease::grant(at(0), 1000, 0, ANY);
        assert!(lease.renew(at(600), true));
        assert!(lease.is_over(at(1600).mono) && !lease.is_over(at(1599).mono));
        assert!(!lease.renew(at(500), true));
        assert!(!lease.is_over(at(1599).mono));
    }

    #[test]
    fn a_jump_of_the_wall_clock_ends_no_lease() {
        let mut lease = Lease::grant(at(0), 1000, 0, ANY);
        let jumped = Now { mono: Mono(10_000_000), wall: Wall(u64::MAX / 2) };
        lease.renew(jumped, true);
        assert!(!lease.is_over(Mono(1_009_000_000)));
    }

    #[test]
    fn no_lease_outlives_its_jobs_timeout_by_more_than_the_slack() {
        let mut lease = Lease::grant(at(0), 1000, 0, RunTime { timeout_ms: Some(5000), ..ANY });
        for ms in (0..200_000).step_by(500) {
            lease.renew(at(ms), true);
        }
        assert!(lease.is_over(at(5000 + LEASE_SLACK_MS).mono));
    }

    #[test]
    fn a_lease_that_cannot_be_renewed_runs_out() {
        let mut lease = Lease::grant(at(0), 1000, 0, ANY);
        lease.renewable = false;
        lease.renew(at(900), false);
        assert!(lease.is_over(at(1000).mono));
    }

    #[test]
    fn after_a_restart_an_http_lease_ends_when_it_said_and_a_guarded_one_gets_the_full_wait() {
        let http = Lease::recover(at(500), Wall(1_000_700), 1000, 0, ANY);
        assert!(http.is_over(at(700).mono) && !http.is_over(at(699).mono));
        let gone = Lease::recover(at(5000), Wall(1_000_700), 1000, 0, ANY);
        assert!(gone.is_over(at(5000).mono));
        let p2p = Lease::recover(at(500), Wall(1_000_700), 1000, 100, ANY);
        assert!(p2p.is_over(at(1600).mono) && !p2p.is_over(at(1599).mono));
    }

    #[test]
    fn a_wall_clock_set_back_does_not_stretch_a_recovered_lease() {
        let lease = Lease::recover(at(0), Wall(u64::MAX), 1000, 0, ANY);
        assert!(lease.is_over(at(1000).mono));
    }

    #[test]
    fn a_host_that_only_counts_extends_no_lease_beyond_the_longest_run() {
        let mut counted = Lease::grant(at(0), 1000, 0, ANY);
        let mut named = counted.clone();
        for ms in (0..1_000_000).step_by(500) {
            counted.renew(at(ms), false);
            named.renew(at(ms), true);
        }
        assert!(counted.is_over(at(300_000 + LEASE_SLACK_MS).mono));
        assert!(!named.is_over(at(999_999).mono));
    }
}
