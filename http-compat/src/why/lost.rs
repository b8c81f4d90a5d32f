//! What becomes of a job that runs, once the lease of its host ends unrenewed: by the rules of its owner
//! (`machine::jobs`), as far as what is known of the job tells.

use serde_json::Value;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::LEASE_NOTES;
use skyclaw_protocol::{HostView, JobView};

use crate::backend::History;

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// It waits for another host; whether any may run it was not looked at.
    Again,
    /// The same, and one is heard of that may.
    Another,
    /// The same, and none is heard of that may.
    Waits,
    /// It waits, unless so many of its attempts were lost; how many were is not known.
    AgainUnless(u64),
    /// It ends if this loss counts, which its owner alone knows: so many were lost before, and so many may be
    /// at most.
    LastOf(u64, u64),
    /// It ends: it may have begun, and is not begun twice.
    NotTwice,
}

impl AfterLoss {
    /// Of a job as the API shows it; how many attempts were lost stands in its `history`, if in anything.
    #[must_use]
    pub fn of_shown(job: &Value) -> Self {
        let number = |member: &Value| member.as_u64();
        let lost = number(&job["history"]["lost"]);
        let attempts = number(&job["attempts"]).unwrap_or_default();
        Self::judge(&job["payload"], number(&job["maxAttempts"]), lost, attempts)
    }

    /// Of a job as a node knows it.
    #[must_use]
    pub fn of_view(job: &JobView, history: Option<&History>) -> Self {
        let payload = serde_json::from_slice(&job.payload).unwrap_or_default();
        let lost = history.map(|history| history.lost.into());
        Self::judge(&payload, job.max_attempts.map(u64::from), lost, job.attempts.into())
    }

    /// Attempts that failed, and those of copies, are none that were lost.
    fn judge(payload: &Value, most: Option<u64>, lost: Option<u64>, attempts: u64) -> Self {
        if !may_repeat(payload) {
            return Self::NotTwice;
        }
        match (most, lost) {
            (Some(most), Some(lost)) if lost.saturating_add(1) >= most => Self::LastOf(lost, most),
            (Some(most), None) if most <= 1 => Self::LastOf(0, most),
            // Those before this one may have been lost, all of them.
            (Some(most), None) if attempts >= most => Self::AgainUnless(most),
            _ => Self::Again,
        }
    }

    /// After `then`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Again => "it waits for another host".to_owned(),
            Self::Another => "another host runs it".to_owned(),
            Self::Waits => "it waits: no other host that is heard of may run it".to_owned(),
            Self::AgainUnless(most) => {
                format!("it waits for another host, unless {most} attempts were lost by then")
            }
            Self::LastOf(0, most) => {
                format!("it fails if this counts as lost: no attempt may be (maxAttempts {most})")
            }
            Self::LastOf(lost, most) => format!(
                "it fails if this counts as lost, as {lost} before did (maxAttempts {most})"
            ),
            Self::NotTwice => "it fails: an agent's work is not begun twice, unless it was \
                               submitted with --idempotent"
                .to_owned(),
        }
    }
}

/// The end of a lease as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseEnd {
    /// About then its owner takes it back at the latest, unless it is renewed.
    pub latest: Wall,
    /// Length of an extension, in milliseconds; 0 if that is not known.
    pub lease_ms: u64,
}

/// When the lease of a job is over at the latest, unless it is renewed; none if it has none.
///
/// Its leader writes down how far it was extended, for itself alone, and not each time: the last part may be
/// missing. Where it does not lead (`leads`), only the first end is known, and when the host was heard of last: it
/// may have been extended until then, which nobody here knows.
#[must_use]
pub fn lease_end(
    job: &JobView,
    history: Option<&History>,
    host: Option<&HostView>,
    leads: bool,
) -> Option<LeaseEnd> {
    let shown = job.lease_expires?;
    let Some(history) = history else { return Some(LeaseEnd { latest: shown, lease_ms: 0 }) };
    let lease_ms = history.lease_ms;
    let extended = match host {
        _ if leads => shown.plus_ms(lease_ms / LEASE_NOTES),
        Some(host) => shown.max(host.last_seen.plus_ms(lease_ms)),
        None => shown,
    };
    Some(LeaseEnd { latest: extended.plus_ms(history.guard_ms), lease_ms })
}

/// Whether a lost host is no end of it.
fn may_repeat(payload: &Value) -> bool {
    let agent = payload["kind"] == "openclaw-agent"
        || (payload["kind"] == "openclaw-run" && payload["args"][0] == "agent");
    !agent || payload["idempotent"] == true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lost_job_waits_for_another_host_unless_it_was_lost_too_often_or_is_not_begun_twice() {
        let judged = |more: Value| {
            let mut job = json!({ "attempts": 2, "payload": { "kind": "shell" } });
            for (name, value) in more.as_object().into_iter().flatten() {
                job[name.as_str()] = value.clone();
            }
            AfterLoss::of_shown(&job)
        };
        let lost = |most: u64, lost: u64| {
            judged(json!({ "attempts": 5, "maxAttempts": most, "history": { "lost": lost } }))
        };
        assert_eq!(judged(json!({})), AfterLoss::Again);
        // Attempts that failed are no loss, so they alone do not tell.
        assert_eq!(judged(json!({ "maxAttempts": 3 })), AfterLoss::Again);
        assert_eq!(judged(json!({ "maxAttempts": 2 })), AfterLoss::AgainUnless(2));
        assert_eq!(judged(json!({ "maxAttempts": 1 })), AfterLoss::LastOf(0, 1));
        assert_eq!(lost(2, 0), AfterLoss::Again);
        assert_eq!(lost(2, 1), AfterLoss::LastOf(1, 2));
        assert_eq!(lost(1, 0), AfterLoss::LastOf(0, 1));
        let agent = json!({ "kind": "openclaw-run", "args": ["agent"] });
        assert_eq!(judged(json!({ "payload": agent })), AfterLoss::NotTwice);
        let again = json!({ "kind": "openclaw-agent", "idempotent": true });
        assert_eq!(judged(json!({ "payload": again })), AfterLoss::Again);
    }
}
