//! How tables are made.

use serde_json::{Value, json};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{
    Assignment, HostId, NodeId, ServiceDef, ServiceId, ServiceStatus, ServiceView,
};

use crate::gateway::{BadUrl, HttpPlace, Table};

fn view(id: &str, name: &str, created: u64, assignments: Vec<Assignment>) -> ServiceView {
    ServiceView {
        id: ServiceId::new(id).unwrap(),
        def: ServiceDef { name: name.to_owned(), ..ServiceDef::default() },
        status: ServiceStatus::Running,
        created: Wall(created),
        updated: Wall(created),
        updated_by: String::new(),
        version: 1,
        assignments,
        ver: 1,
        generation: 1,
        past: Vec::new(),
        reverted: None,
        owner: None,
    }
}

fn instance(host: &str, status: ServiceStatus, url: Option<&str>, epoch: u64) -> Assignment {
    Assignment {
        status,
        endpoint: url.map(str::to_owned),
        epoch,
        ..Assignment::pending(HostId::new(host).unwrap(), Wall(1))
    }
}

fn urls(table: &Table, key: &str) -> Vec<String> {
    let endpoints = &table.find(key).unwrap().endpoints;
    endpoints.iter().map(|it| it.id.url.clone().unwrap_or_default()).collect()
}

#[test]
fn only_running_instances_with_an_address_count() {
    let (running, pending) = (ServiceStatus::Running, ServiceStatus::Pending);
    let tunnelled = Assignment { node: Some(NodeId([7; 32])), ..instance("h5", running, None, 5) };
    let table = Table::of_views(&[view(
        "svc_1",
        "api",
        1,
        vec![
            instance("h2", running, Some("http://b:1"), 2),
            instance("h1", running, Some("http://a:1"), 1),
            instance("h3", pending, Some("http://c:1"), 3),
            instance("h4", running, None, 4),
            tunnelled,
            instance("h6", running, Some("https://d:1"), 6),
        ],
    )]);
    assert_eq!(urls(&table, "api"), ["", "http://a:1", "http://b:1"]);
    let tunnel = &table.find("svc_1").unwrap().endpoints[0];
    assert_eq!((tunnel.node, tunnel.replica().as_str()), (Some(NodeId([7; 32])), "h5/0/5"));
}

#[test]
fn f12_one_address_is_one_endpoint_whoever_reports_it() {
    let running = ServiceStatus::Running;
    let both = vec![
        instance("h1", running, Some("http://a:1"), 1),
        instance("h2", running, Some("http://a:1"), 2),
    ];
    let table = Table::of_views(&[view("svc_1", "api", 1, both)]);
    let endpoints = &table.find("api").unwrap().endpoints;
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].id.epoch, 2);
}

#[test]
fn f33_the_service_that_was_created_first_owns_its_name_in_whatever_order_they_are_told() {
    let one = |id, created, url| {
        view(id, "api", created, vec![instance("h1", ServiceStatus::Running, Some(url), 1)])
    };
    let (old, new) = (one("svc_9", 10, "http://old:1"), one("svc_1", 20, "http://new:1"));
    for services in [[old.clone(), new.clone()], [new, old]] {
        let table = Table::of_views(&services);
        assert_eq!(urls(&table, "api"), ["http://old:1"]);
        assert_eq!(table.served(), ["api", "svc_1", "svc_9"]);
    }
}

#[test]
fn g24_the_answers_of_original_coordinators_are_read() {
    let assignment = |status: &str, endpoint: Option<&str>| {
        let mut it = json!({ "hostId": "h1", "status": status, "updatedAt": "x", "error": "e" });
        if let Some(endpoint) = endpoint {
            it["endpoint"] = endpoint.into();
        }
        it
    };
    let answer = json!({ "services": [
        { "id": "svc_2", "name": "api", "createdAt": "2026-01-02T00:00:00.000Z", "version": 3,
          "health": { "path": "/up", "intervalMs": 5 },
          "assignments": [assignment("running", Some("http://late:1"))] },
        { "id": "svc_1", "name": "api", "createdAt": "2026-01-01T00:00:00.000Z", "assignments": [
            assignment("running", Some("http://b:1/")), assignment("running", Some("http://a:1")),
            assignment("running", Some("http://a:1")), assignment("failed", Some("http://c:1")),
            assignment("running", None), assignment("running", Some("file:///etc/passwd")) ] },
        { "id": "", "name": "nameless", "assignments": [] },
    ], "more": 1 });
    let table = Table::of_answer(answer).unwrap();
    assert_eq!(urls(&table, "api"), ["http://a:1", "http://b:1/"]);
    assert_eq!(urls(&table, "svc_2"), ["http://late:1"]);
    assert!(table.find("nameless").is_none());
    let path = |key: &str| table.find(key).unwrap().health_path.clone();
    assert_eq!((path("svc_2").as_deref(), path("svc_1")), (Some("/up"), None));
    for bad in [json!(""), json!([]), json!({}), json!({ "services": {} }), Value::Null] {
        assert!(Table::of_answer(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn addresses_are_plain_http_without_credentials() {
    let place = HttpPlace::parse("http://Example.test:81/a/b/?x#y").unwrap();
    assert_eq!(place.authority, "example.test:81");
    assert_eq!(
        (place.host.as_str(), place.port, place.prefix.as_str()),
        ("example.test", 81, "/a/b")
    );
    let place = HttpPlace::parse("http://[::1]/").unwrap();
    assert_eq!((place.host.as_str(), place.authority.as_str(), place.port), ("::1", "[::1]", 80));
    assert_eq!(HttpPlace::parse("https://a"), Err(BadUrl::Scheme));
    assert_eq!(HttpPlace::parse("http://u:p@a"), Err(BadUrl::Credentials));
    assert_eq!(HttpPlace::parse("nothing"), Err(BadUrl::NoUrl));
}
