//! Nodes that keep only their shards.

use super::random::{Named, Run, seeds};
use super::world::{LEASE_MS, QUORUM_MS, World, cut, job_at, key, node_key, subject, submit};
use crate::command::Refusal;
use crate::id::JobId;
use crate::limits::{HAND_OVER_AFTER_MS, SEEK_MS};
use crate::record::spec::Subject;
use crate::register::Phase;
use crate::shards::{LEAST_COPIES, Limits, Settings, Shard};

const AWAY_MS: u64 = 8000;

/// Shards are placed from this number of coordinators on, or this number of jobs.
fn settings(coordinators: usize, records: u64) -> Settings {
    Settings { limits: Limits { records, coordinators }, away_ms: AWAY_MS }
}

fn world(count: usize) -> World {
    World::sized(count, 2, settings(0, u64::MAX))
}

fn holders(world: &World, job: &JobId) -> Vec<usize> {
    (0..world.nodes.len()).filter(|n| world.item(*n, job).is_some()).collect()
}

/// Who is to keep a job as `node` sees it, and who votes on it.
fn expected(world: &World, node: usize, job: &JobId) -> Vec<usize> {
    let voters = (0..world.nodes.len())
        .find_map(|n| world.nodes[n].disk.stored(&subject(job)))
        .expect("somebody has it")
        .spec
        .body()
        .voters
        .clone();
    let replicas: Vec<_> = world.duties(node).replicas(Shard::of(job)).collect();
    let id = |n: &usize| node_key(*n).id();
    (0..world.nodes.len())
        .filter(|n| replicas.contains(&id(n)) || voters.contains(&id(n)))
        .collect()
}

/// All look at how many jobs there are, as they do with each sweep.
fn look(world: &mut World) {
    let all: Vec<usize> = (0..world.nodes.len()).collect();
    (0..all.len()).for_each(|node| world.set_view(node, &all));
}

/// Rounds of handing over until nothing more goes.
fn hand_all_over(world: &mut World) -> usize {
    world.pass(AWAY_MS.min(HAND_OVER_AFTER_MS) + 1);
    let mut gone = 0;
    loop {
        let mut more = 0;
        for node in 0..world.nodes.len() {
            // What was lacking is there in the next round.
            more += world.hand_over(node).len();
            world.settle();
            more += world.hand_over(node).len();
            world.settle();
        }
        gone += more;
        if more == 0 {
            return gone;
        }
    }
}

#[test]
fn a_job_is_kept_by_its_replicas_and_voters_alone() {
    let mut world = world(9);
    world.host(4, "h", 100);
    let jobs: Vec<JobId> = (0..40).map(|n| world.submit(n % 9)).collect();
    for _ in 0..10 {
        let granted = world.claim(4, "h").job;
        assert!(world.complete(4, &granted, "h").is_ok());
    }
    world.settle();
    assert!(world.faults.is_empty());
    hand_all_over(&mut world);
    for job in &jobs {
        let held = holders(&world, job);
        assert_eq!(held, expected(&world, 0, job), "{job}");
        assert!(held.len() >= LEAST_COPIES && held.len() < 9);
        let items: Vec<_> = held.iter().map(|n| world.item(*n, job)).collect();
        assert!(items.windows(2).all(|pair| pair[0] == pair[1]), "the same everywhere");
    }
    let ended = |job: &&JobId| world.phase(holders(&world, job)[0], job) == Some(Phase::Succeeded);
    assert_eq!(jobs.iter().filter(ended).count(), 10);
}

#[test]
fn beyond_the_number_of_jobs_what_everybody_held_is_handed_over() {
    let mut world = World::sized(8, 2, settings(100, 30));
    let jobs: Vec<JobId> = (0..40).map(|n| world.submit(n % 8)).collect();
    assert!(jobs.iter().all(|job| holders(&world, job).len() == 8));
    assert!(world.duties(0).is_full());
    look(&mut world);
    assert!(!world.duties(0).is_full(), "there are more than the bound");
    assert!(hand_all_over(&mut world) > 0);
    for job in &jobs {
        assert_eq!(holders(&world, job), expected(&world, 0, job));
    }
    // Nobody takes the deletion for one of the job.
    for node in 0..8 {
        let peer = (node + 1) % 8;
        world.repair(node, peer);
        world.settle();
    }
    assert!(jobs.iter().all(|job| holders(&world, job) == expected(&world, 0, job)));
}

