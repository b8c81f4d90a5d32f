//! Claims and leases against the real engine (L1-L10, L20-L24, F02, F08, F09).

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{
    LegacyHost, LegacyHostConfig, Node, PATIENCE, Setup, capabilities, eventually, shell,
};

use crate::{number, text};

/// L2: what a claim changes on job and host.
#[test]
fn a_claim_leases_the_job_and_takes_a_slot() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 60_000).start();
    node.api.register("h1", &["shell"], 2);
    let id = node.api.submit_shell("true");
    let job = node.api.claim("h1");
    assert_eq!((text(&job, "id"), text(&job, "status")), (id.as_str(), "leased"));
    assert_eq!((number(&job, "attempts"), text(&job, "assignedHostId")), (1, "h1"));
    assert!(text(&job, "leaseExpiresAt") > text(&job, "updatedAt"));
    assert_eq!(node.api.job(&id), job);
    assert_eq!(number(&node.api.host("h1"), "activeLeases"), 1);
    node.api.complete(&id, "h1").ok();
    assert_eq!(number(&node.api.host("h1"), "activeLeases"), 0);
}

/// L1 L3: nothing to do is null; the oldest job goes first.
#[test]
fn claims_get_the_oldest_job_then_nothing() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 10);
    assert!(node.api.claim("h1").is_null());
    let jobs: Vec<_> = (0..5).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    let got: Vec<_> = jobs.iter().map(|_| text(&node.api.claim("h1"), "id").to_owned()).collect();
    assert_eq!(got, jobs);
    assert!(node.api.claim("h1").is_null());
}

/// L4-L6: matching is exact, an empty requirement fits all, others do not block.
#[test]
fn a_host_gets_the_oldest_job_whose_needs_it_meets() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["b", "a"], 10);
    let job = |required: &[&str]| {
        text(&node.api.submit(&capabilities(shell("true"), required)), "id").to_owned()
    };
    let (gpu, wrong_case) = (job(&["gpu"]), job(&["A"]));
    let (both, any) = (job(&["a", "b"]), job(&[]));
    assert_eq!(text(&node.api.claim("h1"), "id"), both);
    assert_eq!(text(&node.api.claim("h1"), "id"), any);
    assert!(node.api.claim("h1").is_null());
    node.api.register("h2", &["gpu", "A"], 10);
    assert_eq!(text(&node.api.claim("h2"), "id"), gpu);
    assert_eq!(text(&node.api.claim("h2"), "id"), wrong_case);
}

/// L7: the gate counts leases, whatever the heartbeat says (F08, F09).
#[test]
fn a_full_host_gets_nothing_and_a_phantom_count_does_not_matter() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 2);
    let jobs: Vec<_> = (0..3).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    node.api.claim("h1");
    node.api.claim("h1");
    node.api.heartbeat("h1", &json!({ "activeLeases": 0 }));
    assert!(node.api.claim("h1").is_null(), "two leases are held");
    node.api.complete(&jobs[0], "h1").ok();
    node.api.heartbeat("h1", &json!({ "activeLeases": 7 }));
    assert_eq!(text(&node.api.claim("h1"), "id"), jobs[2]);
}

/// L20-L22: a silent host loses its lease within a second of its end; attempts go on counting.
#[test]
fn a_lease_that_ran_out_is_requeued_and_granted_again() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 400).start();
    node.api.register("h1", &[], 1);
    node.api.register("h2", &[], 1);
    let id = node.api.submit_shell("true");
    let begun = Instant::now();
    node.api.claim("h1");
    let job = node.api.until_job_is(&id, "queued");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(390), "{took:?}");
    assert!(job.get("assignedHostId").is_none() && job.get("leaseExpiresAt").is_none(), "{job}");
    assert_eq!(number(&job, "attempts"), 1);
    assert_eq!(number(&node.api.host("h1"), "activeLeases"), 0);
    assert_eq!(number(&node.api.claim("h2"), "attempts"), 2);
}

/// F02: heartbeats that show running jobs keep the lease, by count or by name.
#[test]
fn heartbeats_keep_the_leases_of_running_jobs() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 500).start();
    for host in ["counts", "names", "elsewhere"] {
        node.api.register(host, &[], 1);
    }
    let counted = node.api.submit_shell("true");
    let named = node.api.submit_shell(": named");
    assert_eq!(text(&node.api.claim("counts"), "id"), counted);
    assert_eq!(text(&node.api.claim("names"), "id"), named);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        node.api.heartbeat("counts", &json!({ "activeLeases": 1 }));
        node.api.heartbeat("names", &json!({ "activeLeases": 1, "leases": [named] }));
        assert!(node.api.claim("elsewhere").is_null());
        thread::sleep(Duration::from_millis(50));
    }
    for (id, host) in [(&counted, "counts"), (&named, "names")] {
        let job = node.api.complete(id, host).ok();
        assert_eq!(number(&job["job"], "attempts"), 1);
    }
}

