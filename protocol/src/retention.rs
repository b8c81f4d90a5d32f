//! How long a job is remembered, by rules that every node computes alike.
//!
//! ```text
//!            end + retention                expires_at
//!   whole ───────────────────> stub ─────────────────────────────> gone     short retention
//!            expires_at           + an hour          end + retention
//!   whole ───────────────────> no longer compared ───────────────> gone     long retention
//! ```
//!
//! Always: until `expires_at` every node that knew a job knows at least how it ended ([`Stub`]), so
//! that a peer which missed the end cannot bring an older value back; from then on nobody takes it
//! from anybody, so that what a node keeps for longer is its own affair. Retention is each node's
//! setting: it decides when payloads go, never what nodes compare (that goes by `expires_at`
//! alone), so that different settings leave nothing to repair.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Wall};
use crate::id::NetworkId;
use crate::limits::{GC_SLACK_MS, QUIET_MS};
use crate::record::spec::Subject;
use crate::record::{Raw, Reject, Signed};
use crate::register::{Certificate, Val};

/// What is left of a job whose payload and result are gone: how it ended, by the word of the
/// ballot's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Id, hash of the spec, outcome and hash of the result.
    pub certificate: Signed<Certificate>,
    /// When the job was made.
    pub created: Hlc,
    /// As its spec said.
    pub expires_at: Wall,
}

/// A [`Stub`] as it is stored and travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StubRaw {
    /// See [`Stub::certificate`].
    pub certificate: Raw,
    /// See [`Stub::created`].
    pub created: Hlc,
    /// See [`Stub::expires_at`].
    pub expires_at: Wall,
}

impl Stub {
    /// As it is stored and travels.
    #[must_use]
    pub fn raw(&self) -> StubRaw {
        let certificate = self.certificate.raw().clone();
        StubRaw { certificate, created: self.created, expires_at: self.expires_at }
    }

    /// Which job.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.certificate.body().key.subject
    }

    /// How it ended.
    #[must_use]
    pub fn val(&self) -> &Val {
        &self.certificate.body().val
    }

    /// When it is to be deleted.
    #[must_use]
    pub fn drop_at(&self) -> Wall {
        self.expires_at.plus_ms(GC_SLACK_MS)
    }

    fn checked(self) -> Result<Self, Reject> {
        if !matches!(self.subject(), Subject::Job(_))
            || self.val().job().is_none_or(|job| !job.phase.is_terminal())
        {
            return Err(Reject::Invalid("a stub is of a job that has ended"));
        }
        if self.expires_at <= self.created.wall() {
            return Err(Reject::Invalid("a job expires after it was made"));
        }
        Ok(self)
    }
}

impl StubRaw {
    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// [`Reject`]; it is dropped.
    pub fn verify(self, network: NetworkId, now: Wall) -> Result<Stub, Reject> {
        let Self { certificate, created, expires_at } = self;
        if created.is_beyond(now) {
            return Err(Reject::FromTheFuture { ahead_ms: created.ms.saturating_sub(now.0) });
        }
        Stub { certificate: certificate.verify(network, now)?, created, expires_at }.checked()
    }

    /// Reads what this node had checked before it stored it.
    ///
    /// # Errors
    /// [`Reject`] if the bytes do not hold a stub.
    pub fn reopen(self) -> Result<Stub, Reject> {
        let Self { certificate, created, expires_at } = self;
        Stub { certificate: certificate.reopen()?, created, expires_at }.checked()
    }
}

/// The times of one job, from which everything here follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it ended, if it did.
    pub ended: Option<Wall>,
    /// From when on no voter accepts anything.
    pub expires_at: Wall,
    /// How long this node keeps what has ended, in milliseconds.
    pub retention_ms: u64,
}

/// What is to be done about a job that is held whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Keep,
    /// Keep a stub of it.
    Shrink,
    /// Keep it, but compare it with nobody any more.
    Quiet,
    /// Delete it.
    Drop,
}

impl Life {
    /// When only a stub is left; `None` if it is deleted or expired by then anyway.
    #[must_use]
    pub fn shrink_at(self) -> Option<Wall> {
        let at = self.ended?.plus_ms(self.retention_ms);
        (at < self.expires_at).then_some(at)
    }

    /// When nothing of it is left. A job that did not end is shown as expired from `expires_at` on,
    /// and that is its end.
    #[must_use]
    pub fn drop_at(self) -> Wall {
        let end = self.ended.unwrap_or(self.expires_at);
        self.expires_at.max(end.plus_ms(self.retention_ms)).plus_ms(GC_SLACK_MS)
    }

