//! What a service may say beyond the contract, and changes to a part of one.

use serde_json::{Value, json};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Assignment, Command, Generation, HostId, NodeId, Reverted, ServiceDef};

use super::rig::{Reply, Rig, rig};

const HASH: &str = "00ff17171717171717171717171717171717171717171717171717171717171f";

fn with(extra: &Value) -> Value {
    let mut body = json!({ "name": "w", "command": "c", "serviceId": "s1" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

async fn patch(rig: &Rig, path: &str, body: Value) -> Reply {
    rig.call("PATCH", path, &[], body.to_string()).await
}

fn deployed(rig: &Rig) -> ServiceDef {
    rig.fake.state().services.last().expect("one is there").def.clone()
}

#[tokio::test]
async fn what_was_set_is_kept_and_shown() {
    let rig = rig();
    let extra = json!({ "bundle": HASH, "health": { "path": "/health?full=1" },
        "restart": { "backoffMs": 250.0 }, "onPartition": "stop", "update": { "strategy": "rolling" } });
    let service = rig.post("/v1/services", with(&extra)).await.ok()["service"].clone();
    assert_eq!(service["bundle"], HASH);
    assert_eq!(service["health"], json!({ "path": "/health?full=1", "intervalMs": 5000 }));
    assert_eq!(service["restart"], json!({ "backoffMs": 250 }));
    assert_eq!(service["onPartition"], "stop");
    let def = deployed(&rig);
    assert_eq!((def.bundle.unwrap().0[1], def.backoff_ms), (0xff, Some(250)));
    assert_eq!(rig.get("/v1/services/s1").await.ok()["service"], service);
    assert_eq!(rig.get("/v1/state").await.ok()["services"][0], service);
}

#[tokio::test]
async fn what_cannot_be_meant_is_told_with_its_place() {
    let rig = rig();
    let hash = "bundle must be the hash of an uploaded bundle: 64 hexadecimal digits in lower case";
    let path = "health.path must begin with a slash and be the path of a url, percent-encoded";
    for (extra, text) in [
        (json!({ "bundle": "abc" }), hash),
        (json!({ "bundle": HASH.to_uppercase() }), hash),
        (json!({ "bundle": "é".repeat(32) }), hash),
        (json!({ "bundle": 7 }), "bundle must be a string, not a number"),
        (json!({ "health": "/h" }), "health must be an object, not a string"),
        (json!({ "health": {} }), "health.path is required"),
        (json!({ "health": { "path": "h" } }), path),
        (json!({ "health": { "path": "/a b" } }), path),
        (json!({ "health": { "path": "/a\r\nx: y" } }), path),
        (json!({ "health": { "path": "/a#b" } }), path),
        (
            json!({ "health": { "path": "/", "intervalMs": 99 } }),
            "health.intervalMs must be from 100 to 3600000",
        ),
        (
            json!({ "health": { "path": "/", "interval": 9 } }),
            "health.interval is not known here: use path, intervalMs",
        ),
        (json!({ "restart": {} }), "restart.backoffMs is required"),
        (json!({ "restart": { "backoffMs": 0 } }), "restart.backoffMs must be from 10 to 3600000"),
        (json!({ "onPartition": "Stop" }), "onPartition must be keep or stop"),
        (json!({ "update": { "strategy": "recreate" } }), "update.strategy must be rolling"),
    ] {
        rig.post("/v1/services", with(&extra)).await.refused(400, text);
        patch(&rig, "/v1/services/s1", extra).await.refused(400, text);
    }
    let long = json!({ "health": { "path": format!("/{}", "x".repeat(4096)) } });
    rig.post("/v1/services", with(&long))
        .await
        .refused(400, "health.path must not be longer than 4096 bytes");
    assert_eq!(rig.fake.asked(), 0);
}

/// Clients of the original get the members that they know.
#[tokio::test]
async fn details_are_shown_to_those_who_ask() {
    let rig = rig();
    rig.post("/v1/services", with(&json!({ "onPartition": "keep" }))).await.ok();
    {
        let mut state = rig.fake.state();
        let service = state.services.last_mut().unwrap();
        service.generation = 3;
        service.past = vec![Generation { number: 2, def: ServiceDef::default() }];
        let at = Wall(super::fake::START);
        service.reverted = Some(Reverted { generation: 4, error: "it crashed".into(), at });
        let host = HostId::new("h1").unwrap();
        service.assignments.push(Assignment {
            slot: 1,
            epoch: 7,
            generation: 3,
            node: Some(NodeId([1; 32])),
            ..Assignment::pending(host, at)
        });
    }
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for path in ["/v1/services/s1", "/v1/services/s1?details=0", "/v1/services/s1?x=1"] {
        let plain = rig.get(path).await.ok()["service"].clone();
        let want = "id name command args replicas requiredCapabilities status createdAt updatedAt \
                    updatedBy version assignments";
        assert_eq!(names(&plain), want.split_whitespace().collect::<Vec<_>>(), "{path}");
        assert_eq!(names(&plain["assignments"][0]), ["hostId", "status", "updatedAt"]);
    }
    let full = rig.get("/v1/services/s1?details=1").await.ok()["service"].clone();
    assert_eq!((&full["generation"], &full["previousGeneration"]), (&json!(3), &json!(2)));
    let reverted =
        json!({ "generation": 4, "error": "it crashed", "at": "2026-01-02T03:04:05.678Z" });
    assert_eq!(full["reverted"], reverted);
    let part = &full["assignments"][0];
    assert_eq!(
        (&part["slot"], &part["epoch"], &part["generation"]),
        (&json!(1), &json!(7), &json!(3))
    );
    assert_eq!(part["node"], NodeId([1; 32]).to_string());
    assert_eq!(rig.get("/v1/services?details").await.ok()["services"][0], full);
    let scaled = patch(&rig, "/v1/services/s1?details=1", json!({ "replicas": 2 })).await.ok();
    assert_eq!(scaled["service"]["generation"], 3);
}

#[tokio::test]
async fn a_part_is_changed_and_the_rest_stays() {
    let rig = rig();
    let extra = json!({ "args": ["a"], "cwd": "/x", "env": { "A": "1", "B": "2" }, "bundle": HASH,
        "health": { "path": "/h", "intervalMs": 100 }, "restart": { "backoffMs": 10 },
        "onPartition": "stop", "replicas": 2 });
    rig.post("/v1/services", with(&extra)).await.ok();
    let first = deployed(&rig);

    let scaled = patch(&rig, "/v1/services/s1", json!({ "replicas": 5 })).await.ok();
    assert_eq!(scaled["service"]["replicas"], 5);
    assert_eq!(deployed(&rig), ServiceDef { replicas: 5, ..first.clone() });
    let Command::PatchService { patch: sent, .. } = rig.fake.last() else { panic!() };
    assert_eq!(*sent, skyclaw_protocol::ServicePatch::replicas(5));

    let change = json!({ "env": { "A": null, "C": "3" }, "command": " node ", "args": [],
        "health": { "path": "/", "intervalMs": 200 }, "requiredCapabilities": ["b", "a"] });
    patch(&rig, "/v1/services/s1", change).await.ok();
    let pairs = [("B", "2"), ("C", "3")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    let now = deployed(&rig);
    assert_eq!(now.env.as_deref(), Some(&pairs[..]));
    assert_eq!((now.command.as_str(), now.args.len(), now.replicas), ("node", 0, 5));
    assert_eq!((now.required, now.cwd.as_deref()), (vec!["a".into(), "b".into()], Some("/x")));

    let clear = json!({ "env": null, "cwd": null, "bundle": null, "health": null, "restart": null,
        "onPartition": null });
    patch(&rig, "/v1/services/s1", clear).await.ok();
    let now = deployed(&rig);
    assert_eq!((now.env, now.cwd, now.bundle, now.health), (None, None, None, None));
    assert_eq!((now.backoff_ms, now.on_partition), (None, ServiceDef::default().on_partition));
}

#[tokio::test]
async fn a_change_that_says_nothing_or_something_else_is_refused() {
    let rig = rig();
    rig.post("/v1/services", with(&json!({}))).await.ok();
    let asked = rig.fake.asked();
    for (body, text) in [
        (json!({ "replica": 2 }), "replica is not known here: use name, command, args, cwd, env, "),
        (json!({ "serviceId": "s2" }), "serviceId is not known here"),
        (json!({}), "nothing to change: name one of name, command"),
        (json!({ "replicas": null, "name": " " }), "nothing to change"),
        (json!([1]), "nothing to change"),
        (json!({ "update": { "strategy": "rolling" } }), "nothing to change"),
        (json!({ "replicas": 0 }), "replicas must be from 1 to 1000"),
        (json!({ "replicas": 1001 }), "replicas must be from 1 to 1000"),
        (json!({ "env": { "A": 1 } }), "env.A must be a string or null, not a number"),
        (json!({ "env": { "A": "\0" } }), "env must not hold NUL characters"),
        (json!({ "args": ["\0"] }), "args must not hold NUL characters"),
    ] {
        let reply = patch(&rig, "/v1/services/s1", body).await;
        let said = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && said.starts_with(text), "{said}");
    }
    let large = json!({ "args": ["x".repeat(65536)] });
    let text = "the service (command, args, cwd and env) must not be larger than 65536 bytes";
    patch(&rig, "/v1/services/s1", large).await.refused(413, text);
    let gone: serde_json::Map<_, _> =
        (0..9000).map(|n| (format!("VARIABLE_{n}"), Value::Null)).collect();
    patch(&rig, "/v1/services/s1", json!({ "env": gone })).await.refused(413, text);
    assert_eq!(rig.fake.asked(), asked);
    patch(&rig, "/v1/services/s2", json!({ "replicas": 2 }))
        .await
        .refused(404, "unknown service: s2");
}

#[tokio::test]
async fn a_repeated_change_with_one_key_is_made_once() {
    let rig = rig();
    rig.post("/v1/services", with(&json!({}))).await.ok();
    let key = [("x-idempotency-key", "k")];
    let body = json!({ "args": ["1"] }).to_string();
    let first = rig.call("PATCH", "/v1/services/s1?details=1", &key, body.clone()).await.ok();
    let again = rig.call("PATCH", "/v1/services/s1?details=1", &key, body).await.ok();
    assert_eq!(first, again);
    let other = json!({ "args": ["2"] }).to_string();
    let text = "idempotency key reuse conflict for route /v1/services/s1";
    rig.call("PATCH", "/v1/services/s1", &key, other).await.refused(409, text);
}
