//! What is said of services that do not run as wanted.

use skyclaw_protocol::{Milli, NodeId, Reverted, ServiceDef, ServiceId};

use super::super::undecided::Away;
use super::*;

const NOW: Wall = Wall(1_800_000_100_000);

fn id(name: &str) -> HostId {
    HostId::new(name.to_owned()).unwrap()
}

fn host(name: &str) -> HostView {
    HostView {
        id: id(name),
        name: name.to_uppercase(),
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        active_leases: Milli::whole(0),
        last_seen: NOW,
        registered: NOW,
        updated_by: "node".into(),
        version: 1,
        openclaw: None,
    }
}

fn part(slot: u32, host: &str, status: ServiceStatus, error: Option<&str>) -> Assignment {
    let error = error.map(Into::into);
    Assignment {
        slot,
        epoch: 1,
        generation: 1,
        status,
        error,
        ..Assignment::pending(id(host), Wall(NOW.0 - 5000))
    }
}

fn service(replicas: u32, assignments: Vec<Assignment>) -> ServiceView {
    ServiceView {
        id: ServiceId::new("api".to_owned()).unwrap(),
        def: ServiceDef { name: "api".into(), replicas, ..ServiceDef::default() },
        status: ServiceStatus::Pending,
        created: NOW,
        updated: NOW,
        updated_by: "node".into(),
        version: 1,
        assignments,
        ver: 1,
        generation: 1,
        past: Vec::new(),
        reverted: None,
        owner: None,
    }
}

fn asked(service: &ServiceView, judged: &[(&str, Option<NoInstance>)]) -> Told {
    let hosts: Vec<HostView> = judged.iter().map(|(name, _)| host(name)).collect();
    let judged = ServiceWhy {
        leader: NodeId([1; 32]),
        leads: true,
        hosts: judged.iter().map(|(name, no)| (id(name), no.clone())).collect(),
        spared: Vec::new(),
    };
    let case = Case {
        service,
        hosts: &hosts,
        judged: Some(&judged),
        leader: None,
        undecided: None,
        now: NOW,
    };
    explain(&case)
}

#[test]
fn each_rule_says_whom_it_rejects_and_the_nearest_host_what_it_lacks() {
    let lacks = |words: &[&str]| {
        Some(NoInstance::Lacks(words.iter().map(|word| (*word).to_owned()).collect()))
    };
    let told = asked(
        &service(2, Vec::new()),
        &[
            ("far", lacks(&["gpu", "region:eu"])),
            ("near", lacks(&["region:eu"])),
            ("old", Some(NoInstance::TakesNoOrders)),
            ("gone", Some(NoInstance::Gone { silent_ms: 60_000 })),
        ],
    );
    assert_eq!(told.status, "down");
    assert_eq!(told.because, "0 of 2 wanted instances run; no host has region:eu");
    assert!(told.then.as_ref().unwrap().starts_with("NEAR is nearest: "), "{told:?}");
    let document = told.document();
    let words: Vec<String> = document["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} {}", line["name"], line["words"]).replace('"', ""))
        .collect();
    assert_eq!(
        words,
        [
            "NEAR has no region:eu",
            "FAR has no gpu, region:eu",
            "GONE is gone: last heard of 60 s ago",
            "OLD asks for no services: it is of the original, or has just begun"
        ]
    );
    let rejects = |rule: &str| {
        told.rules.iter().find(|(name, _)| *name == rule).map(|(_, names)| names.join(" ")).unwrap()
    };
    assert_eq!(rejects("capabilities"), "FAR NEAR");
    assert_eq!((rejects("orders").as_str(), rejects("failed").as_str()), ("OLD", ""));
}

#[test]
fn a_level_that_no_host_reaches_is_said_with_what_would_help() {
    let no = Some(NoInstance::Lacks(vec!["sandbox:isolated".into()]));
    let told = asked(&service(1, Vec::new()), &[("a", no)]);
    assert!(told.then.unwrap().contains("at level isolated: `skyclaw doctor` there"));
}

