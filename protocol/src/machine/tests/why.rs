//! Why hosts get no work, in the words of the rules that give it out.

use super::world::{World, host_id, request};
use crate::command::Command;
use crate::id::{NodeId, ServiceId};
use crate::why::{HostWhy, NoInstance, NoJob};

fn why_host(world: &World, name: &str) -> HostWhy {
    world.nodes[0].machine.why_host(world.now, &host_id(name)).unwrap()
}

/// What keeps each host from an instance, by the name of the rule.
fn rules(world: &World) -> Vec<(String, Option<&'static str>)> {
    let id = ServiceId::new("api".to_owned()).unwrap();
    let why = world.nodes[0].machine.why_service(world.now, &id, None).unwrap();
    assert!(why.leads);
    let rule = |no: &Option<NoInstance>| no.as_ref().map(NoInstance::rule);
    why.hosts.iter().map(|(host, no)| (host.to_string(), rule(no))).collect()
}

#[test]
fn a_host_is_rejected_by_the_first_rule_that_it_does_not_meet() {
    let mut world = World::alone();
    for name in ["a", "b"] {
        world.attach_as(0, name, Some(NodeId([100; 32])));
    }
    let def = World::def("api", 1, "gpu");
    let id = ServiceId::new("api".to_owned()).unwrap();
    world.call(0, Command::PutService { id: Some(id), def, owner: None }).unwrap();
    let all = rules(&world);
    assert!(all.iter().all(|(_, rule)| *rule == Some("orders")), "{all:?}");
    let serve = Command::Serve { host: host_id("a"), node: Some(NodeId([100; 32])) };
    world.call(0, serve).unwrap();
    let all = rules(&world);
    assert_eq!(
        all.iter().map(|(_, rule)| *rule).collect::<Vec<_>>(),
        [Some("capabilities"), Some("orders")]
    );
    world.pass(60_000);
    assert!(rules(&world).iter().any(|(_, rule)| *rule == Some("gone") || *rule == Some("orders")));
}

#[test]
fn what_waits_says_what_keeps_a_host_from_it_and_a_free_host_is_kept_by_nothing() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    assert!(why_host(&world, "h").waiting.is_empty());
    for needs in ["gpu", "gpu", ""] {
        world.call(0, Command::Submit(request(needs))).unwrap();
    }
    let why = why_host(&world, "h");
    let mut waiting: Vec<_> =
        why.waiting.iter().map(|one| (one.jobs, one.rejected.clone())).collect();
    waiting.sort_by_key(|(jobs, _)| *jobs);
    assert_eq!(waiting, [(1, None), (2, Some(NoJob::Lacks(vec!["gpu".into()])))]);
    assert!(!why.full && !why.asks && why.waiting.iter().all(|one| one.oldest.is_some()));
}

#[test]
fn of_many_hosts_no_more_is_judged_than_the_reason_of_each_needs() {
    let mut world = World::alone();
    for name in ["a", "b", "c"] {
        world.host(0, name, 1);
    }
    for needs in ["", "gpu", "tpu"] {
        world.call(0, Command::Submit(request(needs))).unwrap();
    }
    let ids = ["c", "a", "nobody"].map(host_id);
    let told = world.nodes[0].machine.why_hosts(world.now, &ids);
    assert_eq!(told.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    for (id, why) in &told {
        let all = why_host(&world, id.as_str());
        assert_eq!(all.waiting.len(), 3);
        assert_eq!(why.waiting, all.waiting[..1], "it is told until one fits");
        assert_eq!(
            HostWhy { waiting: Vec::new(), ..all },
            HostWhy { waiting: Vec::new(), ..why.clone() }
        );
    }
    world.pass(crate::limits::HOST_SILENT_MS);
    let told = world.nodes[0].machine.why_hosts(world.now, &ids);
    assert!(told.iter().all(|(_, why)| why.waiting.is_empty()), "nothing is given to the silent");
}