#[test]
fn one_replica_that_cannot_be_asked_holds_everything_of_it_back() {
    let mut world = World::sized(8, 2, settings(100, 30));
    let jobs: Vec<JobId> = (0..40).map(|n| world.submit(n % 8)).collect();
    look(&mut world);
    world.pass(AWAY_MS + 1);
    for other in 1..8 {
        cut(&mut world, 0, other);
    }
    for node in 0..8 {
        world.hand_over(node);
    }
    world.settle();
    for job in &jobs {
        let zero = world.duties(1).replicas(Shard::of(job)).any(|id| id == node_key(0).id());
        assert!(!zero || holders(&world, job).len() == 8, "{job} is not handed over");
    }
}

#[test]
fn one_that_is_away_for_a_while_keeps_its_place_and_then_others_take_it() {
    let mut world = world(9);
    let jobs: Vec<JobId> = (0..40).map(|n| world.submit(n % 9)).collect();
    hand_all_over(&mut world);
    let before = world.duties(1);
    let alive: Vec<usize> = (0..8).collect();
    for other in 0..8 {
        cut(&mut world, 8, other);
        world.set_view(other, &alive);
    }
    world.pass(AWAY_MS - 1);
    assert!(std::sync::Arc::ptr_eq(&before, &world.duties(1)), "nothing moves");
    world.pass(2);
    assert!(!std::sync::Arc::ptr_eq(&before, &world.duties(1)));
    let taken =
        jobs.iter().filter(|job| before.replicas(Shard::of(job)).any(|id| id == node_key(8).id()));
    assert!(taken.count() > 5);
    for one in 0..8 {
        for other in 0..one {
            world.repair(one, other);
        }
    }
    world.settle();
    hand_all_over(&mut world);
    for job in &jobs {
        let held: Vec<_> = holders(&world, job).into_iter().filter(|n| *n != 8).collect();
        let wanted: Vec<_> = expected(&world, 1, job).into_iter().filter(|n| *n != 8).collect();
        assert_eq!(held, wanted, "{job}");
        assert!(held.len() >= LEAST_COPIES);
    }
    // It comes back, and what it missed comes to it.
    world.cut.clear();
    look(&mut world);
    for one in 0..9 {
        for other in 0..one {
            world.repair(one, other);
        }
    }
    world.settle();
    hand_all_over(&mut world);
    for job in &jobs {
        assert_eq!(holders(&world, job), expected(&world, 1, job), "{job}");
    }
}

#[test]
fn what_is_asked_of_one_that_does_not_keep_a_job_is_done() {
    let mut world = world(9);
    let jobs: Vec<JobId> = (0..9).map(|n| world.submit(n)).collect();
    hand_all_over(&mut world);
    for job in &jobs {
        let far = (0..9).find(|n| !holders(&world, job).contains(n)).expect("somebody has it not");
        let reply = world.cancel(far, job);
        assert_eq!(job_at(reply).val.job().map(|state| state.phase), Some(Phase::Cancelled));
        for node in expected(&world, far, job) {
            assert_eq!(world.phase(node, job), Some(Phase::Cancelled));
        }
    }
}

/// A host over HTTP goes on with its next url: that coordinator was told of nothing that runs there.
#[test]
fn a_host_that_speaks_to_another_coordinator_is_renewed_there_what_it_runs() {
    let mut world = world(9);
    world.host(4, "h", 1);
    let job = world.submit(0);
    assert_eq!(world.claim(4, "h").job, job);
    let far = (0..9).find(|n| !holders(&world, &job).contains(n)).expect("somebody has it not");
    for _ in 0..3 * LEASE_MS / 300 {
        world.pass(300);
        world.beat_naming(far, "h", &[&job]).unwrap();
    }
    assert_eq!(world.phase(4, &job), Some(Phase::Leased), "and not run by another one");
    // What is needed there stays there meanwhile.
    world.pass(AWAY_MS.min(HAND_OVER_AFTER_MS) + 1);
    assert_eq!(job_at(world.complete(far, &job, "h")).val.job().map(|it| it.attempt), Some(1));
}

