//! F21: whatever is pushed, the node goes on serving, and what is wrong is counted.

use serde_json::{Value, json};
use skyclaw_tests::{Api, Connection, Node, Setup, resident_kib};

use super::{SNAPSHOT, a_host, a_job, a_service, now, push};

/// What a node must go on doing.
#[track_caller]
fn serves(node: &Node, what: &str) {
    node.api.get("/v1/state").ok();
    node.api.get("/v1/jobs").ok();
    node.api.get("/v1/services").ok();
    node.api.register("fresh", &["fresh"], 1000);
    let job = skyclaw_tests::capabilities(skyclaw_tests::shell("true"), &["fresh"]);
    let id = node.api.submit(&job)["id"].clone();
    assert_eq!(node.api.claim("fresh")["id"], id, "after {what}");
    node.api.complete(id.as_str().unwrap_or_default(), "fresh").ok();
}

fn refused(api: &Api, reason: &str) -> f64 {
    api.metric(&format!("skyclaw_original_records_refused_total{{reason=\"{reason}\"}}"))
}

fn post(api: &Api, body: &str) -> skyclaw_tests::Response {
    api.send("POST", SNAPSHOT, &[], body.as_bytes())
}

/// F21: every member of every kind of record as every wrong type, and missing.
#[test]
fn records_of_wrong_types_are_refused_alone_and_counted() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    let wrong =
        [json!(null), json!(true), json!(-1.5), json!("x"), json!([[7]]), json!({ "a": {} })];
    let mut lists: [Vec<Value>; 3] = Default::default();
    let samples = [
        a_host("host_bad", &at),
        a_job("job_bad", 1, "queued", &at),
        a_service("svc_bad", "http://127.0.0.1:9", &at),
    ];
    for (list, sample) in lists.iter_mut().zip(&samples) {
        for name in sample.as_object().into_iter().flatten().map(|(name, _)| name) {
            // Ids of all kinds; the last of them is sound.
            for value in &wrong {
                let mut record = sample.clone();
                record["id"] =
                    json!(format!("{}-{}", sample["id"].as_str().unwrap_or(""), list.len()));
                record[name.as_str()] = value.clone();
                list.push(record);
            }
        }
        list.extend(wrong.iter().cloned());
        list.push(sample.clone());
    }
    let [hosts, jobs, services] = lists;
    let count = hosts.len() + jobs.len() + services.len();
    let body = json!({ "hosts": hosts, "jobs": jobs, "services": services });
    assert_eq!(push(&node.api, &body)["changed"], true);
    let held = node.api.metric("skyclaw_original_records{");
    let bad = node.api.metric("skyclaw_original_records_refused_total");
    assert!(bad > 100.0 && held >= 3.0, "{bad} refused, {held} held of {count}");
    assert!(refused(&node.api, "wrong_type") > 50.0 && refused(&node.api, "missing") > 10.0);
    for target in ["/v1/hosts/host_bad", "/v1/jobs/job_bad", "/v1/services/svc_bad"] {
        node.api.get(target).ok();
    }
    push(&node.api, &body);
    assert_eq!(node.api.metric("skyclaw_original_records_refused_total"), bad, "each once");
    serves(&node, "wrong types");
}

/// F21.
#[test]
fn versions_that_nobody_counted_to_freeze_no_counter() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    let huge = [4_503_599_627_370_497_u64, 9_007_199_254_740_991, u64::MAX];
    let jobs: Vec<_> = huge
        .iter()
        .enumerate()
        .map(|(n, version)| a_job(&format!("job_{n}"), *version, "queued", &at))
        .collect();
    assert_eq!(push(&node.api, &json!({ "jobs": jobs }))["changed"], false);
    assert_eq!(refused(&node.api, "bad_version"), 3.0);
    let first = node.api.register("h1", &[], 1)["version"].as_u64();
    let second = node.api.register("h1", &["x"], 1)["version"].as_u64();
    assert!(first < second && second < Some(1 << 50), "{first:?} {second:?}");
    serves(&node, "huge versions");
}