/// A host that names its runs loses the leases it does not name.
#[test]
fn a_lease_that_a_host_no_longer_names_runs_out() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 400).start();
    node.api.register("h1", &[], 2);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    eventually("the job is back in the queue", || {
        node.api.heartbeat("h1", &json!({ "activeLeases": 0, "leases": [] }));
        let job = node.api.job(&id);
        if job["status"] == "queued" { Ok(()) } else { Err(job.to_string()) }
    });
}

/// L23 and "a late result counts": the last lessee may complete while nobody else has the job.
#[test]
fn a_late_result_counts_until_somebody_else_has_the_job() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 200).start();
    node.api.register("h1", &[], 5);
    node.api.register("h2", &[], 5);
    let late = node.api.submit_shell("true");
    node.api.claim("h1");
    node.api.until_job_is(&late, "queued");
    assert_eq!(text(&node.api.complete(&late, "h1").ok()["job"], "status"), "completed");
    assert!(node.api.claim("h2").is_null());

    let lost = node.api.submit_shell(": lost");
    node.api.claim("h1");
    node.api.until_job_is(&lost, "queued");
    assert_eq!(text(&node.api.claim("h2"), "id"), lost);
    let error = node.api.complete(&lost, "h1").error(409);
    assert_eq!(error, format!("job {lost} is assigned to h2"));
}

/// F19: attempts are bounded where the submitter says so; only lost runs that were heard of count.
#[test]
fn a_job_that_kills_its_hosts_ends_after_its_attempts() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 200).start();
    let mut body = shell("true");
    body["maxAttempts"] = json!(2);
    let id = text(&node.api.submit(&body), "id").to_owned();
    for host in ["h1", "h2"] {
        node.api.register(host, &[], 1);
        assert_eq!(text(&node.api.claim(host), "id"), id);
        node.api.heartbeat(host, &json!({ "activeLeases": 1 }));
        eventually("the lease is over", || {
            let job = node.api.job(&id);
            if job["status"] == "leased" { Err(job.to_string()) } else { Ok(()) }
        });
    }
    let job = node.api.job(&id);
    assert_eq!((text(&job, "status"), number(&job, "attempts")), ("failed", 2));
    assert!(job["error"].is_string(), "{job}");
}

/// A parked claim is answered when a job comes, or when its time is over.
#[test]
fn a_parked_claim_waits_for_a_job() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &["shell"], 1);
    let path = "/v1/hosts/h1/claim";
    let parked = |ms: &str| {
        let headers = [("x-skyclaw-claim-wait-ms", ms)];
        node.api.clone().post_with(path, &headers, &json!({}))
    };
    let begun = Instant::now();
    let empty = parked("300");
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    assert_eq!(empty.header("x-skyclaw-claim-wait"), Some("1"));
    assert_eq!(empty.ok(), json!({ "job": null }));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| parked("20000"));
        eventually("the claim is parked", || {
            let count = node.api.metric("skyclaw_claims_parked");
            if count == 1.0 { Ok(()) } else { Err(count.to_string()) }
        });
        let id = node.api.submit_shell("true");
        let got = waiting.join().expect("no panic").ok();
        assert_eq!(text(&got["job"], "id"), id);
    });
}

/// A host that hung up does not get the job of its parked claim.
#[test]
fn a_claim_whose_caller_went_away_takes_no_job() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let mut gone = skyclaw_tests::Connection::open(node.api.address()).expect("it listens");
    let request = "POST /v1/hosts/h1/claim HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\
                   x-skyclaw-claim-wait-ms: 20000\r\n\r\n";
    gone.send(request.as_bytes()).expect("it listens");
    let parked = |want: f64| {
        eventually("claims are parked", || {
            let count = node.api.metric("skyclaw_claims_parked");
            if count == want { Ok(()) } else { Err(count.to_string()) }
        });
    };
    parked(1.0);
    drop(gone);
    parked(0.0);
    let id = node.api.submit_shell("true");
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
    assert_eq!(text(&node.api.claim("h1"), "id"), id);
}

