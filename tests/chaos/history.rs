//! What clients asked and what they were told, and when.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::log::{Ms, Run, tag_of};

/// What a submission came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200, and the id of the job.
    Acked(String),
    /// 503, and its text.
    Refused(String),
    /// No answer: it may have been carried out.
    Unknown(String),
}

/// One submission, sent once.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    /// Of the script. Submissions with the same key have the same tag, all others their own.
    pub(crate) tag: String,
    pub(crate) keyed: bool,
    /// From 0.
    pub(crate) coordinator: usize,
    /// The client that sends to this coordinator alone, one after the other.
    pub(crate) steady: bool,
    /// When it was answered.
    pub(crate) ended: Ms,
    pub(crate) answer: Answer,
}

/// A job as a coordinator showed it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) job: String,
    pub(crate) coordinator: usize,
    /// When it was asked, and when it answered.
    pub(crate) begun: Ms,
    pub(crate) ended: Ms,
    /// How the job ended, if it has.
    pub(crate) outcome: Option<Outcome>,
}

/// How a job ended: status, result and reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    /// `completed` or `failed`.
    pub(crate) status: String,
    /// What its run wrote; empty without one.
    pub(crate) stdout: String,
    /// The rest that must never change.
    pub(crate) rest: String,
}

impl Outcome {
    /// None while the job goes on.
    pub(crate) fn of(job: &Value) -> Option<Self> {
        let status = job["status"].as_str().unwrap_or_default();
        if status != "completed" && status != "failed" {
            return None;
        }
        let stdout = job["result"]["stdout"].as_str().unwrap_or_default();
        let mut result = job["result"].clone();
        // Lists leave it out.
        if let Some(members) = result.as_object_mut() {
            members.remove("receipt");
        }
        let rest = format!("{} {result}", job["error"]);
        Some(Self { status: status.to_owned(), stdout: stdout.to_owned(), rest })
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.status == "failed" && self.rest.contains("aborted")
    }
}

/// A job at the end, as one coordinator shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) tag: String,
    pub(crate) outcome: Option<Outcome>,
}

impl Last {
    pub(crate) fn of(job: &Value) -> (String, Self) {
        let script = job["payload"]["args"][1].as_str().unwrap_or_default();
        let tag = tag_of(script).unwrap_or_default().to_owned();
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        (id, Self { tag, outcome: Outcome::of(job) })
    }
}

/// A time in which one coordinator was hit and no other.
#[derive(Clone, Debug)]
pub(crate) struct Calm {
    pub(crate) hit: Vec<usize>,
    pub(crate) begun: Ms,
    pub(crate) ended: Ms,
    /// In words.
    pub(crate) fault: String,
    /// Nobody had been parted for a while before.
    pub(crate) settled: bool,
}

/// Everything there is to judge.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) submits: Vec<Submit>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) runs: Vec<Run>,
    pub(crate) calm: Vec<Calm>,
    /// By coordinator, then by job: what it shows within the time given after the last heal.
    pub(crate) last: Vec<BTreeMap<String, Last>>,
}
