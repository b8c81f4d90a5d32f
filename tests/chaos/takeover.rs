//! A coordinator goes away under load: what others notice of it, and how soon its jobs go on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use skyclaw_tests::lan::{Door, Lan, Machine};
use skyclaw_tests::{Api, capabilities, eventually, shell, within};

use crate::faults::{COORDINATORS, Fault, MACHINES};
use crate::log::{Ms, Run, Work, now, read, script};
use crate::{PARALLEL, start};

/// The longest pause of writes at the others.
const PAUSE: Ms = 1000;

/// The usual lease: long enough that a run goes on while its new home is found.
const LEASE: Duration = Duration::from_secs(30);

/// Of the coordinator that goes: jobs that run, and as many that wait.
const JOBS: usize = 6;

/// The runs of its jobs outlast the time that others need to take over.
const RUNS: Work = Work::Beats(100);

/// Longest time until all of its jobs have ended elsewhere: the longest of them, and what a machine
/// with other tests takes longer.
const ENDED: Duration = Duration::from_secs(60);

/// Its process is gone, and with it its connections, which is evidence.
#[test]
fn a_killed_coordinator_is_replaced_at_once() {
    goes(Fault::Kill(1), 3000);
}

/// Nothing tells that it is gone but its silence.
#[test]
fn a_silent_coordinator_is_replaced_within_ten_seconds() {
    goes(Fault::Freeze(1), 10_000);
}

fn submit(api: &Api, folder: &Path, tag: &str, work: Work) -> String {
    let job = api.submit(&shell(&script(folder, tag, work)));
    job["id"].as_str().expect("a job has an id").to_owned()
}

fn begun(folder: &Path, tags: &[String]) -> Vec<Run> {
    let mut runs = read(folder, COORDINATORS + 1..=MACHINES);
    runs.retain(|run| tags.contains(&run.tag));
    runs
}

#[track_caller]
fn until_begun(folder: &Path, tags: &[String], patience: Duration) {
    within(patience, "they have begun", || {
        let count = begun(folder, tags).len();
        if count >= tags.len() { Ok(()) } else { Err(format!("{count} of {}", tags.len())) }
    });
}

/// When writes were answered 200, one after the other, until told to stop; what else was heard is
/// printed, and so are writes that took long.
fn write(door: &Door, stop: &AtomicBool) -> Vec<Ms> {
    let api = door.enter();
    // No host runs these: they are load for coordinators alone.
    let body = capabilities(shell("true"), &["nobody"]).to_string();
    let mut acked = vec![now()];
    while !stop.load(Ordering::SeqCst) {
        let sent = now();
        let answer = api.try_send("POST", "/v1/jobs", &[], body.as_bytes());
        let good = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if good {
            acked.push(now());
        }
        if !good || now() - sent > PAUSE / 2 {
            let said = answer.map_or_else(|error| error.to_string(), |answer| answer.text());
            let said = said.replace('\n', " ");
            println!("sent at {sent}, {} ms, good: {good}: {said:.120}", now() - sent);
        }
        sleep(Duration::from_millis(20));
    }
    acked.push(now());
    acked
}

/// Machine 1 goes; its waiting jobs must begin within `limit` milliseconds.
#[track_caller]
fn goes(fault: Fault, limit: Ms) {
    let Some(lan) = Lan::make(MACHINES) else { return };
    let mut world = start(lan, LEASE);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let doors: Vec<Door> = world.machines[..COORDINATORS].iter().map(Machine::door).collect();
    let tags = |what: &str, count| (0..count).map(|n| format!("{what}{n}")).collect::<Vec<_>>();
    let plugs = tags("plug", (MACHINES - COORDINATORS) * PARALLEL - JOBS);
    let (running, waiting) = (tags("running", JOBS), tags("waiting", JOBS));
    let send = |at: usize, tags: &[String], work| {
        let ids = tags.iter().map(|tag| doors[at].ask(|api| submit(api, folder, tag, work)));
        ids.collect::<Vec<_>>()
    };
    send(1, &plugs, Work::Waits);
    let mut ids = send(0, &running, RUNS);
    until_begun(folder, &plugs, ENDED);
    until_begun(folder, &running, ENDED);
    // No slot is left for these.
    ids.extend(send(0, &waiting, Work::Beats(0)));
    let stop = AtomicBool::new(false);
    let (gone, pauses) = scope(|scope| {
        let stop = Stop(&stop);
        let (stop_word, doors) = (stop.0, &doors);
        let writers: Vec<_> =
            (1..COORDINATORS).map(|at| scope.spawn(move || write(&doors[at], stop_word))).collect();
        sleep(Duration::from_secs(1));
        let gone = now();
        world.begin(fault);
        std::fs::write(folder.join("go"), "").expect("it is writable");
        until_begun(folder, &waiting, ENDED);
        drop(stop);
        let pauses: Vec<Ms> = writers
            .into_iter()
            .map(|writer| {
                let acked = writer.join().expect("a writer only counts");
                println!("{} writes", acked.len() - 2);
                acked.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
            })
            .collect();
        (gone, pauses)
    });
    let late: Vec<Ms> =
        begun(folder, &waiting).iter().map(|run| run.begun.saturating_sub(gone)).collect();
    println!(
        "{fault:?} at {gone}: writes paused for {pauses:?} ms; waiting jobs began after {late:?} ms"
    );
    for id in &ids {
        within(ENDED, "its jobs end without it", || {
            let job = doors[1].ask(|api| api.job(id));
            if job["status"] == "completed" { Ok(()) } else { Err(job.to_string()) }
        });
    }
    for tags in [&running, &waiting] {
        let runs = begun(folder, tags);
        assert_eq!(runs.len(), JOBS, "each ran once: {runs:?}");
        assert!(runs.iter().all(|run| run.whole), "and to its end: {runs:?}");
    }
    assert!(late.iter().all(|late| *late <= limit), "within {limit} ms: {late:?}");
    assert!(pauses.iter().all(|pause| *pause <= PAUSE), "writes paused: {pauses:?}");
    // It comes back and follows.
    world.end(fault);
    for id in &ids {
        eventually("it knows what became of its jobs", || {
            let job = world.machines[0].get(&format!("/v1/jobs/{id}"))["job"].take();
            if job["status"] == "completed" { Ok(()) } else { Err(job.to_string()) }
        });
    }
}

/// Stops the writers when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