#[test]
fn records_nested_without_end_are_refused_alone() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    let good = a_job("job_good", 1, "queued", &at).to_string();
    let mut deep = Vec::new();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 500_000;
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        deep.push(nested.clone());
        let payload = a_job("job_deep", 1, "queued", &at);
        let payload = payload
            .to_string()
            .replace(&payload["payload"].to_string(), &format!("{{\"a\":{nested}}}"));
        deep.push(payload);
        deep.push(format!("{{\"id\":{nested}}}"));
    }
    let body = format!("{{\"jobs\":[{},{good}],\"more\":{}}}", deep.join(","), deep[0]);
    assert_eq!(post(&node.api, &body).ok()["changed"], true);
    assert_eq!(refused(&node.api, "too_deep"), 2.0);
    assert_eq!(node.api.job("job_good")["status"], "queued");
    for open in ["[", "{\"jobs\":[", "{\"jobs\":[[", "{\"a\":"] {
        assert_eq!(post(&node.api, &open.repeat(1_000_000)).status, 400, "{open}");
    }
    serves(&node, "deep nesting");
}

#[test]
fn equal_ids_in_one_body_are_one_record() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    let jobs: Vec<_> = (0..5000).map(|n| a_job("job_o", n * 7919 % 5000, "queued", &at)).collect();
    push(&node.api, &json!({ "jobs": jobs }));
    assert_eq!(node.api.job("job_o")["version"], 4999);
    assert_eq!(node.api.metric("skyclaw_original_records{"), 1.0);
    serves(&node, "equal ids");
}

#[test]
fn bodies_of_64_mib_are_read_and_longer_ones_are_not() {
    let mut node = Setup::coordinator().start();
    let at = now(&node.api);
    let good = a_job("job_good", 1, "queued", &at).to_string();
    let whole = |filler: &dyn Fn(usize) -> String| {
        let end = format!("{good}]}}");
        let mut body = "{\"jobs\":[".to_owned();
        for n in 0.. {
            let next = filler(n);
            if body.len() + next.len() + end.len() > 64 << 20 {
                break;
            }
            body.push_str(&next);
        }
        body.push_str(&" ".repeat((64 << 20) - body.len() - end.len()));
        body + &end
    };
    let pad = "c".repeat(200);
    let small = |n| format!("{{\"id\":7,\"n\":{n},\"b\":\"{pad}\"}},");
    let large = "y".repeat(9 << 20);
    let large = |n| format!("{{\"id\":\"{n}\",\"payload\":{{\"a\":\"{large}\"}}}},");
    for body in [whole(&small), whole(&large)] {
        post(&node.api, &body).ok();
    }
    assert_eq!(node.api.job("job_good")["status"], "queued");
    let many = whole(&|_| "1,".to_owned());
    assert_eq!(post(&node.api, &many).status, 413, "more records than there can be");
    let mut connection = Connection::open(node.api.address()).expect("the node listens");
    let head = format!(
        "POST {SNAPSHOT} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        (64 << 20) + 1
    );
    connection.send(head.as_bytes()).expect("the node reads");
    assert_eq!(connection.receive().expect("it answers").status, 413);
    serves(&node, "large bodies");
    let resident = resident_kib(node.process.pid());
    assert!(resident < 900 << 10, "{resident} KiB are kept");
    assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());
    assert_eq!(node.stop().code, Some(0));
}

#[test]
fn what_is_no_snapshot_is_a_400() {
    let node = Setup::coordinator().start();
    for body in ["null", "[]", "7", "\"x\"", "{", "{\"jobs\":{}}", "{\"hosts\":[1,]}", "nonsense"] {
        let error = post(&node.api, body).error(400);
        assert!(error.starts_with("the body is no snapshot: "), "{body}: {error}");
    }
    assert_eq!(node.api.send("POST", SNAPSHOT, &[], b"{\"jobs\":[\"\xff\"]}").status, 400);
    serves(&node, "bodies that are none");
}