#[test]
fn an_instance_that_fails_says_where_and_what_can_be_done() {
    let failed = |error| {
        let part = part(0, "a", ServiceStatus::Failed, Some(error));
        asked(&service(1, vec![part]), &[("a", Some(NoInstance::Failed { for_ms: 290_000 }))])
    };
    let told = failed("command not allowed: rm");
    assert_eq!(
        told.because,
        "0 of 1 wanted instances run; on A it failed: command not allowed: rm"
    );
    assert!(told.then.unwrap().contains("SKYCLAW_ALLOWED_COMMANDS"));
    assert!(failed("did not listen on port 9 (PORT) within 60 s").then.unwrap().contains("PORT"));
    let help = |error| failed(error).then.unwrap();
    assert!(help("there is no directory src in its bundle").contains("--cwd"));
    assert!(help("its bundle cannot be fetched: nobody has it").contains("is the coordinator"));
    assert!(help("its bundle cannot be unpacked: no archive").contains("deploy its folder again"));
    assert!(help("its bundle cannot be kept here: disk full").contains("room on the disk"));
    assert!(failed("did not answer GET /x well within 60 s").then.unwrap().contains("--health"));
    assert!(
        failed("service process exited with code 1").then.unwrap().contains("skyclaw logs api")
    );
}

#[test]
fn one_that_crashes_again_and_again_is_said_to_rest() {
    let error = Some("service process exited with code 7");
    let parts = vec![
        part(0, "a", ServiceStatus::Running, None),
        part(1, "b", ServiceStatus::Pending, error),
    ];
    let told = asked(&service(2, parts), &[("a", None), ("b", None)]);
    assert_eq!(told.status, "short");
    assert!(told.because.contains("on B it is begun again after a growing pause"), "{told:?}");
    let document = told.document();
    assert_eq!(document["instances"][0]["words"], "running on A");
    assert_eq!(document["hosts"][0]["words"], "has 1 instance, and may run more");
}

#[test]
fn what_runs_is_told_with_what_is_wrong_all_the_same() {
    let parts = vec![part(0, "a", ServiceStatus::Running, None)];
    let mut api = service(1, parts);
    assert_eq!(asked(&api, &[("a", None)]).because, "the instance that is wanted runs");
    let silent = asked(&api, &[("a", Some(NoInstance::Gone { silent_ms: 9000 }))]);
    assert!(silent.because.ends_with("but A fell silent"), "{silent:?}");
    api.reverted = Some(Reverted { generation: 2, error: "did not answer".into(), at: NOW });
    let told = asked(&api, &[("a", None)]);
    assert!(told.because.contains("deployment 2 never became healthy"), "{told:?}");
}

#[test]
fn without_a_quorum_that_is_what_is_said_to_help() {
    let api = service(1, Vec::new());
    let away = Away::Named(vec!["b".into()]);
    let undecided = Undecided { away, needed: 2, voters: 2 };
    let case = Case {
        service: &api,
        hosts: &[],
        judged: None,
        leader: None,
        undecided: Some(&undecided),
        now: NOW,
    };
    let told = explain(&case);
    assert!(told.because.contains("coordinator b (a voter of this service) is not connected"));
    assert!(told.then.unwrap().starts_with("start b again"));
}

#[test]
fn of_many_hosts_the_nearest_are_listed_and_the_rest_counted() {
    let names: Vec<String> = (0..300).map(|n| format!("h{n}")).collect();
    let far = || Some(NoInstance::TakesNoOrders);
    let mut judged: Vec<_> = names.iter().map(|name| (name.as_str(), far())).collect();
    judged[299].1 = None;
    let told = asked(&service(1, Vec::new()), &judged).document();
    let hosts = told["hosts"].as_array().unwrap();
    assert_eq!((hosts.len(), &hosts[0]["id"]), (100, &serde_json::json!("h299")));
    assert_eq!(told["moreHosts"], 200);
    let orders = &told["rules"][1];
    assert_eq!((&orders["rule"], &orders["more"]), (&"orders".into(), &199.into()));
    assert_eq!(orders["rejects"].as_array().map(Vec::len), Some(100));
    let shown = super::super::print(&told);
    assert!(shown.contains("  and 200 hosts more\n"), "{shown}");
}
