//! Voters beyond the size at which everybody keeps everything.

use super::world::{World, job_at, node_key, subject, submit};
use crate::id::{JobId, NodeId};
use crate::register::Phase;
use crate::shards::{Limits, Placement, Settings, Shard, copies};

fn world(count: usize, coordinators: usize) -> World {
    let limits = Limits { records: u64::MAX, coordinators };
    World::sized(count, 2, Settings { limits, ..Settings::default() })
}

fn placement(count: usize) -> Placement {
    Placement::new((0..count).map(|n| node_key(n).id()), copies(2))
}

fn voters(world: &World, node: usize, job: &JobId) -> Vec<NodeId> {
    let stored = world.nodes[node].disk.stored(&subject(job)).expect("its home has it");
    stored.spec.body().voters.clone()
}

fn made(world: &mut World, node: usize) -> JobId {
    let asked = world.ask(node, submit());
    world.settle();
    job_at(world.reply(asked).expect("answered")).job
}

#[test]
fn beyond_the_bound_voters_are_replicas_of_the_jobs_shard() {
    let mut world = world(9, 8);
    let placement = placement(9);
    let mut homes_apart = 0;
    for n in 0..30 {
        let home = n % 9;
        let job = made(&mut world, home);
        let voters = voters(&world, home, &job);
        assert_eq!((voters.len(), voters[0]), (3, node_key(home).id()));
        let replicas: Vec<_> = placement.replicas(Shard::of(&job)).collect();
        assert!(voters[1..].iter().all(|voter| replicas.contains(voter)), "{voters:?}");
        homes_apart += usize::from(!replicas.contains(&voters[0]));
    }
    assert!(homes_apart > 3, "who takes a job need not keep its shard");
}

#[test]
fn a_job_of_such_voters_runs_and_ends() {
    let mut world = world(9, 8);
    world.host(3, "h", 1);
    let job = made(&mut world, 3);
    let granted = world.try_claim(3, "h").expect("it waits");
    assert_eq!(granted.job, job);
    assert_eq!(world.phase(3, &job), Some(Phase::Leased));
}

#[test]
fn up_to_the_bound_voters_are_drawn_as_before() {
    // That of nodes that have just started.
    let (mut one, mut other) = (world(9, 12), World::of(9, 2));
    for home in 0..9 {
        let (job, same) = (made(&mut one, home), made(&mut other, home));
        assert_eq!(job, same);
        assert_eq!(voters(&one, home, &job), voters(&other, home, &same));
    }
}
