//! Coordinators of the original push what they hold: it is shown, it harms nobody, and their hosts
//! find their place here when they are gone (contract 6, F21, F42).

mod hostile;
mod load;

use serde_json::{Value, json};
use skyclaw_tests::{Api, LegacyHost, LegacyHostConfig, Reply, Server, Setup, eventually, shell};

use crate::{members, text};

const SNAPSHOT: &str = "/v1/replicate/snapshot";

/// The present, as originals write it: jobs that ended long ago are not taken.
fn now(api: &Api) -> String {
    text(&api.submit(&skyclaw_tests::capabilities(shell("true"), &["nobody"])), "createdAt")
        .to_owned()
}

fn push(api: &Api, body: &Value) -> Value {
    api.post(SNAPSHOT, body).ok()
}

fn a_job(id: &str, version: u64, status: &str, at: &str) -> Value {
    json!({
        "id": id, "createdAt": at, "updatedAt": at, "updatedBy": "node_o", "version": version,
        "status": status, "attempts": 1, "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "brew", "coffee": [1, 2.5, null] }, "submittedBy": "public:them",
    })
}

fn leased(id: &str, host: &str, at: &str) -> Value {
    let mut job = a_job(id, 7, "leased", at);
    job["assignedHostId"] = json!(host);
    job["leaseExpiresAt"] = json!(at);
    job
}

fn a_host(id: &str, at: &str) -> Value {
    json!({
        "id": id, "name": "of an original", "capabilities": ["shell"], "maxParallel": 2.5,
        "activeLeases": 1, "lastSeenAt": at, "registeredAt": at, "updatedBy": "node_o", "version": 3,
    })
}

fn a_service(id: &str, endpoint: &str, at: &str) -> Value {
    json!({
        "id": id, "name": format!("name-of-{id}"), "command": "x", "args": [], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "running", "createdAt": at,
        "updatedAt": at, "updatedBy": "node_o", "version": 5, "assignments": [{
            "hostId": "h_o", "status": "running", "updatedAt": at, "endpoint": endpoint,
            "startedAt": at,
        }],
    })
}

/// R1: the answer, and that the record is what it was, wherever it is asked for.
#[test]
fn what_an_original_pushes_is_shown_as_it_was_beside_our_own() {
    let setup = Setup::coordinator().env("SKYCLAW_PUBLIC_API_KEYS", "k:them,other:me");
    let mut node = setup.start();
    let at = now(&node.api);
    let (job, host) = (a_job("job_o", 4, "completed", &at), a_host("h_o", &at));
    let service = a_service("svc_o", "http://127.0.0.1:9", &at);
    let body = json!({ "nodeId": "node_o", "hosts": [host], "jobs": [job], "services": [service] });
    let answer = push(&node.api, &body);
    assert_eq!(members(&answer), ["ok", "changed", "nodeId"]);
    assert_eq!((&answer["ok"], &answer["changed"]), (&json!(true), &json!(true)));
    assert_eq!(push(&node.api, &body)["changed"], false);
    for _ in 0..2 {
        assert_eq!(node.api.job("job_o"), job);
        assert_eq!(node.api.host("h_o"), host);
        assert_eq!(node.api.get("/v1/services/svc_o").ok()["service"], service);
        let state = node.api.get("/v1/state").ok();
        assert!(state["jobs"].as_array().is_some_and(|jobs| jobs.contains(&job)), "{state}");
        assert_eq!((&state["hosts"], &state["services"]), (&body["hosts"], &body["services"]));
        assert_eq!(node.api.get("/v1/jobs?status=completed").ok()["jobs"], json!([job]));
        let public =
            |key| node.api.send("GET", "/v1/public/jobs/job_o", &[("x-api-key", key)], b"");
        assert_eq!(public("k").ok()["job"]["payload"], job["payload"]);
        assert_eq!(public("other").error(404), "job not found");
        node.kill();
        node.process.wait(skyclaw_tests::PATIENCE);
        node.start_again();
    }
    assert_eq!(push(&node.api, &body)["changed"], false, "it is still held");
}

/// Who reads the state as an original does can run none of our jobs.
#[test]
fn our_own_jobs_are_told_to_originals_as_ones_they_cannot_have() {
    let node = Setup::coordinator().start();
    let id = node.api.submit_shell("true");
    let one = |state: Value| state["jobs"][0].clone();
    assert_eq!(one(node.api.get("/v1/state").ok())["status"], "queued");
    let told = one(node.api.send("GET", "/v1/state", &[("user-agent", "node")], b"").ok());
    assert_eq!((&told["id"], &told["status"]), (&json!(id), &json!("leased")));
    assert_eq!(told["leaseExpiresAt"], "9999-12-31T23:59:59.999Z");
    // The original keeps it verbatim, and pushes it back with all it has.
    let at = text(&told, "createdAt").to_owned();
    let mut back = told.clone();
    back["version"] = json!(1000);
    back["status"] = json!("failed");
    let answer = push(&node.api, &json!({ "jobs": [told, back], "hosts": [a_host("h_o", &at)] }));
    assert_eq!(answer["changed"], true);
    assert_eq!(node.api.job(&id)["status"], "queued");
    // From now on whoever reads may be one.
    assert_eq!(one(node.api.get("/v1/state").ok())["status"], "leased");
    node.api.register("h1", &[], 1);
    assert_eq!(node.api.claim("h1")["id"], json!(id), "it waits here as before");
}

/// F42, R2: terminal beats the larger version.
#[test]
fn a_job_that_ended_with_an_original_stays_ended() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    push(&node.api, &json!({ "jobs": [a_job("job_o", 9, "completed", &at)] }));
    let requeued = a_job("job_o", 900, "queued", &at);
    assert_eq!(push(&node.api, &json!({ "jobs": [requeued] }))["changed"], false);
    assert_eq!(node.api.job("job_o")["status"], "completed");
}

