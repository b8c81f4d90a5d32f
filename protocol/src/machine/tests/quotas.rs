//! Bounds on the jobs of a principal: too many that wait are refused, too many that would run are passed
//! over.

use super::world::{World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::clock::Wall;
use crate::command::{Command, JobRequest, Refusal};
use crate::id::{Hash, JobId};
use crate::principal::{ApiKey, Principal, Quotas, Scope, submitter};

fn allow(world: &mut World, node: usize, name: &str, quotas: Quotas) {
    let chance = *Hash::of(name.as_bytes()).0.first_chunk().unwrap();
    let key = ApiKey::new(ApiKey::id_of(chance).unwrap(), [1; 32]);
    let principal = Principal {
        id: key.id.clone(),
        name: name.into(),
        scopes: vec![Scope::Submit],
        secret_hash: key.hash(),
        quotas,
        created: Wall(0),
        created_by: String::new(),
        expires: None,
        revoked: None,
    };
    world.call(node, Command::MakePrincipal(Box::new(principal))).unwrap();
}

fn submit_as(name: &str) -> Command {
    Command::Submit(JobRequest { submitted_by: Some(submitter(name)), ..request("") })
}

fn running(most: u32) -> Quotas {
    Quotas { running: Some(most), ..Quotas::default() }
}

fn claim(world: &mut World, node: usize, host: &str) -> Option<JobId> {
    world.try_claim(node, host).map(|at| at.job)
}

#[test]
fn one_job_more_than_may_wait_is_refused_and_goes_once_one_has_begun() {
    let mut world = World::alone();
    allow(&mut world, 0, "ci", Quotas { queued: Some(2), ..Quotas::default() });
    world.host(0, "h", 9);
    world.call(0, submit_as("ci")).unwrap();
    world.call(0, submit_as("ci")).unwrap();
    let refused = world.call(0, submit_as("ci")).unwrap_err();
    let Refusal::OverQuota { what, retry_s } = refused else { panic!("{refused:?}") };
    assert!(what.contains("queued") && what.contains("at most 2") && retry_s > 0, "{what}");
    // Nobody else is in the way.
    world.call(0, submit_as("other")).unwrap();
    world.submit(0);
    claim(&mut world, 0, "h").unwrap();
    world.call(0, submit_as("ci")).unwrap();
    // It is counted over a restart.
    world.crash(0);
    assert!(matches!(world.call(0, submit_as("ci")), Err(Refusal::OverQuota { .. })));
}

#[test]
fn jobs_that_come_together_are_all_counted() {
    let mut world = World::of(3, 2);
    allow(&mut world, 0, "ci", Quotas { queued: Some(3), ..Quotas::default() });
    let tokens: Vec<_> = (0..5).map(|_| world.ask(0, submit_as("ci"))).collect();
    world.settle();
    let taken = tokens.into_iter().filter(|token| world.reply(*token).unwrap().is_ok()).count();
    assert_eq!(taken, 3);
    // The others have heard of them.
    for node in [1, 2] {
        assert!(matches!(world.call(node, submit_as("ci")), Err(Refusal::OverQuota { .. })));
    }
}

#[test]
fn a_principal_that_runs_enough_is_passed_over_and_keeps_its_place() {
    let mut world = World::alone();
    allow(&mut world, 0, "ci", running(1));
    world.host(0, "h", 9);
    let mine: Vec<JobId> = (0..3).map(|_| job_at(world.call(0, submit_as("ci"))).job).collect();
    let other = world.submit(0);
    assert_eq!(claim(&mut world, 0, "h"), Some(mine[0].clone()));
    assert_eq!(claim(&mut world, 0, "h"), Some(other));
    assert_eq!(claim(&mut world, 0, "h"), None);
    assert_eq!(world.nodes[0].machine.gauges().queued, 2, "they wait");
    // A parked claim gets the next one when the first has ended.
    let parked = Command::Claim { host: host_id("h"), wait_ms: 9000, without: Vec::new() };
    let parked = world.ask(0, parked);
    world.settle();
    assert_eq!(world.reply(parked), None);
    world.call(0, World::completion(&mine[0], "h", true)).unwrap();
    assert_eq!(job_at(world.reply(parked).unwrap()).job, mine[1]);
    // One that is cancelled while it is passed over is not brought back.
    assert_eq!(claim(&mut world, 0, "h"), None);
    world.call(0, Command::Cancel { job: mine[2].clone() }).unwrap();
    world.call(0, World::completion(&mine[1], "h", true)).unwrap();
    assert_eq!(claim(&mut world, 0, "h"), None);
    assert_eq!(world.nodes[0].machine.gauges().queued, 0);
}

#[test]
fn claims_that_come_together_pass_no_bound() {
    let mut world = World::alone();
    allow(&mut world, 0, "ci", running(2));
    world.host(0, "h", 9);
    (0..4).for_each(|_| drop(world.call(0, submit_as("ci")).unwrap()));
    let claims: Vec<_> = (0..4)
        .map(|_| {
            let claim = Command::Claim { host: host_id("h"), wait_ms: 0, without: Vec::new() };
            world.ask(0, claim)
        })
        .collect();
    world.settle();
    let got = |token| matches!(world.reply(token), Some(Ok(KeyAnswer::Job(_))));
    assert_eq!(claims.into_iter().map(got).filter(|got| *got).count(), 2);
}

#[test]
fn what_runs_elsewhere_counts_and_a_revoked_principal_has_no_bound() {
    let mut world = World::of(2, 2);
    allow(&mut world, 0, "ci", running(1));
    world.host(0, "h", 9);
    world.host(1, "i", 9);
    let first = job_at(world.call(0, submit_as("ci"))).job;
    let second = job_at(world.call(1, submit_as("ci"))).job;
    assert_eq!(claim(&mut world, 0, "h"), Some(first));
    assert_eq!(claim(&mut world, 1, "i"), None);
    world.call(0, Command::RevokePrincipal { which: "ci".into() }).unwrap();
    world.pass(crate::limits::SWEEP_MS);
    // The host's lease of the first ran out meanwhile: what it gets is one of the two.
    assert!(claim(&mut world, 1, "i").is_some());
    assert_ne!(world.phase(1, &second), None);
}
