//! The clients: they submit, look and cancel, and write down what they asked and were told.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use skyclaw_tests::lan::Door;
use skyclaw_tests::{Api, Chance, shell};

use crate::history::{Answer, History, Outcome, Seen, Submit};
use crate::log::{Work, now, script};

/// How long a client waits for an answer: longer than a coordinator waits for its quorum.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pause of a client between what it does; all of them together must not fill the hosts.
const STEADY_PAUSE: Duration = Duration::from_millis(400);
const ROAMING_PAUSE: Duration = Duration::from_millis(900);
const GLANCE: Duration = Duration::from_millis(200);

/// How often a client that was refused or heard nothing tries again elsewhere.
const TRIES: usize = 8;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Clients<'a> {
    pub(crate) doors: Vec<Door>,
    pub(crate) folder: &'a Path,
    pub(crate) stop: AtomicBool,
    history: Mutex<History>,
}

impl<'a> Clients<'a> {
    pub(crate) fn new(doors: Vec<Door>, folder: &'a Path) -> Self {
        let doors = doors.into_iter().map(|door| door.with_patience(PATIENCE)).collect();
        Self { doors, folder, stop: AtomicBool::new(false), history: Mutex::default() }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Sends to one coordinator, whatever it answers, and does nothing else: it shows how long writes
    /// pause there.
    pub(crate) fn steady(&self, coordinator: usize, mut chance: Chance) {
        let api = self.doors[coordinator].enter();
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let tag = format!("s{coordinator}-{n}");
            let work = work(&mut chance);
            self.submit(api, coordinator, &tag, None, work, true);
            sleep(STEADY_PAUSE);
        }
    }

    /// Looks at jobs at one coordinator, and cancels some.
    pub(crate) fn watching(&self, coordinator: usize, mut chance: Chance) {
        let api = self.doors[coordinator].enter();
        while self.goes_on() {
            if let Some(job) = self.any_job(&mut chance) {
                if chance.one_in(20) {
                    // What becomes of it is looked at like everything else.
                    let _ = api.try_send("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"");
                }
                self.look(api, coordinator, &job);
            }
            sleep(GLANCE);
        }
    }

    /// Sends with a key, to any coordinator, until it is answered; also twice at once, and again
    /// after the answer.
    pub(crate) fn roaming(&self, client: usize, mut chance: Chance) {
        for n in 0.. {
            if !self.goes_on() {
                return;
            }
            let tag = format!("k{client}-{n}");
            let work = work(&mut chance);
            let mut wanted = if chance.one_in(4) { 2 } else { 1 };
            for _ in 0..TRIES {
                let first = chance.within(&(0..self.doors.len()));
                let second = (first + 1) % self.doors.len();
                let send = |coordinator: usize| {
                    let door = &self.doors[coordinator];
                    door.ask(|api| self.submit(api, coordinator, &tag, Some(&tag), work, false))
                };
                let acked = if chance.one_in(4) {
                    std::thread::scope(|scope| {
                        let other = scope.spawn(|| send(second));
                        let one = send(first);
                        other.join().unwrap_or(false) || one
                    })
                } else {
                    send(first)
                };
                wanted -= usize::from(acked);
                if wanted == 0 {
                    break;
                }
                sleep(STEADY_PAUSE);
            }
            if let Some(job) = self.any_job(&mut chance) {
                let coordinator = chance.within(&(0..self.doors.len()));
                self.doors[coordinator].ask(|api| self.look(api, coordinator, &job));
            }
            sleep(ROAMING_PAUSE);
        }
    }

    /// True if it was answered 200.
    fn submit(
        &self,
        api: &Api,
        coordinator: usize,
        tag: &str,
        key: Option<&str>,
        work: Work,
        steady: bool,
    ) -> bool {
        let body = shell(&script(self.folder, tag, work)).to_string();
        let headers: Vec<_> = key.map(|key| ("x-idempotency-key", key)).into_iter().collect();
        let answer = match api.try_send("POST", "/v1/jobs", &headers, body.as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                let job = answer.json()["job"]["id"].as_str().map(str::to_owned);
                Answer::Acked(job.expect("a job has an id"))
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                Answer::Refused(answer.text())
            }
            Err(error) => Answer::Unknown(error.to_string()),
        };
        let acked = matches!(answer, Answer::Acked(_));
        let (tag, keyed, ended) = (tag.to_owned(), key.is_some(), now());
        let submit = Submit { tag, keyed, coordinator, steady, ended, answer };
        self.history().submits.push(submit);
        acked
    }

    /// One of the jobs of which a client heard, rather a new one.
    fn any_job(&self, chance: &mut Chance) -> Option<String> {
        let history = self.history();
        let recent = &history.submits[history.submits.len().saturating_sub(100)..];
        let some = if chance.one_in(3) { &history.submits[..] } else { recent };
        let submit = some.get(chance.within(&(0..some.len().max(1))))?;
        if let Answer::Acked(job) = &submit.answer { Some(job.clone()) } else { None }
    }

    fn look(&self, api: &Api, coordinator: usize, job: &str) {
        let begun = now();
        let Ok(answer) = api.try_send("GET", &format!("/v1/jobs/{job}"), &[], b"") else { return };
        // A coordinator may not have heard of it yet.
        if answer.status == 200 {
            let outcome = Outcome::of(&answer.json()["job"]);
            let (job, ended) = (job.to_owned(), now());
            self.history().seen.push(Seen { job, coordinator, begun, ended, outcome });
        }
    }
}

/// All jobs that a coordinator shows; none if it does not answer.
pub(crate) fn all_jobs(door: &Door) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    let mut target = "/v1/jobs?limit=1000".to_owned();
    loop {
        let answer = door.ask(|api| api.try_send("GET", &target, &[], b"")).ok()?;
        let mut page = if answer.status == 200 { answer.json() } else { return None };
        all.append(page["jobs"].as_array_mut()?);
        let Some(next) = page["next"].as_str() else { return Some(all) };
        target = format!("/v1/jobs?limit=1000&cursor={next}");
    }
}

/// From nothing to longer than a lease.
fn work(chance: &mut Chance) -> Work {
    match chance.within(&(0..100)) {
        0..55 => Work::Beats(0),
        55..80 => Work::Beats(chance.within(&(2..10))),
        80..92 => Work::Beats(chance.within(&(28..60))),
        92..97 => Work::Fails,
        _ => Work::Poison,
    }
}
