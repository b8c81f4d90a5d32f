//! Hosts that stand still for longer than a lease.

use std::thread::sleep;
use std::time::Duration;

use skyclaw_tests::lan::Lan;
use skyclaw_tests::{shell, within};

use crate::checker::overlapping;
use crate::faults::{COORDINATORS, FREEZE, Fault, LEASE, MACHINES};
use crate::log::{Run, Work, read, script};
use crate::start;

/// Longer than a lease, the guard after it, and the time until another host begins.
const RUNS: Work = Work::Beats(75);

/// Longest time until the job has ended elsewhere.
const ENDED: Duration = Duration::from_secs(60);

/// The node of a host hangs while its jobs go on: nobody renews their leases, and nobody but their
/// shims can end them.
#[test]
fn a_job_whose_node_hangs_is_ended_before_another_host_begins_it() {
    ends_before_the_next(Fault::FreezeNode);
}

/// All of it stands still, as on a laptop that sleeps: on waking the lease is over.
#[test]
fn a_job_on_a_host_that_slept_does_nothing_more() {
    ends_before_the_next(Fault::Freeze);
}

#[track_caller]
fn ends_before_the_next(fault: fn(usize) -> Fault) {
    let Some(lan) = Lan::make(MACHINES) else { return };
    let mut world = start(lan, LEASE);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let runs = || read(folder.path(), COORDINATORS + 1..=MACHINES);
    let body = shell(&script(folder.path(), "once", RUNS));
    let job = world.machines[0].here(|api| api.submit(&body));
    let id = job["id"].as_str().expect("a job has an id");
    let first =
        within(ENDED, "it runs", || runs().first().map(|run| run.machine).ok_or_else(String::new));
    world.begin(fault(first));
    sleep(FREEZE);
    world.end(fault(first));
    let job = within(ENDED, "it ends", || {
        let job = world.machines[0].get(&format!("/v1/jobs/{id}"))["job"].take();
        if job["status"] == "completed" { Ok(job) } else { Err(job.to_string()) }
    });
    let runs: Vec<Run> = runs();
    let [lost, whole] = &runs[..] else { panic!("two runs, not {runs:?}") };
    let (lost, whole) = if lost.machine == first { (lost, whole) } else { (whole, lost) };
    println!("ended {} ms before the other began", whole.begun.saturating_sub(lost.last));
    assert_eq!(overlapping(&runs), Vec::<String>::new());
    assert!(lost.machine == first && !lost.whole && whole.whole, "{runs:?}");
    let said = format!("done once {} on {}\n", whole.process, whole.machine);
    assert_eq!(job["result"]["stdout"], *said, "{job}");
}
