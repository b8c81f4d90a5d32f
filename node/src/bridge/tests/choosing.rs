//! What is claimed at which original.

use std::time::{Duration, Instant};

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostId, HostView, JobId, Milli};

use crate::bridge::limits::{CLAIMS_AT_ONCE, VAIN};
use crate::bridge::roster::Live;
use crate::bridge::work::choose::{Free, Vain, Waiting, asked_most, claims};

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn job(n: u64, required: &str) -> Waiting {
    let id = JobId::new(format!("job_{n}")).unwrap();
    Waiting { id, created: Wall(n), required: words(required) }
}

fn free(capabilities: &str, slots: usize) -> Free {
    Free { capabilities: words(capabilities), slots }
}

/// What is claimed, as capabilities and counts.
fn claimed(waiting: &[Waiting], free: Vec<Free>, ahead: &[&str]) -> Vec<(String, usize)> {
    let ahead: Vec<Vec<String>> = ahead.iter().map(|one| words(one)).collect();
    let all = claims(waiting, free, &ahead);
    all.into_iter().map(|one| (one.capabilities.join(" "), one.count)).collect()
}

/// F38.
#[test]
fn nothing_is_claimed_without_a_job_and_a_host_with_room_that_can_run_it() {
    assert_eq!(claimed(&[], vec![free("shell", 4)], &[]), []);
    assert_eq!(claimed(&[job(1, "gpu")], vec![free("shell", 4)], &[]), []);
    assert_eq!(claimed(&[job(1, "shell")], vec![free("shell", 0)], &[]), []);
    assert_eq!(claimed(&[job(1, "shell")], vec![], &[]), []);
    assert_eq!(claimed(&[job(1, "")], vec![free("", 1)], &[]), [(String::new(), 1)]);
}

#[test]
fn as_many_are_claimed_as_there_is_room_for() {
    let waiting: Vec<Waiting> = (0..9).map(|n| job(n, "shell")).collect();
    let hosts = vec![free("shell", 2), free("openclaw shell", 1)];
    let expected = [("shell".to_owned(), 2), ("openclaw shell".to_owned(), 1)];
    assert_eq!(claimed(&waiting, hosts.clone(), &[]), expected);
    // Jobs that were taken over before and wait here come first.
    assert_eq!(claimed(&waiting, hosts.clone(), &["shell", "openclaw"]), [("shell".to_owned(), 1)]);
    assert_eq!(claimed(&waiting, hosts, &["gpu", "shell", "shell", "shell"]), []);
}

#[test]
fn jobs_that_nobody_here_can_run_are_passed_over() {
    let waiting = [job(1, "gpu"), job(2, "shell")];
    let all = claims(&waiting, vec![free("shell", 1)], &[]);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].newest.1.as_str(), "job_2");
}

#[test]
fn an_original_keeps_some_for_its_own_hosts() {
    let waiting: Vec<Waiting> = (0..100).map(|n| job(n, "")).collect();
    assert_eq!(claimed(&waiting, vec![free("", 1000)], &[]), [(String::new(), CLAIMS_AT_ONCE)]);
}

fn live(names: &[&str]) -> Vec<Live> {
    let one = |name: &&str| Live { node: (*name).into(), url: format!("http://{name}") };
    names.iter().map(one).collect()
}

fn host(id: &str, by: &str, seen: u64) -> HostView {
    HostView {
        id: HostId::new(id).unwrap(),
        name: id.into(),
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        active_leases: Milli(0),
        last_seen: Wall(seen),
        registered: Wall(0),
        updated_by: by.into(),
        version: 1,
        openclaw: None,
    }
}

/// F01: not beside what gives the same jobs to its own hosts.
#[test]
fn jobs_are_claimed_where_most_hosts_ask() {
    let both = live(&["a", "b"]);
    let asked = |hosts: &[HostView]| asked_most(&both, hosts, "mine_").unwrap().node.clone();
    assert_eq!(asked(&[]), "a");
    assert_eq!(asked(&[host("h1", "b", 50_000)]), "b");
    assert_eq!(asked(&[host("h1", "b", 50_000), host("h2", "a", 50_000)]), "a");
    // Those not heard of for long, and our own, do not count; nor do hosts of one that is gone.
    let hosts = [host("h1", "b", 1000), host("h2", "b", 2000), host("h3", "a", 90_000)];
    assert_eq!(asked(&hosts), "a");
    assert_eq!(asked(&[host("mine_1", "b", 90_000), host("h", "c", 90_000)]), "a");
    assert!(asked_most(&[], &[], "mine_").is_none());
}

#[test]
fn a_claim_that_found_nothing_is_repeated_for_new_jobs_and_later_elsewhere() {
    let (mut vain, mut now) = (Vain::default(), Instant::now());
    let one = |n| claims(&[job(n, "shell")], vec![free("shell", 1)], &[]).remove(0);
    assert_eq!(vain.turn(&one(1), now), Some(0));
    vain.in_vain(&one(1), now);
    assert_eq!(vain.turn(&one(1), now), None);
    assert_eq!(vain.turn(&one(2), now), Some(0), "another job came");
    vain.in_vain(&one(2), now);
    now += VAIN - Duration::from_millis(1);
    assert_eq!(vain.turn(&one(2), now), None);
    now += Duration::from_millis(1);
    assert_eq!(vain.turn(&one(2), now), Some(1), "the other original may have it alone");
    // It had: the next one is asked for there.
    assert_eq!(vain.turn(&one(3), now), Some(1));
}
