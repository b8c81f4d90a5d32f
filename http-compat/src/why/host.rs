//! Why a host gets no work.

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::why::{HostWhy, NoInstance, NoJob, Waiting};
use skyclaw_protocol::{HostView, ServiceView};

use super::hosts::SILENT_S;
use super::service::rejection;
use super::told::{Line, Told, count, lasting};
use super::words::one_line;

/// A host that said nothing to this coordinator for so long talks to another one, in milliseconds:
/// hosts ask at least every few seconds.
const ELSEWHERE_MS: u64 = 30_000;

/// What is known of a host, and of what waits.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The host.
    pub host: &'a HostView,
    /// What the rules say; none of a host that an original registered.
    pub judged: Option<&'a HostWhy>,
    /// Services that want more instances than run, and what keeps this host from one.
    pub services: &'a [(ServiceView, Option<NoInstance>)],
    /// Why the coordinator that is asked takes nothing new, if it does not.
    pub closed: &'a [String],
    /// Now.
    pub now: Wall,
}

/// Explains from that alone.
#[must_use]
pub fn explain(case: &Case<'_>) -> Told {
    let host = case.host;
    let (status, because, then) = case.reason();
    let mut waiting: Vec<Line> = Vec::new();
    let mut rules: Vec<(&'static str, Vec<String>)> = Vec::new();
    for one in case.judged.iter().flat_map(|judged| &judged.waiting) {
        waiting.push(line(one));
        if let Some(no) = &one.rejected {
            let name = kind(one);
            match rules.iter_mut().find(|(rule, _)| *rule == no.rule()) {
                Some((_, names)) => names.push(name),
                None => rules.push((no.rule(), vec![name])),
            }
        }
    }
    waiting.extend(case.services.iter().map(|(service, rejected)| {
        let words = rejected.as_ref().map_or_else(|| "it may run one".to_owned(), rejection);
        let name = format!("service {}", one_line(&service.def.name));
        let line = Line::new(name, words).with("service", service.id.as_str());
        match rejected {
            Some(rejected) => line.with("rule", rejected.rule()),
            None => line,
        }
    }));
    Told {
        kind: "host",
        id: host.id.to_string(),
        name: if host.name.is_empty() { host.id.to_string() } else { one_line(&host.name) },
        status: status.to_owned(),
        because,
        then,
        lists: vec![("waiting", waiting)],
        more_hosts: 0,
        rules,
    }
}

/// What jobs need, as a name for them.
fn kind(waiting: &Waiting) -> String {
    let jobs = count(waiting.jobs, "job");
    match waiting.required.as_slice() {
        [] => format!("{jobs} that any host may run"),
        required => format!("{jobs} with {}", required.join(", ")),
    }
}

fn line(waiting: &Waiting) -> Line {
    let words = waiting.rejected.as_ref().map_or_else(|| "it may run them".to_owned(), refusal);
    let mut line = Line::new(kind(waiting), words)
        .with("jobs", waiting.jobs)
        .with("requires", waiting.required.clone());
    if let Some(job) = &waiting.oldest {
        line = line.with("oldest", job.as_str());
    }
    match &waiting.rejected {
        Some(no) => line.with("rule", no.rule()),
        None => line,
    }
}

/// What keeps it from jobs, in words.
fn refusal(no: &NoJob) -> String {
    match no {
        NoJob::Lacks(lacks) => format!("has no {}", lacks.join(", ")),
        NoJob::NoRoom(lacks) => format!("has no room now for {}", lacks.join(", ")),
        NoJob::Quota => "their submitter runs as many as it may".to_owned(),
        NoJob::HasToldOfIt => "has run the oldest, and another host must".to_owned(),
        NoJob::NotNow => "the oldest is being written, or about to expire".to_owned(),
        NoJob::Avoided => {
            "failed the oldest the last time, and another host may take it".to_owned()
        }
    }
}

impl Case<'_> {
    /// The state in a word, the reason, and the nearest change.
    fn reason(&self) -> (&'static str, String, Option<String>) {
        let host = self.host;
        let silent = self.now.ms_since(host.last_seen) / 1000;
        let Some(judged) = self.judged else {
            return (
                "foreign",
                "an original coordinator registered it and gives it work".into(),
                None,
            );
        };
        if judged.revoked {
            let then =
                "if it is to come back: `skyclaw invite --role host`, and `skyclaw join` there";
            return ("revoked", "its node is a member no more".into(), Some(then.into()));
        }
        if i64::try_from(silent).unwrap_or(i64::MAX) >= SILENT_S {
            let because = format!("nothing was heard of it for {}", lasting(silent * 1000));
            let then = "start it again, or see in its log which coordinator it does not reach; what it \
                        held goes to others";
            return ("silent", because, Some(then.into()));
        }
        if judged.full || host.active_leases >= host.max_parallel {
            let then = "it goes on by itself; or raise SKYCLAW_MAX_PARALLEL there";
            return ("busy", "all its slots are taken".into(), Some(then.into()));
        }
        let status = if host.active_leases.0 > 0 { "running" } else { "idle" };
        let (because, then) = self.idle(judged);
        (status, because, then)
    }

    /// It has room.
    fn idle(&self, judged: &HostWhy) -> (String, Option<String>) {
        let jobs: u64 = judged.waiting.iter().map(|one| one.jobs).sum();
        let fits = judged.waiting.iter().find(|one| one.rejected.is_none());
        if let Some(fits) = fits {
            let heard = judged.heard_ms.filter(|ms| *ms < ELSEWHERE_MS);
            return match (judged.asks, heard) {
                (true, _) => ("it is about to be given a job".into(), None),
                (false, None) => (
                    format!("{} wait for it, and it asks another coordinator for work", kind(fits)),
                    Some("that one hears of them within seconds; ask it why if they stay".into()),
                ),
                (false, Some(ms)) => (
                    format!(
                        "{} wait for it, and it asked last {} ago: hosts rest after failed starts, and \
                         those that talk HTTP ask at intervals",
                        kind(fits),
                        lasting(ms)
                    ),
                    Some("look again in some seconds, then see its log".into()),
                ),
            };
        }
        if jobs > 0 {
            return self.rejected(judged, jobs);
        }
        if self.services.iter().any(|(_, rejected)| rejected.is_none()) {
            return ("it is about to be given an instance of a service".into(), None);
        }
        if let Some(why) = self.closed.first() {
            let because = format!("nothing waits, and this coordinator takes nothing new: {why}");
            return (because, Some("put that right: `skyclaw doctor` says more".into()));
        }
        let mut because = "no job waits".to_owned();
        if let Some(no) = judged.services.as_ref() {
            because.push_str(&format!("; for services, it {}", rejection(no)));
        }
        (because, None)
    }

    /// Jobs wait, and it may run none of them.
    fn rejected(&self, judged: &HostWhy, jobs: u64) -> (String, Option<String>) {
        // That of which most wait first; of those that lack something, to which the least is lacking.
        let lacks = |no: &NoJob| if let NoJob::Lacks(lacks) = no { lacks.len() } else { 0 };
        let all = judged.waiting.iter().filter_map(|one| Some((one, one.rejected.as_ref()?)));
        let nearest = all.min_by_key(|(one, no)| (lacks(no), std::cmp::Reverse(one.jobs)));
        let wait = if jobs == 1 { "1 job waits" } else { &format!("{jobs} jobs wait") };
        let Some((one, no)) = nearest else { return (wait.to_owned(), None) };
        let because =
            format!("{wait}, and it may run none: nearest are {}: it {}", kind(one), refusal(no));
        let then = match no {
            NoJob::Lacks(lacks) => match lacks.iter().find(|word| word.starts_with("sandbox:")) {
                Some(level) => format!(
                    "`skyclaw doctor` on it says what it lacks to keep runs apart at {}",
                    level.trim_start_matches("sandbox:")
                ),
                None => format!(
                    "if it can do that, add {} to its SKYCLAW_CAPABILITIES",
                    lacks.join(",")
                ),
            },
            NoJob::NoRoom(_) => {
                "it takes them once it has memory and a processor for them".to_owned()
            }
            NoJob::Quota => {
                "they go on once one of that key has ended; or give the key more".to_owned()
            }
            NoJob::HasToldOfIt => "start another host: `skyclaw-node --role host`".to_owned(),
            NoJob::NotNow | NoJob::Avoided => "look again in some seconds".to_owned(),
        };
        (because, Some(then))
    }
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::{HostId, JobId, Milli, NodeId};

    use super::*;

    const NOW: Wall = Wall(1_800_000_100_000);

    fn host(taken: u64, seen_s: u64) -> HostView {
        HostView {
            id: HostId::new("host_1".to_owned()).unwrap(),
            name: "box".into(),
            capabilities: Vec::new(),
            max_parallel: Milli::whole(1),
            active_leases: Milli::whole(taken),
            last_seen: Wall(NOW.0 - seen_s * 1000),
            registered: NOW,
            updated_by: "node".into(),
            version: 1,
            openclaw: None,
        }
    }

    fn judged(waiting: Vec<Waiting>) -> HostWhy {
        HostWhy {
            revoked: false,
            node: Some(NodeId([1; 32])),
            full: false,
            asks: true,
            heard_ms: Some(100),
            services: None,
            waiting,
        }
    }

    fn waits(required: &str, jobs: u64, rejected: Option<NoJob>) -> Waiting {
        let required = required.split_whitespace().map(str::to_owned).collect();
        let oldest = Some(JobId::new("job_1".to_owned()).unwrap());
        Waiting { required, jobs, oldest, elsewhere: None, rejected }
    }

    fn asked(host: &HostView, judged: &HostWhy) -> Told {
        explain(&Case { host, judged: Some(judged), services: &[], closed: &[], now: NOW })
    }

    #[test]
    fn the_first_thing_that_keeps_a_host_from_work_is_said() {
        let none = judged(Vec::new());
        assert_eq!(asked(&host(0, 1), &none).because, "no job waits");
        let told = asked(&host(0, 60), &none);
        assert_eq!(
            (told.status.as_str(), told.because.as_str()),
            ("silent", "nothing was heard of it for 60 s")
        );
        let told = asked(&host(1, 1), &none);
        assert_eq!(
            (told.status.as_str(), told.because.as_str()),
            ("busy", "all its slots are taken")
        );
        let revoked = HostWhy { revoked: true, ..none.clone() };
        assert_eq!(asked(&host(1, 60), &revoked).status, "revoked");
        let old = HostWhy { services: Some(NoInstance::TakesNoOrders), ..none };
        assert!(asked(&host(0, 1), &old).because.contains("for services, it asks for no services"));
    }

    #[test]
    fn each_kind_of_job_that_waits_says_what_keeps_the_host_from_it() {
        let lacks = |word: &str| Some(NoJob::Lacks(vec![word.to_owned()]));
        let told = asked(
            &host(0, 1),
            &judged(vec![
                waits("gpu", 1, lacks("gpu")),
                waits("sandbox:isolated", 7, lacks("sandbox:isolated")),
            ]),
        );
        assert_eq!(told.status, "idle");
        assert!(told.because.starts_with("8 jobs wait, and it may run none"), "{told:?}");
        assert!(told.because.contains("7 jobs with sandbox:isolated"), "{told:?}");
        assert!(told.then.as_ref().unwrap().contains("keep runs apart at isolated"));
        assert_eq!(told.rules.len(), 1);
        assert_eq!(told.document()["waiting"][0]["words"], "has no gpu");
        for (no, word) in [
            (NoJob::Quota, "as many as it may"),
            (NoJob::HasToldOfIt, "another host must"),
            (NoJob::NoRoom(vec!["openclaw.exec".into()]), "no room now"),
        ] {
            let told = asked(&host(0, 1), &judged(vec![waits("", 1, Some(no))]));
            assert!(told.because.contains(word), "{told:?}");
            assert!(told.because.starts_with("1 job waits"), "{told:?}");
        }
    }

    #[test]
    fn one_that_could_and_does_not_ask_is_told_apart() {
        let could = judged(vec![waits("shell", 2, None)]);
        assert_eq!(asked(&host(0, 1), &could).because, "it is about to be given a job");
        let rests = HostWhy { asks: false, ..could.clone() };
        assert!(asked(&host(0, 1), &rests).because.contains("asked last 0 s ago"));
        let elsewhere = HostWhy { asks: false, heard_ms: None, ..could };
        assert!(asked(&host(0, 1), &elsewhere).because.contains("asks another coordinator"));
    }

    #[test]
    fn a_coordinator_that_takes_nothing_new_is_a_reason_too() {
        let (host, judged) = (host(0, 1), judged(Vec::new()));
        let closed = ["the disk is nearly full".to_owned()];
        let case =
            Case { host: &host, judged: Some(&judged), services: &[], closed: &closed, now: NOW };
        assert!(explain(&case).because.contains("takes nothing new: the disk is nearly full"));
    }
}