/// L10 and F01 on one coordinator: concurrent claims never share a job.
#[test]
fn concurrent_claims_never_get_the_same_job() {
    let node = Setup::coordinator().start();
    const JOBS: usize = 120;
    for host in 0..4 {
        node.api.register(&format!("h{host}"), &[], 1000);
    }
    for n in 0..JOBS {
        node.api.submit_shell(&format!(": {n}"));
    }
    let mut got: Vec<String> = thread::scope(|scope| {
        let claimers: Vec<_> = (0..4)
            .map(|host| {
                let api = node.api.clone();
                scope.spawn(move || {
                    let claims = std::iter::repeat_with(|| api.claim(&format!("h{host}")));
                    let jobs = claims.take_while(Value::is_object);
                    jobs.map(|job| text(&job, "id").to_owned()).collect::<Vec<_>>()
                })
            })
            .collect();
        claimers.into_iter().flat_map(|claimer| claimer.join().expect("no panic")).collect()
    });
    assert_eq!(got.len(), JOBS);
    got.sort();
    got.dedup();
    assert_eq!(got.len(), JOBS, "a job was granted twice");
}

/// F08: an original daemon that died in the middle of a job comes back under its id, with the
/// count it was told, and still gets work.
#[test]
fn a_legacy_host_that_died_in_mid_job_gets_work_again() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 700).start();
    let config = LegacyHostConfig { job: PATIENCE * 2, ..LegacyHostConfig::default() };
    let died = LegacyHost::start(&node.api, config);
    let first = node.api.submit_shell("true");
    node.api.until_job_is(&first, "leased");
    drop(died);
    let host = LegacyHost::start(&node.api, LegacyHostConfig::default());
    let second = node.api.submit_shell(": second");
    node.api.until_job_is(&second, "completed");
    node.api.until_job_is(&first, "completed");
    assert_eq!(host.ran().len(), 2, "{:?}", host.errors());
}

/// F09b: short jobs and quick heartbeats cross each other all the time and wedge nothing.
#[test]
fn a_legacy_host_with_crossing_heartbeats_is_not_wedged() {
    let node = Setup::coordinator().start();
    let config = LegacyHostConfig {
        heartbeat: Duration::from_millis(5),
        poll: Duration::from_millis(5),
        job: Duration::from_millis(12),
        ..LegacyHostConfig::default()
    };
    let host = LegacyHost::start(&node.api, config);
    let jobs: Vec<_> = (0..80).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    for job in &jobs {
        node.api.until_job_is(job, "completed");
    }
    assert_eq!(host.ran(), jobs);
    assert!(host.errors().is_empty(), "{:?}", host.errors());
}

/// F02 with the original's daemon: a job longer than its lease runs once.
#[test]
fn a_legacy_host_runs_a_long_job_once() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 600).start();
    let config = |id: &str| LegacyHostConfig {
        id: id.into(),
        job: Duration::from_millis(2000),
        ..LegacyHostConfig::default()
    };
    let hosts =
        [LegacyHost::start(&node.api, config("a")), LegacyHost::start(&node.api, config("b"))];
    let id = node.api.submit_shell("true");
    let job = node.api.until_job_is(&id, "completed");
    assert_eq!(number(&job, "attempts"), 1);
    assert_eq!(hosts.iter().map(|host| host.ran().len()).sum::<usize>(), 1);
}

#[track_caller]
fn until_parked(node: &Node, count: usize) {
    eventually("claims are parked", || {
        let parked = node.api.metric("skyclaw_claims_parked");
        if parked == count as f64 { Ok(()) } else { Err(parked.to_string()) }
    });
}

/// Claims that wait are served in the order they came; a host that is full waits for a slot.
#[test]
fn parked_claims_are_served_in_order_and_when_a_slot_is_free() {
    let node = Setup::coordinator().start();
    let wait = [("x-skyclaw-claim-wait-ms", "25000")];
    let park = |host: &str| {
        let (api, path) = (node.api.clone(), format!("/v1/hosts/{host}/claim"));
        move || api.post_with(&path, &wait, &json!({})).ok()["job"].clone()
    };
    for host in ["first", "second", "full"] {
        node.api.register(host, &[], 1);
    }
    let held = node.api.submit_shell(": held");
    assert_eq!(text(&node.api.claim("full"), "id"), held);
    thread::scope(|scope| {
        let full = scope.spawn(park("full"));
        until_parked(&node, 1);
        let first = scope.spawn(park("first"));
        until_parked(&node, 2);
        let second = scope.spawn(park("second"));
        until_parked(&node, 3);
        let jobs: Vec<_> = (0..3).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
        assert_eq!(first.join().expect("no panic")["id"], *jobs[0]);
        assert_eq!(second.join().expect("no panic")["id"], *jobs[1]);
        assert!(!full.is_finished());
        node.api.complete(&held, "full").ok();
        assert_eq!(full.join().expect("no panic")["id"], *jobs[2]);
    });
}