#[test]
fn of_a_job_that_nobody_answers_for_it_is_not_said_that_there_is_none() {
    let job = JobId::new("job_far").unwrap();
    let refusal = |mut world: World| {
        world.host(1, "h", 1);
        let asked = world.ask(1, World::completion(&job, "h", true));
        world.pass(SEEK_MS);
        World::refusal(world.reply(asked).expect("answered"))
    };
    assert!(matches!(refusal(world(9)), Refusal::HomeAway { .. }));
    assert!(matches!(refusal(World::of(3, 2)), Refusal::UnknownJob(_)));
}

#[test]
fn a_key_used_anywhere_finds_its_job() {
    let mut world = world(9);
    let first = job_at(world.call_keyed(3, submit(), key("k", "a"))).job;
    hand_all_over(&mut world);
    for node in 0..9 {
        assert_eq!(job_at(world.call_keyed(node, submit(), key("k", "a"))).job, first);
    }
}

/// What was deleted was held, at that moment, by every coordinator it is placed with, and by a quorum of its voters.
fn check_gone(world: &World, node: usize, gone: &[JobId]) {
    for job in gone {
        let held = holders(world, job);
        let others = held.iter().filter(|n| **n != node).count();
        let duties = world.duties(node);
        let replicas = duties.replicas(Shard::of(job)).count();
        assert!(others >= replicas, "{job} was deleted at {node} and is held by {held:?}");
        let stored = world.nodes[node].disk.stored(&subject(job)).expect("not yet written");
        assert!(!stored.spec.body().voters.contains(&node_key(node).id()));
    }
}

fn explore(most: u64, turns: usize, nodes: usize) {
    for seed in seeds(most) {
        let named = Named(seed);
        // Placed from the beginning, or now and then, as jobs come and end.
        let limits = match seed % 3 {
            0 => Limits { records: u64::MAX, coordinators: 0 },
            _ => Limits { records: 6, coordinators: usize::MAX },
        };
        let shards = Settings { limits, away_ms: 500 };
        let mut run = Run::new(seed, World::sized(nodes, 2, shards));
        let mut handed = 0;
        for _ in 0..8 {
            let node = run.node();
            run.world.submit(node);
        }
        look(&mut run.world);
        for _ in 0..turns {
            run.turn();
            match run.below(8) {
                0 => {
                    let node = run.node();
                    // What is under way on its disk is seen by nobody.
                    run.world.drain(node);
                    let gone = run.world.hand_over(node);
                    check_gone(&run.world, node, &gone);
                    handed += gone.len();
                }
                1 => {
                    let (one, other) = (run.node(), run.node());
                    run.world.repair(one, other);
                }
                2 => {
                    // Somebody sees others than the rest do.
                    let node = run.node();
                    let mut others: Vec<usize> = (0..nodes).collect();
                    if run.below(2) == 0 {
                        others.remove(run.node());
                    }
                    run.world.set_view(node, &others);
                }
                _ => {}
            }
        }
        look(&mut run.world);
        run.world.cut.clear();
        // Whoever is not told of each change hears of it by repair, or by handing over.
        for _ in 0..3 {
            run.world.pass(2 * QUORUM_MS + LEASE_MS);
            for one in 0..nodes {
                for other in 0..one {
                    run.world.repair(one, other);
                    run.world.settle();
                }
                handed += run.world.hand_over(one).len();
                run.world.settle();
            }
        }
        run.finish();
        println!("seed {seed}: {handed} copies were handed over");
        drop(named);
    }
}

#[test]
fn placed_nodes_keep_their_word_whatever_happens() {
    explore(9, 200, 8);
}

#[test]
fn services_are_kept_by_everybody() {
    let mut world = world(9);
    world.deploy(3, "s", 1);
    let service = Subject::Service(crate::id::ServiceId::new("s").unwrap());
    assert!((0..9).all(|n| world.nodes[n].disk.stored(&service).is_some()));
}
