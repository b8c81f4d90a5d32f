//! Services: CONTRACT S9 to S18.

use super::world::{World, host_id, service_of};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal, ServiceReport};
use crate::id::ServiceId;
use crate::limits::{MAX_REPLICAS, MAX_SERVICE_ERRORS_BYTES, MAX_TEXT_BYTES};
use crate::record::Record;
use crate::record::spec::Subject;
use crate::register::Certificate;
use crate::view::ServiceDef;
use crate::view::ServiceStatus::{Failed, Pending, Running};

fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

#[test]
fn s9_a_claim_gets_the_oldest_service_with_a_replica_to_spare() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "late", 1);
    world.deploy(0, "early", 1);
    let got = world.claim_service(0, "h").unwrap();
    assert_eq!((got.id, got.status), (id("late"), Pending));
    assert_eq!(got.assignments.len(), 1);
    assert_eq!(got.assignments[0].host, host_id("h"));
}

#[test]
fn s10_a_host_gets_its_own_assignment_again_without_a_new_version() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "s", 2);
    let first = world.claim_service(0, "h").unwrap();
    let commits = world.nodes[0].disk.commits;
    assert_eq!(world.claim_service(0, "h").unwrap(), first);
    assert_eq!(world.nodes[0].disk.commits, commits);
}

#[test]
fn s11_full_services_and_services_that_failed_here_are_skipped() {
    let mut world = World::alone();
    for host in ["a", "b", "c"] {
        world.host(0, host, 1);
    }
    world.deploy(0, "first", 1);
    world.deploy(0, "second", 1);
    assert_eq!(world.claim_service(0, "a").unwrap().id, id("first"));
    assert_eq!(world.claim_service(0, "b").unwrap().id, id("second"));
    assert_eq!(world.claim_service(0, "c"), None);
    world.report(0, "first", "a", Failed).unwrap();
    assert_eq!(world.claim_service(0, "a"), None, "it failed here");
}

#[test]
fn s12_a_service_goes_only_to_hosts_that_can_run_it() {
    let mut world = World::alone();
    world.host_with(0, "plain", 1, "shell");
    world.host_with(0, "server", 1, "service-host");
    let def = World::def("s", 2, "service-host");
    service_of(world.call(0, Command::PutService { id: Some(id("s")), def, owner: None }));
    assert_eq!(world.claim_service(0, "plain"), None);
    assert_eq!(world.claim_service(0, "server").unwrap().id, id("s"));
    let ghost = world.call(0, Command::ClaimService { host: host_id("ghost") });
    assert_eq!(ghost, Err(Refusal::UnknownHost("ghost".into())));
}

/// Each chosen value is signed, in a record of bounded length: one that could not be would end every voter.
#[test]
fn whatever_hosts_say_of_their_instances_the_value_can_be_signed() {
    let mut world = World::of(3, 2);
    let name = world.name_at(0);
    world.deploy(0, &name, 40);
    let report = |host: &str, error: usize, endpoint: usize| {
        Command::ReportService(ServiceReport {
            id: id(&name),
            host: host_id(host),
            status: Failed,
            endpoint: (endpoint > 0).then(|| "x".repeat(endpoint)),
            error: Some("é".repeat(error / 2)),
            epoch: None,
            node: None,
        })
    };
    let hosts: Vec<_> = (0..40).map(|n| format!("h{n}")).collect();
    for host in &hosts {
        world.host(0, host, 1);
        world.claim_service(0, host).unwrap();
    }
    for host in &hosts {
        let said = service_of(world.call(0, report(host, 300_000, 0)));
        let errors = said.assignments.iter().filter_map(|part| part.error.as_ref());
        let lengths: Vec<_> = errors.map(String::len).collect();
        assert!(
            lengths.iter().all(|length| (1000..=MAX_TEXT_BYTES).contains(length)),
            "{lengths:?}"
        );
        assert!(lengths.iter().sum::<usize>() <= MAX_SERVICE_ERRORS_BYTES, "{lengths:?}");
    }
    let refused = World::refusal(world.call(0, report("h0", 10, MAX_TEXT_BYTES + 1)));
    assert!(matches!(refused, Refusal::TooLarge(_)), "{refused}");
    world.settle();
    for node in &world.nodes {
        let stored = node.disk.stored(&Subject::Service(id(&name))).unwrap();
        let signed = stored.certificate.unwrap();
        assert!(signed.raw().body.len() <= Certificate::MAX_BYTES);
        assert_eq!(signed.body().val.service().unwrap().assignments.len(), 40);
    }
}