    /// What is due next of a job that is held whole, and when. `floor` is how far deleting went.
    #[must_use]
    pub fn next(self, floor: Wall) -> (Wall, Fate) {
        if let Some(at) = self.shrink_at() {
            return (at, Fate::Shrink);
        }
        let (quiet, drop) = (quiet_from(self.expires_at).plus_ms(GC_SLACK_MS), self.drop_at());
        if quiet < drop && !is_quiet(self.expires_at, floor) {
            (quiet, Fate::Quiet)
        } else {
            (drop, Fate::Drop)
        }
    }

    /// What is to be done now.
    #[must_use]
    pub fn fate(self, now: Wall, floor: Wall) -> Fate {
        if now >= self.drop_at() {
            return Fate::Drop;
        }
        let (at, fate) = self.next(floor);
        if now >= at { fate } else { Fate::Keep }
    }
}

const fn quiet_from(expires_at: Wall) -> Wall {
    expires_at.plus_ms(QUIET_MS)
}

/// True if a job that expired so long ago is compared with nobody: it is no item.
#[must_use]
pub fn is_quiet(expires_at: Wall, floor: Wall) -> bool {
    quiet_from(expires_at) <= floor
}

/// True if a node that deleted up to `floor` takes nothing of a register that expires then, whatever
/// its clock says now: it may have deleted that very register.
#[must_use]
pub const fn is_gone(expires_at: Wall, floor: Wall) -> bool {
    expires_at.0 <= floor.0
}

/// How far deleting goes at this moment: whatever is deleted has expired before, on a clock a
/// minute off as well.
#[must_use]
pub const fn floor_at(now: Wall) -> Wall {
    Wall(now.0.saturating_sub(GC_SLACK_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn life(ended: Option<u64>, expires: u64, retention: u64) -> Life {
        Life {
            ended: ended.map(|day| Wall(day * DAY)),
            expires_at: Wall(expires * DAY),
            retention_ms: retention * DAY,
        }
    }

    fn at(days: u64) -> Wall {
        Wall(days * DAY)
    }

    #[test]
    fn a_short_retention_leaves_a_stub_until_the_job_expires() {
        let life = life(Some(1), 30, 7);
        assert_eq!(life.next(at(29)), (at(8), Fate::Shrink));
        assert_eq!(life.drop_at(), at(30).plus_ms(GC_SLACK_MS));
        assert_eq!(life.fate(Wall(at(8).0 - 1), Wall(0)), Fate::Keep);
        assert_eq!(life.fate(at(8), Wall(0)), Fate::Shrink);
        assert_eq!(life.fate(at(31), Wall(0)), Fate::Drop);
    }

    #[test]
    fn a_long_retention_outlives_the_comparing() {
        let life = life(Some(6), 7, 30);
        let quiet = at(7).plus_ms(QUIET_MS + GC_SLACK_MS);
        assert_eq!(life.next(at(7)), (quiet, Fate::Quiet));
        let floor = floor_at(quiet);
        assert!(is_quiet(life.expires_at, floor));
        assert_eq!(life.next(floor), (at(36).plus_ms(GC_SLACK_MS), Fate::Drop));
        assert_eq!(life.fate(quiet, floor), Fate::Keep);
    }

    #[test]
    fn a_job_that_ends_at_once_under_the_usual_settings_has_one_date() {
        let life =
            Life { ended: Some(Wall(5000)), expires_at: Wall(7 * DAY), retention_ms: 7 * DAY };
        assert_eq!(life.next(Wall(0)), (Wall(5000 + 7 * DAY + GC_SLACK_MS), Fate::Drop));
    }

    #[test]
    fn a_job_that_never_ended_is_kept_for_its_retention_after_it_expired() {
        let life = life(None, 7, 3);
        assert_eq!(life.shrink_at(), None);
        assert_eq!(life.drop_at(), at(10).plus_ms(GC_SLACK_MS));
        assert_eq!(life.fate(at(9), floor_at(at(9))), Fate::Keep);
        assert_eq!(life.fate(at(11), floor_at(at(9))), Fate::Drop);
    }

    #[test]
    fn whatever_is_deleted_expired_before_the_floor() {
        for (ended, expires, retention) in
            [(Some(1), 30, 7), (Some(6), 7, 30), (Some(7), 7, 0), (None, 7, 0), (None, 7, 9)]
        {
            let life = life(ended, expires, retention);
            assert!(life.expires_at <= floor_at(life.drop_at()));
            assert_eq!(life.fate(life.drop_at(), Wall(0)), Fate::Drop);
            let before = life.fate(Wall(life.drop_at().0 - 1), Wall(0));
            assert_ne!(before, Fate::Drop);
        }
    }
}
