//! Claims: which job, for whom, and claims that wait.

use super::world::{LEASE_MS, World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::limits::EXPIRY_MARGIN_MS;
use crate::machine::Token;
use crate::register::Phase;

fn park(world: &mut World, host: &str, wait_ms: u32) -> Token {
    let token = world.ask(0, Command::Claim { host: host_id(host), wait_ms, without: Vec::new() });
    world.settle();
    token
}

#[test]
fn the_oldest_job_comes_first_and_what_a_host_cannot_run_does_not_block_it_l4() {
    let mut world = World::alone();
    world.host_with(0, "h", 9, "shell");
    let picky = world.submit_with(0, request("gpu"));
    let plain: Vec<_> =
        ["shell", "", "shell"].map(|r| world.submit_with(0, request(r))).into_iter().collect();
    let granted: Vec<_> = (0..3).map(|_| world.claim(0, "h").job).collect();
    assert_eq!(granted, plain);
    assert_eq!(world.try_claim(0, "h"), None);
    world.host_with(0, "strong", 1, "gpu shell");
    assert_eq!(world.claim(0, "strong").job, picky);
}

#[test]
fn a_requeued_job_keeps_its_place_by_creation() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let (old, _young) = (world.submit(0), world.submit(0));
    world.claim(0, "h");
    world.pass(LEASE_MS);
    assert_eq!(world.claim(0, "h").job, old);
}

#[test]
fn f08_f09_the_gate_counts_the_lease_table_and_not_what_the_host_says() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.beat(0, "h", 7).unwrap();
    world.submit(0);
    world.submit(0);
    world.claim(0, "h");
    world.beat(0, "h", 0).unwrap();
    assert_eq!(world.try_claim(0, "h"), None);
}

#[test]
fn f09_claims_of_one_batch_count_against_the_gate() {
    let mut world = World::alone();
    world.host(0, "h", 2);
    let jobs: Vec<_> = (0..3).map(|_| world.submit(0)).collect();
    let asked: Vec<_> = (0..3)
        .map(|_| {
            world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() })
        })
        .collect();
    world.drain(0);
    let mut got: Vec<_> = asked.into_iter().map(|t| world.reply(t).unwrap()).collect();
    assert_eq!(got.pop(), Some(Ok(KeyAnswer::NoJob)));
    let got: Vec<_> = got.into_iter().map(|r| job_at(r).job).collect();
    assert_eq!(got, jobs[..2]);
}

#[test]
fn an_unknown_host_gets_no_job() {
    let mut world = World::alone();
    world.submit(0);
    let reply =
        world.call(0, Command::Claim { host: host_id("ghost"), wait_ms: 0, without: Vec::new() });
    assert_eq!(reply, Err(Refusal::UnknownHost("ghost".into())));
}

#[test]
fn parked_claims_are_served_in_the_order_they_came() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    world.host(0, "b", 1);
    let first = park(&mut world, "b", 10_000);
    let second = park(&mut world, "a", 10_000);
    let (one, two) = (world.submit(0), world.submit(0));
    assert_eq!(job_at(world.reply(first).unwrap()).job, one);
    assert_eq!(job_at(world.reply(second).unwrap()).job, two);
}

#[test]
fn a_parked_claim_that_cannot_run_a_job_does_not_block_the_next() {
    let mut world = World::alone();
    world.host_with(0, "plain", 1, "shell");
    world.host_with(0, "strong", 1, "gpu");
    let plain = park(&mut world, "plain", 10_000);
    let strong = park(&mut world, "strong", 10_000);
    let job = world.submit_with(0, request("gpu"));
    assert_eq!(job_at(world.reply(strong).unwrap()).job, job);
    assert_eq!(world.reply(plain), None);
}

#[test]
fn a_parked_claim_times_out_without_a_job_and_leaves_no_timer() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let parked = park(&mut world, "h", 300);
    world.pass(299);
    assert_eq!(world.reply(parked), None);
    world.pass(1);
    assert_eq!(world.reply(parked), Some(Ok(KeyAnswer::NoJob)));
    assert_eq!(world.nodes[0].machine.timers.len(), 1);
    world.submit(0);
    assert_eq!(world.nodes[0].machine.gauges().leased, 0);
}

#[test]
fn a_parked_claim_whose_caller_hung_up_gets_no_job() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let parked = park(&mut world, "h", 10_000);
    world.hang_up(0, parked);
    world.settle();
    let job = world.submit(0);
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.nodes[0].machine.timers.len(), 1);
    world.hang_up(0, Token(999));
}

#[test]
fn a_job_that_comes_back_goes_to_a_parked_claim() {
    let mut world = World::alone();
    world.host(0, "a", 1);
    world.host(0, "b", 1);
    let job = world.submit(0);
    world.claim(0, "a");
    let parked = park(&mut world, "b", 10_000);
    world.pass(LEASE_MS);
    let granted = job_at(world.reply(parked).unwrap());
    assert_eq!((granted.job, granted.val.job().unwrap().attempt), (job, 2));
}

#[test]
fn a_slot_that_becomes_free_serves_the_claim_its_host_parked() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let (first, second) = (world.submit(0), world.submit(0));
    world.claim(0, "h");
    let parked = park(&mut world, "h", 10_000);
    assert_eq!(world.reply(parked), None);
    job_at(world.complete(0, &first, "h"));
    assert_eq!(job_at(world.reply(parked).unwrap()).job, second);
}

#[test]
fn a_grant_that_could_not_be_delivered_goes_back_to_the_queue() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let asked =
        world.ask(0, Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() });
    world.settle();
    assert!(world.grants.contains(&asked));
    let answer = world.reply(asked).unwrap().unwrap();
    let now = world.now;
    world.nodes[0].machine.undelivered(now, &answer);
    world.nodes[0].machine.undelivered(now, &answer);
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Queued));
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 2);
    world.nodes[0].machine.undelivered(now, &answer);
    world.settle();
    assert_eq!(world.phase(0, &job), Some(Phase::Leased), "an old grant takes nothing back");
}

#[test]
fn nothing_is_granted_close_to_its_expiry_and_a_clock_that_comes_back_brings_it_back() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    let life = world.config.job_ttl_ms;
    let honest = world.now.wall;
    world.now.wall = honest.plus_ms(life - EXPIRY_MARGIN_MS);
    assert_eq!(world.try_claim(0, "h"), None);
    world.now.wall = honest.plus_ms(5);
    world.pass(61_000);
    assert_eq!(world.claim(0, "h").job, job);
}

#[test]
fn the_display_count_follows_grants_and_ends() {
    let mut world = World::alone();
    world.host(0, "h", 3);
    let job = world.submit(0);
    world.claim(0, "h");
    let shown = |world: &World| world.nodes[0].machine.host_views()[0].active_leases.0;
    assert_eq!(shown(&world), 1000);
    job_at(world.complete(0, &job, "h"));
    assert_eq!(shown(&world), 0);
}
