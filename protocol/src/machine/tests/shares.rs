//! One node fills tables that all share: others find room.

use super::world::{World, host_id, job_at, network, node_key, submit};
use crate::clock::Hlc;
use crate::command::{Command, Refusal};
use crate::id::NodeId;
use crate::key::NodeKey;
use crate::learned::Learned;
use crate::limits::{MAX_CONTROLS, MAX_HOSTS, MAX_LIVE_JOBS, SHARES};
use crate::machine::FrameFault;
use crate::record::Signed;
use crate::record::control::Control;
use crate::record::host::HostDesc;
use crate::record::spec::Subject;
use crate::view::Milli;

fn described(world: &World, key: &NodeKey, name: &str, removed: bool) -> Learned {
    let desc = HostDesc {
        id: host_id(name),
        name: String::new(),
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        registered: Hlc::default(),
        at: Hlc { ms: world.now.wall.0, count: 0 },
        by: "greedy".into(),
        display_version: 1,
        node: None,
        removed,
        openclaw: None,
    };
    Learned::Host(Box::new(Signed::seal(key, network(), desc)))
}

fn learn(world: &mut World, at: usize, from: NodeId, one: Learned) -> Vec<FrameFault> {
    let now = world.now;
    let node = &mut world.nodes[at];
    node.machine.learn(now, &node.disk, from, vec![one])
}

#[test]
fn who_describes_hosts_without_end_leaves_room_for_those_of_others() {
    for removed in [false, true] {
        let mut world = World::of(3, 2);
        let greedy = node_key(2);
        let mut taken = 0;
        for n in 0..MAX_HOSTS {
            let one = described(&world, &greedy, &format!("greedy-{n}"), removed);
            match learn(&mut world, 0, greedy.id(), one).as_slice() {
                [] => taken += 1,
                [FrameFault::Full] => {}
                other => panic!("{other:?}"),
            }
            if n % 1000 == 0 {
                world.drain(0);
            }
        }
        assert_eq!(taken, MAX_HOSTS / 4 * 3);
        let honest = described(&world, &node_key(1), "honest", false);
        assert_eq!(learn(&mut world, 0, node_key(1).id(), honest), []);
        world.host(0, "own", 1);
        let known = |name: &str| world.nodes[0].machine.hosts.get(&host_id(name)).is_some();
        assert!(known("honest") && known("own"));
    }
}

#[test]
fn who_makes_records_for_all_without_end_leaves_room_for_those_of_others() {
    let mut world = World::of(3, 2);
    let control = |key: &NodeKey, n: usize| {
        let control = Control {
            kind: "principal".into(),
            id: format!("p{n}"),
            at: Hlc { ms: 5, count: 0 },
            last: false,
            until: None,
            body: Vec::new(),
        };
        Learned::Control(Box::new(Signed::seal(key, network(), control)))
    };
    let greedy = node_key(2);
    let mut taken = 0;
    for n in 0..MAX_CONTROLS {
        let faults = learn(&mut world, 0, greedy.id(), control(&greedy, n));
        taken += usize::from(faults.is_empty());
    }
    assert_eq!(taken, MAX_CONTROLS / 4 * 3);
    let honest = control(&node_key(1), MAX_CONTROLS);
    assert_eq!(learn(&mut world, 0, node_key(1).id(), honest), []);
    assert_eq!(world.nodes[0].machine.controls().len(), taken + 1);
}

/// The table is as good as full of jobs of one home: it gets no more in, another one does.
#[test]
fn who_has_jobs_without_end_leaves_room_for_those_of_others() {
    let mut world = World::of(3, 3);
    let greedy = node_key(2).id();
    let any = Subject::Job(crate::record::tests::samples::job());
    for node in 0..2 {
        let machine = &mut world.nodes[node].machine;
        machine.jobs_live = MAX_LIVE_JOBS - MAX_LIVE_JOBS / 4;
        (0..MAX_LIVE_JOBS / SHARES).for_each(|_| machine.homes.of_mut(&any).add(greedy));
    }
    let asked = [world.ask(2, submit()), world.ask(0, submit())];
    for _ in 0..100 {
        for node in 0..3 {
            while world.step(node) | world.commit(node) | world.release(node) {}
        }
        let Some(frame) = (!world.net.is_empty()).then(|| world.net.remove(0)) else { break };
        world.deliver(&frame);
    }
    assert_eq!(world.faults, [FrameFault::Full; 2]);
    assert!(world.reply(asked[0]).is_none(), "no other voter takes it");
    job_at(world.reply(asked[1]).expect("it has its quorum"));
    for node in 0..2 {
        let machine = &mut world.nodes[node].machine;
        machine.jobs_live -= MAX_LIVE_JOBS - MAX_LIVE_JOBS / 4;
        (0..MAX_LIVE_JOBS / SHARES).for_each(|_| machine.homes.of_mut(&any).remove(greedy));
    }
    let refused = |command| matches!(command, Err(Refusal::Full { .. }));
    assert!(!refused(world.call(0, Command::Submit(super::world::request("")))));
}