/// G24: a gateway that runs here leads to services of originals.
#[test]
fn gateways_lead_to_services_of_originals() {
    let upstream = Server::start(|request| Reply::json(200, json!({ "path": request.target })));
    let node = Setup::new("coordinator,gateway").start();
    let at = now(&node.api);
    push(&node.api, &json!({ "services": [a_service("svc_o", &upstream.url(), &at)] }));
    let gateway = Api::new(node.gateway(), None);
    for key in ["svc_o", "name-of-svc_o"] {
        let answer = eventually("the gateway knows it", || {
            let answer = gateway.get(&format!("/v1/gateway/{key}/a?b"));
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
        });
        assert_eq!(answer["path"], "/a?b");
    }
}

/// D45, F25: a daemon never registers again; whoever takes its heartbeat must know it.
#[test]
fn a_host_of_an_original_that_is_gone_works_here_without_registering() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    assert_eq!(node.api.post("/v1/hosts/h_o/claim", &json!({})).error(404), "unknown host: h_o");
    push(
        &node.api,
        &json!({ "hosts": [a_host("h_o", &at), a_host("h_p", &at), a_host("h_q", &at)] }),
    );
    let id = node.api.submit_shell("true");
    assert_eq!(node.api.claim("h_o")["id"], json!(id));
    let host = node.api.host("h_o");
    assert_eq!((&host["name"], &host["maxParallel"]), (&json!("of an original"), &json!(2.5)));
    assert_ne!(host["updatedBy"], "node_o");
    node.api.complete(&id, "h_o").ok();
    assert_eq!(node.api.heartbeat("h_p", &json!({ "activeLeases": 0 }))["name"], "of an original");
    let claim = node.api.post("/v1/hosts/h_q/services/claim", &json!({})).ok();
    assert_eq!(claim["service"], Value::Null);
    assert_eq!(node.api.post("/v1/hosts/h_r/claim", &json!({})).error(404), "unknown host: h_r");
}

/// The whole daemon, which was registered with the original.
#[test]
fn a_daemon_goes_on_here_with_what_is_queued_here() {
    let node = Setup::coordinator().start();
    let at = now(&node.api);
    push(&node.api, &json!({ "hosts": [a_host("legacy", &at)] }));
    let ids: Vec<_> = (0..3).map(|_| node.api.submit_shell("true")).collect();
    let host = LegacyHost::start(&node.api, LegacyHostConfig::default());
    ids.iter().for_each(|id| drop(node.api.until_job_is(id, "completed")));
    assert_eq!(host.errors(), Vec::<String>::new());
}

/// D24, L11-L19: the daemon reports to the next coordinator; nothing of the run is lost, and what
/// the original would have refused is refused in its words.
#[test]
fn a_result_that_an_original_can_take_no_more_is_taken_here() {
    let mut node = Setup::coordinator().start();
    let at = now(&node.api);
    let mut done = leased("job_c", "h_o", &at);
    done["status"] = json!("completed");
    let jobs = [leased("job_l", "h_o", &at), a_job("job_q", 3, "queued", &at), done];
    let hosts = [a_host("h_o", &at), a_host("h_p", &at)];
    push(&node.api, &json!({ "hosts": hosts, "jobs": jobs }));
    let complete = |job: &str, host: &str| node.api.complete(job, host);
    assert_eq!(complete("job_l", "h_p").error(409), "job job_l is assigned to h_o");
    assert_eq!(complete("job_q", "h_o").error(409), "job job_q is assigned to nobody");
    assert_eq!(complete("job_c", "h_o").error(409), "job job_c is not leased");
    assert_eq!(complete("job_x", "h_o").error(404), "unknown job: job_x");
    assert_eq!(complete("job_l", "h_x").error(404), "unknown host: h_x");
    let job = complete("job_l", "h_o").ok()["job"].clone();
    assert_eq!((&job["status"], &job["result"]["stdout"]), (&json!("completed"), &json!("done\n")));
    assert_eq!((&job["createdAt"], &job["attempts"]), (&json!(at), &json!(1)));
    assert!(job["version"].as_u64() > Some(7) && job["updatedBy"] != "node_o", "{job}");
    assert_eq!(job["payload"], a_job("job_l", 0, "", &at)["payload"]);
    // It is ours now: the original's copy says nothing any more.
    push(&node.api, &json!({ "jobs": [a_job("job_l", 5000, "queued", &at)] }));
    for _ in 0..2 {
        assert_eq!(node.api.job("job_l"), job);
        let listed = node.api.get("/v1/jobs?status=completed").ok();
        let ids: Vec<_> =
            listed["jobs"].as_array().into_iter().flatten().map(|it| &it["id"]).collect();
        assert_eq!(ids, ["job_c", "job_l"]);
        node.kill();
        node.process.wait(skyclaw_tests::PATIENCE);
        node.start_again();
    }
    assert_eq!(node.api.complete("job_l", "h_o").error(409), "job job_l is not leased");
}

/// What no record named before is unknown as ever.
#[test]
fn of_a_node_that_originals_told_nothing_nothing_changes() {
    let node = Setup::coordinator().start();
    let known = node.api.submit_shell("true");
    assert_eq!(push(&node.api, &json!({}))["changed"], false);
    assert_eq!(node.api.get("/v1/state").ok()["jobs"][0]["status"], "queued");
    assert_eq!(node.api.complete(&known, "h_x").error(404), "unknown host: h_x");
    assert_eq!(node.api.metric("skyclaw_original_records{"), 0.0);
}
