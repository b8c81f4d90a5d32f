//! Bounds of the bridge, each with its reason.

use std::time::Duration;

/// Longest wait for an original to say who it is, or for another short answer of it.
pub(super) const SHORT: Duration = Duration::from_secs(3);

/// Longest time for its whole state: 64 MiB over a slow line.
pub(super) const PULL: Duration = Duration::from_secs(60);

/// Longest silence while its state comes. One that stays silent counts as away after this.
pub(super) const PULL_SILENCE: Duration = Duration::from_secs(4);

/// Longest time for a batch to be taken: a mebibyte, or one record of eight.
pub(super) const PUSH: Duration = Duration::from_secs(30);

/// Longest time for a record that callers wait for: below the time that a quorum has, so that who
/// stays silent is known as such before the write is given up.
pub(super) const WITNESS: Duration = Duration::from_millis(1500);

/// Longest time for a claim or a registration: an original asks its own peers, without any limit.
pub(super) const CLAIM: Duration = Duration::from_secs(15);

/// A pull is followed by a rest of at least so many times as long as it took to come: it keeps the
/// original, which has one thread, busy a tenth of the time at most.
pub(super) const REST: u32 = 10;

/// The same for what it took here in all.
pub(super) const REST_HERE: u32 = 2;

/// A pull that was asked for out of turn comes no sooner after the one before.
pub(super) const POKED: Duration = Duration::from_millis(250);

/// First and longest pause after a failure. The longest is about what an operator waits after a
/// restart.
pub(super) const AGAIN: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(15));

/// Records in one push, and their bytes: a push is taken at one go, in which the original answers
/// nobody else.
pub(super) const BATCH: (usize, usize) = (500, 1 << 20);

/// Jobs that originals are shown: they keep all in memory and copy all with each heartbeat of their
/// hosts. Beyond it the oldest that have ended are left out.
pub(super) const MOST_JOBS: usize = 100_000;

/// A record that was pushed so often without effect rests.
pub(super) const TRIES: u8 = 3;

/// For so long.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(600);

/// Values that wait to be pushed for the word of originals. What has no room is asked for again.
pub(super) const WITNESSES: usize = 1024;

/// Of these so many at once to one original, which takes them one by one anyway.
pub(super) const WITNESSES_AT_ONCE: usize = 16;

/// Pushed values of which a pull is to show whether they are held, for each original.
pub(super) const DOUBTS: usize = 1024;

/// Longest short answer: a page of urls, or a job of eight mebibytes with its output.
pub(super) const MAX_ANSWER: usize = 16 << 20;

/// Longest answer that only says yes or no.
pub(super) const MAX_NOTE: usize = 256 << 10;

/// Longest text of an original that is shown or logged.
pub(super) const MAX_WHY: usize = 200;

/// How often it is looked whether something waits at originals that a host here could run, where
/// nothing told of a change.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Jobs taken from an original at one look, so that its own hosts get some.
pub(super) const CLAIMS_AT_ONCE: usize = 16;

/// Jobs that were claimed and are not taken over yet: more than hosts here have free slots, seldom.
pub(super) const MOST_CLAIMED: usize = 1024;

/// An original that gave nothing is not asked again for the same jobs before this.
pub(super) const VAIN: Duration = Duration::from_secs(5);

/// Before a lease of an original ends it counts as over: clocks differ, and taking over takes time.
pub(super) const LEASE_MARGIN_MS: u64 = 3000;

/// A host of an original counts as alive if it was heard of so long before the one heard of last.
pub(super) const FRESH_MS: u64 = 20_000;
