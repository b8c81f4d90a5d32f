//! What principals may send to this coordinator: requests in a minute, bytes in a day.
//!
//! Each bound is a bucket that holds as much as the bound says and fills evenly, so that a bound may be
//! used up at once and comes back bit by bit. What others took elsewhere is not known here.
//!
//! Always: only principals with such a bound are remembered, so that there are never more of them than
//! principals; what is forgotten by a restart is in the principal's favour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use skyclaw_protocol::PrincipalId;
use skyclaw_protocol::limits::MAX_CONTROLS;
use skyclaw_protocol::principal::Principal;

use crate::error::ApiError;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spend {
    /// One submission or deployment.
    Request,
    /// Bytes of a payload or blob.
    Bytes(u64),
}

/// What principals have left.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<PrincipalId, Account>>);

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// Takes so much of a bucket that holds `most` and fills within `period`; else how long it takes until
    /// that much is in it.
    fn take(
        &mut self,
        amount: f64,
        most: f64,
        period: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let rate = most / period.as_secs_f64();
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = rate.mul_add(passed, self.left).min(most);
        self.at = now;
        if amount <= self.left {
            self.left -= amount;
            return Ok(());
        }
        let missing = (amount - self.left).max(0.0);
        Err(Duration::try_from_secs_f64(missing / rate).unwrap_or(period).min(period))
    }
}

impl Quotas {
    /// Takes what a request of this principal costs.
    ///
    /// # Errors
    /// [`ApiError::OverQuota`], saying which bound it is and when to come again; [`ApiError::TooLarge`] where
    /// waiting does not help.
    pub(crate) fn spend(&self, principal: &Principal, spend: Spend) -> Result<(), ApiError> {
        self.spend_at(principal, spend, Instant::now())
    }

    // Bytes of a day are far below 2^53.
    fn spend_at(&self, principal: &Principal, spend: Spend, now: Instant) -> Result<(), ApiError> {
        let (most, period, amount) = match spend {
            Spend::Request => (principal.quotas.per_minute.map(f64::from), MINUTE, 1.0),
            Spend::Bytes(bytes) => {
                (principal.quotas.bytes_per_day.map(|most| most as f64), DAY, bytes as f64)
            }
        };
        let Some(most) = most else { return Ok(()) };
        if spend != Spend::Request && amount > most {
            let words =
                format!("longer than this key may send in a day: {most} bytes (bytesPerDay)");
            return Err(ApiError::TooLarge(words));
        }
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_CONTROLS && !accounts.contains_key(&principal.id) {
            // Those of principals that are no more: new ones start full.
            accounts.clear();
        }
        let account = accounts.entry(principal.id.clone()).or_default();
        let bucket = match spend {
            Spend::Request => &mut account.requests,
            Spend::Bytes(_) => &mut account.bytes,
        };
        let bucket = bucket.get_or_insert(Bucket { left: most, at: now });
        let taken = bucket.take(amount, most, period, now);
        drop(accounts);
        taken.map_err(|wait| ApiError::OverQuota {
            what: match spend {
                Spend::Request => format!(
                    "quota reached: at most {most} submissions and deployments a minute with this \
                     key (perMinute)"
                ),
                Spend::Bytes(_) => {
                    format!("quota reached: at most {most} bytes a day with this key (bytesPerDay)")
                }
            },
            retry_s: wait.as_secs().saturating_add(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::Hash;
    use skyclaw_protocol::clock::Wall;
    use skyclaw_protocol::principal::Quotas as Bounds;

    use super::*;

    fn principal(quotas: Bounds) -> Principal {
        Principal {
            id: PrincipalId::new("a").unwrap(),
            name: "a".into(),
            scopes: Vec::new(),
            secret_hash: Hash([0; 32]),
            quotas,
            created: Wall(0),
            created_by: String::new(),
            expires: None,
            revoked: None,
        }
    }

    fn wait(refused: Result<(), ApiError>) -> Option<u64> {
        match refused {
            Ok(()) => None,
            Err(ApiError::OverQuota { retry_s, .. }) => Some(retry_s),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_bound_can_be_used_up_at_once_and_comes_back_evenly() {
        let (quotas, start) = (Quotas::default(), Instant::now());
        let one = principal(Bounds { per_minute: Some(6), ..Bounds::default() });
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..6 {
            assert_eq!(wait(quotas.spend_at(&one, Spend::Request, start)), None);
        }
        assert_eq!(wait(quotas.spend_at(&one, Spend::Request, start)), Some(11));
        assert_eq!(wait(quotas.spend_at(&one, Spend::Request, at(11))), None);
        assert!(wait(quotas.spend_at(&one, Spend::Request, at(11))).is_some());
        let after =
            (0..9).filter(|_| wait(quotas.spend_at(&one, Spend::Request, at(600))).is_none());
        assert_eq!(after.count(), 6, "no more than the bound is saved up");
        // Bytes are another bound, which this one does not have.
        assert_eq!(wait(quotas.spend_at(&one, Spend::Bytes(1 << 40), at(600))), None);
    }

    #[test]
    fn what_is_more_than_a_day_brings_is_never_taken() {
        let (quotas, start) = (Quotas::default(), Instant::now());
        let one = principal(Bounds { bytes_per_day: Some(1000), ..Bounds::default() });
        assert_eq!(wait(quotas.spend_at(&one, Spend::Bytes(600), start)), None);
        assert!(wait(quotas.spend_at(&one, Spend::Bytes(600), start)).is_some_and(|s| s > 10_000));
        assert_eq!(wait(quotas.spend_at(&one, Spend::Bytes(400), start)), None);
        let days = start + Duration::from_secs(3 * 86_400);
        let never = quotas.spend_at(&one, Spend::Bytes(1001), days);
        assert!(matches!(never, Err(ApiError::TooLarge(_))), "there is no time to come again");
        assert_eq!(wait(quotas.spend_at(&one, Spend::Bytes(1000), days)), None);
    }
}