#[test]
fn a_service_that_would_be_too_long_to_sign_is_refused_and_goes_on_as_it_is() {
    let mut world = World::alone();
    world.deploy(0, "s", MAX_REPLICAS);
    let mut refused = 0;
    for n in 0..300 {
        let host = format!("h{n}");
        world.host(0, &host, 1);
        match world.call(0, Command::ClaimService { host: host_id(&host) }) {
            Err(Refusal::TooLarge(_)) => {
                refused += 1;
                continue;
            }
            given => drop(service_of(given)),
        }
        let endpoint = Some(format!("http://{}", "x".repeat(MAX_TEXT_BYTES - 7)));
        let running = ServiceReport {
            id: id("s"),
            host: host_id(&host),
            status: Running,
            endpoint,
            error: None,
            epoch: None,
            node: None,
        };
        match world.call(0, Command::ReportService(running)) {
            Ok(_) => assert_eq!(refused, 0),
            Err(Refusal::TooLarge(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
    let removed = world.call(0, Command::RemoveService { id: id("s") });
    assert_eq!(removed, Ok(KeyAnswer::Removed));
}

#[test]
fn s13_a_report_replaces_endpoint_and_error_and_keeps_when_it_first_ran() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "s", 1);
    world.claim_service(0, "h");
    let running = service_of(world.report(0, "s", "h", Running));
    let (mine, began) = (&running.assignments[0], world.now.wall);
    assert_eq!((mine.endpoint.as_deref(), mine.started), (Some("http://h:1"), Some(began)));
    world.pass(50);
    let failed = service_of(world.report(0, "s", "h", Failed));
    let mine = &failed.assignments[0];
    assert_eq!((mine.endpoint.as_deref(), mine.error.as_deref()), (None, Some("broke")));
    assert_eq!((mine.started, mine.updated), (Some(began), world.now.wall));
    let again = service_of(world.report(0, "s", "h", Running));
    assert_eq!((&again.assignments[0].error, again.assignments[0].started), (&None, Some(began)));
}

#[test]
fn s16_any_running_is_running_else_any_pending_is_pending_else_failed() {
    let mut world = World::alone();
    for host in ["a", "b"] {
        world.host(0, host, 1);
    }
    assert_eq!(world.deploy(0, "s", 2).status, Pending);
    world.claim_service(0, "a");
    world.claim_service(0, "b");
    let status =
        |world: &mut World, host, status| service_of(world.report(0, "s", host, status)).status;
    assert_eq!(status(&mut world, "a", Failed), Pending);
    assert_eq!(status(&mut world, "b", Running), Running);
    assert_eq!(status(&mut world, "b", Failed), Failed);
    assert_eq!(status(&mut world, "b", Pending), Pending);
}

#[test]
fn s17_reports_on_what_is_unknown_or_not_assigned_are_refused_with_the_legacy_text() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let text = |reply| World::refusal(reply).to_string();
    assert_eq!(text(world.report(0, "s", "h", Running)), "unknown service: s");
    world.deploy(0, "s", 1);
    let refused = text(world.report(0, "s", "h", Running));
    assert_eq!(refused, "service s is not assigned to host h");
}

#[test]
fn s18_hosts_that_claim_at_once_share_the_replicas() {
    let mut world = World::alone();
    for n in 0..4 {
        world.host(0, &format!("h{n}"), 1);
    }
    world.deploy(0, "s", 3);
    let asked: Vec<_> = (0..4)
        .map(|n| world.ask(0, Command::ClaimService { host: host_id(&format!("h{n}")) }))
        .collect();
    world.drain(0);
    let replies: Vec<_> = asked.into_iter().map(|t| world.reply(t).unwrap()).collect();
    let none = replies.iter().filter(|r| **r == Ok(KeyAnswer::NoService)).count();
    assert_eq!(none, 1);
    let last = replies.into_iter().filter(|r| *r != Ok(KeyAnswer::NoService)).map(service_of);
    assert_eq!(last.map(|view| view.assignments.len()).max(), Some(3));
}

#[test]
fn f36_deploying_again_is_a_new_generation_and_what_runs_goes_on_being_heard() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let first = world.deploy(0, "s", 1);
    world.claim_service(0, "h");
    world.report(0, "s", "h", Running).unwrap();
    world.pass(10);
    let put =
        Command::PutService { id: Some(id("s")), def: World::def("other", 2, ""), owner: None };
    let second = service_of(world.call(0, put));
    assert_eq!((second.created, second.generation), (first.created, 2));
    assert_eq!((second.status, second.def.replicas), (Running, 2));
    assert_eq!(service_of(world.report(0, "s", "h", Running)).assignments.len(), 1);
}

#[test]
fn f11_a_host_is_reminded_of_all_it_runs_in_turn_once_there_is_nothing_new() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    for name in ["s0", "s1", "s2"] {
        world.deploy(0, name, 1);
        world.pass(1);
    }
    for name in ["s0", "s1", "s2"] {
        assert_eq!(world.claim_service(0, "h").unwrap().id, id(name));
        world.report(0, name, "h", Running).unwrap();
    }
    let turns: Vec<_> = (0..6).map(|_| world.claim_service(0, "h").unwrap().id).collect();
    assert_eq!(turns, ["s0", "s1", "s2", "s0", "s1", "s2"].map(id));
}

