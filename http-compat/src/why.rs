//! The reason a job waits, runs or ended, a service runs fewer instances than it should, a host does
//! nothing, a call to a service fails; and what would change that.
//!
//! Always: it is pure. What is said of a job rests on what the API says of it and of hosts, so that whoever
//! reads that, here or elsewhere, explains it in the same words. What is said of the others
//! rests on what the rules said themselves (`skyclaw_protocol::why`), and is put into words here.

mod ended;
pub mod host;
mod hosts;
mod lost;
mod queued;
pub mod route;
pub mod service;
mod told;
mod undecided;
mod words;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use hosts::{age, alive, name, trouble};
pub use lost::{AfterLoss, LeaseEnd, lease_end};
pub use told::{Line, Told, print};
pub use undecided::{Away, Undecided};
pub use words::{one_line, text, took};

/// Hosts that are listed: people read them, and there may be very many.
const LISTED: usize = 100;

/// Why a job stands where it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The job.
    pub id: String,
    /// Its status.
    pub status: String,
    /// The reason in one sentence.
    pub because: String,
    /// Of each host, what keeps it from the job; of many those to which the least is lacking.
    pub hosts: Vec<Rejection>,
    /// Hosts that are not listed, as too many are.
    pub more_hosts: u64,
    /// The nearest change that would help.
    pub then: Option<String>,
    /// Too few of those who decide about it are there.
    pub undecided: Option<Undecided>,
}

/// What keeps one host from a job; nothing if nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The host's id.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// Capabilities that it has not.
    pub missing: Vec<String>,
    /// For how long nothing was heard of it, in seconds, if that is too long.
    pub silent: Option<i64>,
    /// All its slots are taken.
    pub full: bool,
    /// It has run the job, which is to be verified by others.
    pub told: bool,
    /// What is wrong with its OpenClaw, where the job needs one.
    pub trouble: Option<String>,
}

/// Explains from what a coordinator says; reads nothing else.
#[must_use]
pub fn explain(job: &Value, hosts: &[Value], now: Timestamp) -> Why {
    let why = match job["status"].as_str() {
        Some("queued") => queued::explain(job, hosts, now),
        Some("leased") => ended::leased(job, hosts, now),
        Some("completed") => ended::completed(job, hosts),
        Some("failed") => ended::failed(job, hosts),
        _ => Why { because: "its status is none that this version knows".into(), ..Why::default() },
    };
    Why { id: text(job, "id"), status: text(job, "status"), ..why }
}

impl Why {
    /// The same where too few of its voters are there: until they come back nothing else helps. What
    /// has ended needs no voters any more.
    #[must_use]
    pub fn without(mut self, undecided: Option<Undecided>) -> Self {
        if let Some(undecided) = undecided
            && (self.status == "queued" || self.status == "leased")
        {
            self.because = format!("{}; but {}", self.because, undecided.words("job"));
            self.then = Some(undecided.help());
            self.undecided = Some(undecided);
        }
        self
    }

    /// For programs.
    #[must_use]
    pub fn document(&self) -> Value {
        let host = |host: &Rejection| {
            let mut shown = json!({ "id": host.id, "name": host.name, "missing": host.missing,
                "full": host.full });
            if let Some(seconds) = host.silent {
                shown["silentSeconds"] = json!(seconds);
            }
            if host.told {
                shown["hasRunIt"] = json!(true);
            }
            if let Some(trouble) = &host.trouble {
                shown["openclawTrouble"] = json!(trouble);
            }
            shown
        };
        let mut document = json!({ "id": self.id, "status": self.status,
            "because": self.because, "hosts": self.hosts.iter().map(host).collect::<Value>() });
        if self.more_hosts > 0 {
            document["moreHosts"] = self.more_hosts.into();
        }
        if let Some(then) = &self.then {
            document["then"] = json!(then);
        }
        if let Some(undecided) = &self.undecided {
            document["undecided"] = undecided.document();
        }
        document
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} is {}: {}\n", self.id, self.status, self.because);
        for host in &self.hosts {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}: {}", host.name, host.words());
        }
        if self.more_hosts > 0 {
            let _ = writeln!(text, "  and {} more", told::count(self.more_hosts, "host"));
        }
        if let Some(then) = &self.then {
            let _ = writeln!(text, "{then}");
        }
        text
    }
}

impl Rejection {
    /// All that keeps it from the job.
    #[must_use]
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("has no {}", self.missing.join(", ")));
        }
        parts.extend(self.trouble.as_ref().map(|why| format!("its openclaw is unusable: {why}")));
        parts.extend(self.silent.map(|seconds| format!("was last heard of {seconds} s ago")));
        if self.told {
            parts.push("has run it, and another host must".to_owned());
        }
        if self.full {
            parts.push("has no slot free".to_owned());
        }
        if parts.is_empty() { "may run it".to_owned() } else { parts.join("; ") }
    }

    /// Whether nothing keeps it from the job but that all its slots are taken.
    #[must_use]
    pub fn may_in_time(&self) -> bool {
        self.missing.is_empty() && self.silent.is_none() && !self.told
    }

    /// Whether nothing keeps it from the job.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.may_in_time() && !self.full
    }
}
