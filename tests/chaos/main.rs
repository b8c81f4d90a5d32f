//! Real nodes on a LAN of their own while links are cut, processes killed and stopped at random, and a
//! checker over what clients were told and what the hosts executed.
//!
//! `SKYCLAW_SEED` replays a schedule of faults, `SKYCLAW_CHAOS_SECONDS` is its length, and with
//! `SKYCLAW_CHAOS_LOGS` the logs of nodes and hosts are copied to that folder.

// Helpers of tests fail by panicking, and figures are printed.
#![allow(clippy::panic, clippy::print_stdout)]

mod checker;
mod client;
mod faults;
mod frozen;
mod history;
mod log;
mod malicious;
mod processes;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use skyclaw_tests::lan::{Door, Lan, Machine, address, coordinator, host};
use skyclaw_tests::{Chance, eventually, processes_with, seed};

use crate::checker::{Figures, objections};
use crate::client::{Clients, all_jobs};
use crate::faults::{COORDINATORS, LEASE, MACHINES, Round, World, schedule};
use crate::history::{Answer, Calm, History, Last};

/// Every job that was answered 200 must have ended this long after the last fault was mended.
const ENDED: Duration = Duration::from_secs(90);

/// How often that is looked at: it is all the jobs of all coordinators.
const GLANCE: Duration = Duration::from_millis(500);

/// Jobs at once on a host.
const PARALLEL: usize = 12;

/// Longest pause of writes at a coordinator while one other is hit, on a loaded machine.
const PAUSE: Duration = Duration::from_secs(5);

fn start(lan: Lan, lease: Duration) -> World {
    let bootstrap: Vec<String> =
        (1..=COORDINATORS).map(|at| format!("/ip4/{}/udp/4787/quic-v1", address(at))).collect();
    let machines = (1..=MACHINES)
        .map(|at| {
            let setup = if at <= COORDINATORS {
                coordinator(&format!("c{at}"), 2).env("SKYCLAW_P2P_LEASE_MS", lease.as_millis())
            } else {
                host(&format!("h{at}")).env("SKYCLAW_MAX_PARALLEL", PARALLEL)
            };
            lan.start(at, setup.env("SKYCLAW_BOOTSTRAP", bootstrap.join(",")))
        })
        .collect();
    let world = World::new(lan, machines);
    for (node, others) in world.machines.iter().zip([["c2", "c3"], ["c1", "c3"], ["c1", "c2"]]) {
        node.until_connected(&others);
        node.until_hosts(MACHINES - COORDINATORS);
    }
    world
}