#[test]
fn f10_a_failed_replica_goes_to_the_next_host_that_claims() {
    let mut world = World::alone();
    for host in ["a", "b"] {
        world.host(0, host, 1);
    }
    world.deploy(0, "s", 1);
    world.claim_service(0, "a");
    world.report(0, "s", "a", Failed).unwrap();
    let moved = world.claim_service(0, "b").unwrap();
    assert_eq!(moved.assignments.len(), 1);
    assert_eq!((&moved.assignments[0].host, moved.status), (&host_id("b"), Pending));
}

#[test]
fn a_report_that_says_nothing_new_writes_nothing() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "s", 1);
    world.claim_service(0, "h");
    let first = service_of(world.report(0, "s", "h", Running));
    let commits = world.nodes[0].disk.commits;
    world.pass(50);
    assert_eq!(service_of(world.report(0, "s", "h", Running)), first);
    assert_eq!(world.nodes[0].disk.commits, commits);
}

#[test]
fn a_removed_service_is_gone_and_its_id_can_be_deployed_again() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    world.deploy(0, "s", 1);
    world.claim_service(0, "h");
    let removed = world.call(0, Command::RemoveService { id: id("s") });
    assert_eq!(removed, Ok(KeyAnswer::Removed));
    assert_eq!(world.claim_service(0, "h"), None);
    let again = world.call(0, Command::RemoveService { id: id("s") });
    assert_eq!(again, Err(Refusal::UnknownService("s".into())));
    world.crash(0);
    assert_eq!(world.claim_service(0, "h"), None);
    world.deploy(0, "s", 1);
    assert_eq!(world.claim_service(0, "h").unwrap().id, id("s"));
    world.crash(0);
    assert_eq!(world.claim_service(0, "h").unwrap().assignments.len(), 1);
}

#[test]
fn commands_on_one_service_are_carried_out_in_their_order() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let put = |replicas| Command::PutService {
        id: Some(id("s")),
        def: World::def("s", replicas, ""),
        owner: None,
    };
    let asked = [put(1), put(2), Command::RemoveService { id: id("s") }, put(3)]
        .map(|command| world.ask(0, command));
    let claimed = world.ask(0, Command::ClaimService { host: host_id("h") });
    world.drain(0);
    let replies = asked.map(|token| world.reply(token).unwrap());
    let counts = replies.map(|reply| match reply {
        Ok(KeyAnswer::Service(view)) => view.def.replicas,
        Ok(KeyAnswer::Removed) => 0,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts, [1, 2, 0, 3]);
    assert!(world.reply(claimed).unwrap().is_ok());
}

#[test]
fn a_minted_service_id_is_unique() {
    let mut world = World::alone();
    let ids: std::collections::BTreeSet<_> = (0..10)
        .map(|_| {
            let put = Command::PutService { id: None, def: World::def("s", 1, ""), owner: None };
            service_of(world.call(0, put)).id
        })
        .collect();
    assert_eq!(ids.len(), 10);
}

#[test]
fn a_service_is_not_replaced_by_others_and_keeps_its_owner() {
    let mut world = World::of(2, 1);
    let put = |owner: Option<&str>, replicas| Command::PutService {
        id: Some(id("s")),
        def: World::def("s", replicas, ""),
        owner: owner.map(Into::into),
    };
    let made = service_of(world.call(0, put(Some("key:a"), 1)));
    assert_eq!(made.owner.as_deref(), Some("key:a"));
    let refused = Err(Refusal::NotOwner(id("s")));
    for node in [0, 1] {
        assert_eq!(world.call(node, put(Some("key:b"), 2)), refused);
    }
    assert_eq!(service_of(world.call(1, put(Some("key:a"), 2))).def.replicas, 2);
    // Nobody in particular may, and it stays its owner's.
    let kept = service_of(world.call(1, put(None, 3)));
    assert_eq!((kept.owner.as_deref(), kept.def.replicas), (Some("key:a"), 3));
    world.call(0, Command::RemoveService { id: id("s") }).unwrap();
    assert_eq!(service_of(world.call(0, put(Some("key:b"), 1))).owner.as_deref(), Some("key:b"));
    world.call(0, Command::RemoveService { id: id("s") }).unwrap();
    service_of(world.call(0, put(None, 1)));
    assert_eq!(world.call(0, put(Some("key:b"), 1)), refused, "it is nobody's to take");
}

#[test]
fn a_mask_keeps_the_value_that_is_there() {
    let mut world = World::alone();
    let with = |value: &str| {
        let env = Some(vec![("A".to_owned(), value.to_owned())]);
        Command::PutService {
            id: Some(id("s")),
            def: ServiceDef { env, ..World::def("s", 1, "") },
            owner: None,
        }
    };
    let refused = Err(Refusal::NothingToKeep("A".into()));
    assert_eq!(world.call(0, with("***")), refused);
    let first = service_of(world.call(0, with("1")));
    let again = service_of(world.call(0, with("***")));
    assert_eq!((again.generation, &again.def), (first.generation, &first.def));
}
