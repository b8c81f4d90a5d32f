//! What becomes of a job that runs, once the lease of its host ends unrenewed: by the rules of its owner
//! (`machine::jobs`), as far as what is shown of the job tells.

use serde_json::Value;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostView, JobView};

use crate::backend::History;

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// Another host gets it.
    Again,
    /// The same, and none is known that may run it now.
    Waits,
    /// So too, unless so many of its attempts were lost; how many were is not shown.
    AgainUnless(u64),
    /// It ends: so many attempts may be lost at most.
    TooOften(u64),
    /// It ends: it may have begun, and is not begun twice.
    NotTwice,
}

impl AfterLoss {
    /// Of a job as the API shows it.
    #[must_use]
    pub fn of_shown(job: &Value) -> Self {
        let number = |member: &str| job[member].as_u64();
        let asked_again = !job["retry"].is_null() || !job["verify"].is_null();
        let attempts = number("attempts").unwrap_or_default();
        Self::judge(&job["payload"], number("maxAttempts"), attempts, asked_again)
    }

    /// Of a job as a node knows it.
    #[must_use]
    pub fn of_view(job: &JobView) -> Self {
        let payload = serde_json::from_slice(&job.payload).unwrap_or_default();
        let asked_again = job.retry.is_some() || job.verify.is_some();
        Self::judge(&payload, job.max_attempts.map(u64::from), job.attempts.into(), asked_again)
    }

    /// `asked_again`: not each attempt before was lost; some may have failed, or be one of several copies.
    fn judge(payload: &Value, most: Option<u64>, attempts: u64, asked_again: bool) -> Self {
        if !may_repeat(payload) {
            return Self::NotTwice;
        }
        match most {
            Some(most) if attempts >= most && (most == 1 || !asked_again) => Self::TooOften(most),
            Some(most) if attempts >= most => Self::AgainUnless(most),
            _ => Self::Again,
        }
    }

    /// After `then`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Again => "another host runs it".to_owned(),
            Self::Waits => "it waits: no other host that is heard of may run it".to_owned(),
            Self::AgainUnless(most) => {
                format!("another host runs it, unless {most} attempts were lost by then")
            }
            Self::TooOften(1) => "it fails: no attempt may be lost (maxAttempts 1)".to_owned(),
            Self::TooOften(most) => format!("it fails: this is attempt {most} of {most}"),
            Self::NotTwice => "it fails: an agent's work is not begun twice, unless it was \
                               submitted with --idempotent"
                .to_owned(),
        }
    }
}

/// When the lease of a job ends unless its host is heard of; none if it has none.
///
/// Its leader writes down how far it was extended, for itself alone. Where it does not lead (`leads`), only the
/// first end is known, and when the host was heard of last: it may have been extended then, by the lease's
/// whole length.
#[must_use]
pub fn lease_end(
    job: &JobView,
    history: Option<&History>,
    host: Option<&HostView>,
    leads: bool,
) -> Option<Wall> {
    let shown = job.lease_expires?;
    let (Some(history), Some(host)) = (history, host) else { return Some(shown) };
    Some(if leads { shown } else { shown.max(host.last_seen.plus_ms(history.lease_ms)) })
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
    fn a_lost_job_goes_to_another_host_unless_it_was_lost_too_often_or_is_not_begun_twice() {
        let judged = |more: Value| {
            let mut job = json!({ "attempts": 2, "payload": { "kind": "shell" } });
            for (name, value) in more.as_object().into_iter().flatten() {
                job[name.as_str()] = value.clone();
            }
            AfterLoss::of_shown(&job)
        };
        assert_eq!(judged(json!({})), AfterLoss::Again);
        assert_eq!(judged(json!({ "maxAttempts": 3 })), AfterLoss::Again);
        assert_eq!(judged(json!({ "maxAttempts": 2 })), AfterLoss::TooOften(2));
        // The attempt before may have failed, which is no loss.
        assert_eq!(judged(json!({ "maxAttempts": 2, "retry": 1 })), AfterLoss::AgainUnless(2));
        assert_eq!(judged(json!({ "maxAttempts": 1, "retry": 1 })), AfterLoss::TooOften(1));
        let agent = json!({ "kind": "openclaw-run", "args": ["agent"] });
        assert_eq!(judged(json!({ "payload": agent })), AfterLoss::NotTwice);
        let again = json!({ "kind": "openclaw-agent", "idempotent": true });
        assert_eq!(judged(json!({ "payload": again })), AfterLoss::Again);
    }
}
