//! Bounds of the running node, each with its reason. Bounds of the protocol stand there.

use std::time::Duration;

/// Inputs waiting for the engine. A full inbox is answered 503 `busy`: a client can retry, an
/// unbounded queue cannot be taken back. At 10,000 commands a second this is 0.4 s of work.
pub(crate) const ENGINE_INBOX: usize = 4096;

/// How often the engine looks which hosts are silent: all of them are gone through.
pub(crate) const SILENCE_LOOK: Duration = Duration::from_secs(1);

/// How long the engine sleeps at most: it looks at the free space and at its timers that often.
pub(crate) const ENGINE_TICK: Duration = Duration::from_millis(500);

/// How often a store that failed is opened again.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(2);

/// How long the answers of requests in flight are waited for when the node stops.
pub(crate) const HTTP_STOP_GRACE: Duration = Duration::from_secs(2);

/// A clock before this day was never set: jobs are not taken (2026-01-01).
pub(crate) const EARLIEST_WALL_MS: u64 = 1_767_225_600_000;

/// What jobs get between TERM and KILL when the host stops.
pub(crate) const JOB_KILL_GRACE: Duration = Duration::from_secs(2);

/// How long a stopping host waits until its last results are taken.
pub(crate) const HOST_FAREWELL: Duration = Duration::from_secs(5);

/// Time on top of the jobs' own grace for a host to kill, reap and report what it ran: the two
/// above and a second.
pub(crate) const HOST_STOP_SLACK: Duration = Duration::from_secs(8);

/// How long a starting node waits for the host inside it to register: usually a few milliseconds.
pub(crate) const EMBEDDED_HOST_PATIENCE: Duration = Duration::from_secs(1);

/// How often a write that waits for a configured coordinator looks whether it is there.
pub(crate) const PEER_GLANCE: Duration = Duration::from_millis(50);

/// Pause before a full inbox of the engine is tried again with what must not be lost.
pub(crate) const INBOX_AGAIN: Duration = Duration::from_millis(10);