/// How long the faults go on.
fn length() -> Duration {
    let asked = std::env::var("SKYCLAW_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(60))
}

/// Carries the rounds out and notes those in which the other coordinators must go on.
fn torment(world: &mut World, rounds: &[Round], begun: Instant) -> Vec<Calm> {
    let mut calm = Vec::new();
    let mut settled = true;
    for round in rounds {
        let (from, fault) = (log::now(), format!("{:?}", round.faults));
        let kind = if round.calm { "calm" } else { "storm" };
        println!("{:?}: {kind} of {:?}: {fault}", begun.elapsed(), round.lasts);
        world.suffer(round);
        let hit = round.coordinators();
        if round.calm && !hit.is_empty() {
            calm.push(Calm { hit, begun: from, ended: log::now(), fault, settled });
        }
        settled = round.calm;
        sleep(round.rest);
    }
    calm
}

/// What all coordinators show once every acked job has ended and they agree, or at the end of the time
/// in which that must be.
fn settle(doors: &[Door], history: &History) -> (Vec<BTreeMap<String, Last>>, Duration) {
    let healed = Instant::now();
    let mut last: Vec<BTreeMap<String, Last>> = vec![BTreeMap::new(); doors.len()];
    loop {
        for (door, last) in doors.iter().zip(&mut last) {
            if let Some(jobs) = all_jobs(door) {
                *last = jobs.iter().map(Last::of).collect();
            }
        }
        let acked = history.submits.iter().filter_map(|submit| match &submit.answer {
            Answer::Acked(job) => Some(job),
            Answer::Refused(_) | Answer::Unknown(_) => None,
        });
        let ended = |job: &String| {
            last.iter().all(|shown| shown.get(job).is_some_and(|last| last.outcome.is_some()))
        };
        let agreed = last.iter().all(|shown| *shown == last[0]);
        if (agreed && acked.into_iter().all(ended)) || healed.elapsed() > ENDED {
            return (last, healed.elapsed());
        }
        sleep(GLANCE);
    }
}

/// Copies what was logged, for whoever asked for it.
fn keep_logs(world: &World, folder: &Path) {
    let Some(to) = std::env::var_os("SKYCLAW_CHAOS_LOGS") else { return };
    let to = Path::new(&to);
    fs::create_dir_all(to).expect("the folder for logs can be made");
    for (at, machine) in (1..).zip(&world.machines) {
        let text = machine.process.stdout() + &machine.process.log();
        fs::write(to.join(format!("machine{at}")), text).expect("it is writable");
        // Only hosts execute something.
        let _ = fs::copy(folder.join(at.to_string()), to.join(format!("runs{at}")));
    }
}

/// Who is there beside.
trait Guests {
    /// At the end: whether they met with what they should.
    fn judge(&self, doors: &[Door]);
}

#[test]
fn no_job_is_lost_or_settled_twice_whatever_is_cut_stopped_or_killed() {
    let seed = seed(0x5c1a);
    let Some(lan) = Lan::make(MACHINES) else { return };
    let mut chance = Chance::new(seed);
    let rounds = schedule(&mut chance, length());
    trial(seed, lan, &rounds, length(), |_, _| None);
}

/// Clients at work, hosts and coordinators under these faults, guests or none; then the checker.
fn trial(
    seed: u64,
    lan: Lan,
    rounds: &[Round],
    length: Duration,
    guests: impl FnOnce(&Lan, &[Door]) -> Option<Box<dyn Guests>>,
) {
    let mut chance = Chance::new(seed ^ 1);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut world = start(lan, LEASE);
    let doors: Vec<Door> = world.machines[..COORDINATORS].iter().map(Machine::door).collect();
    let guests = guests(&world.lan, &doors);
    let clients = Clients::new(doors, folder.path());
    let begun = Instant::now();
    let calm = scope(|scope| {
        // Whatever fails here, the clients end, or nobody would hear of it.
        let stop = Stop(&clients);
        for coordinator in 0..COORDINATORS {
            let (clients, chance) = (&clients, Chance::new(chance.next()));
            let watchers = Chance::new(chance.clone().next());
            scope.spawn(move || clients.steady(coordinator, chance));
            scope.spawn(move || clients.watching(coordinator, watchers));
        }
        for client in 0..2 {
            let (clients, chance) = (&clients, Chance::new(chance.next()));
            scope.spawn(move || clients.roaming(client, chance));
        }
        let calm = torment(&mut world, rounds, begun);
        drop(stop);
        calm
    });
    let mut history = std::mem::take(&mut *clients.history());
    let (last, settled) = settle(&clients.doors, &history);
    if let Some(guests) = &guests {
        guests.judge(&clients.doors);
    }
    drop(guests);
    history.calm = calm;
    history.last = last;
    history.runs = log::read(folder.path(), COORDINATORS + 1..=MACHINES);
    keep_logs(&world, folder.path());
    let figures = Figures::of(&history);
    println!("seed {seed}, {length:?}: all ended {settled:?} after the last heal; {figures}");
    let objections = objections(&history);
    show_late(&objections, &clients.doors);
    assert!(
        objections.is_empty(),
        "seed {seed}: {} objections:\n{}",
        objections.len(),
        objections[..objections.len().min(40)].join("\n")
    );
    let pause = Duration::from_millis(figures.pause);
    assert!(pause < PAUSE, "seed {seed}: writes paused for {pause:?}");
    drop(world);
    let mark = folder.path().display().to_string();
    eventually("no job is left behind", || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// What all coordinators say of the jobs that have not ended.
fn show_late(objections: &[String], doors: &[Door]) {
    let late = objections.iter().filter(|it| it.starts_with("I4: "));
    let late: BTreeSet<&str> = late.filter_map(|it| it.split_whitespace().nth(1)).collect();
    for job in late {
        for (at, door) in doors.iter().enumerate() {
            let shown = door.ask(|api| api.try_send("GET", &format!("/v1/jobs/{job}"), &[], b""));
            println!("{job} at {at}: {:?}", shown.map(|answer| answer.text()));
        }
    }
}

/// Stops the clients when it goes.
struct Stop<'a>(&'a Clients<'a>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}
