//! Bounds of a host attached over libp2p, each with its reason.

use std::time::Duration;

/// Coordinators a host is attached to: losing one leaves one.
pub(super) const ATTACHMENTS: usize = 2;

/// A coordinator that did not do so often in a row what was asked is passed over: one that is killed or cut
/// off is gone from the connected ones by then.
pub(super) const PASSED_AFTER: u32 = 3;

/// For so long.
pub(super) const PASSED_FOR: Duration = Duration::from_secs(60);

/// Coordinators that are asked about a job, one after the other: who leads it, those the host is attached
/// to, and one more, so that whichever one lies there is another.
pub(super) const ASKED_ABOUT: usize = 4;

/// Homes whose announcements are remembered: as many as the peer book holds.
pub(super) const MAX_HOMES: usize = 256;

/// An announcement is worth nothing after so long: homes repeat theirs each second while work
/// waits, so two may be lost.
pub(super) const WORK_AGE: Duration = Duration::from_secs(3);

/// A host whose claim is parked looks elsewhere only for work that is still announced after this,
/// which is once again: the coordinator that holds its claim asks for it first.
pub(super) const OTHERS_FIRST: Duration = Duration::from_millis(900);

/// Hosts that hear of work at the same moment do not ask at the same moment. Short: it is added to
/// the start of every job.
pub(super) const JITTER: Duration = Duration::from_millis(4);

/// How long an answer may take that waits for a write of a quorum, beyond that quorum's 2 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// The same for a renewal: a further try must fit into what is left of the lease.
pub(super) const RENEW_PATIENCE: Duration = Duration::from_secs(3);

/// How long a withdrawn claim may take to be answered.
pub(super) const WITHDRAW_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a question is asked again that may not have been heard.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A parked claim that comes back empty sooner is not asked again at once: a coordinator that is about to
/// stop parks none. What waits elsewhere interrupts a claim, and is looked for at once.
pub(super) const PARKED_LEAST: Duration = Duration::from_secs(1);

/// How often a claim without an answer is asked again under its nonce. Then its grants, if there
/// are any, run out.
pub(super) const CLAIM_TRIES: u32 = 3;

/// How often coordinators are asked that did not register a starting host.
pub(super) const REGISTER_AGAIN: Duration = Duration::from_secs(1);

/// Longest answer: grants of 8 MiB of specs, or one spec that is larger, with room for the rest.
pub(super) const MAX_TELL: usize = 12 << 20;

/// A coordinator that has not answered by then is looked for: an answer takes milliseconds, and a
/// look costs it a connection.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Pause before it is looked for again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
