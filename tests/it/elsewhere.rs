//! Clients and hosts of the original at any of several coordinators: what comes to one that does not
//! lead a record is carried out by the one that does. Loopback only.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use skyclaw_tests::{eventually, shell};

use crate::cluster::{address, node, nodes, until_peers, until_status};
use crate::{number, text};

/// A host that registered at one coordinator claims, beats and completes at others.
#[test]
fn a_host_works_at_any_coordinator() {
    let nodes = nodes(3, 2);
    nodes[0].api.register("h", &["shell"], 1);
    let id = nodes[1].api.submit_shell("true");
    let job = eventually("the job is granted", || match nodes[2].api.claim("h") {
        Value::Null => Err(String::new()),
        job => Ok(job),
    });
    assert_eq!((text(&job, "id"), text(&job, "assignedHostId")), (id.as_str(), "h"));
    assert_eq!(nodes[0].api.claim("h"), Value::Null, "its only slot is taken");
    let host = nodes[0].api.heartbeat("h", &json!({ "activeLeases": 1 }));
    assert_eq!(text(&host, "id"), "h");
    let done = nodes[0].api.complete(&id, "h").ok();
    assert_eq!(text(&done["job"], "status"), "completed");
    assert_eq!(done["job"]["result"]["stdout"], "done\n");
    for node in &nodes {
        until_status(node, &id, "completed");
        assert_eq!(node.api.job(&id), done["job"]);
    }
}

/// F01: two coordinators, two hosts that claim at the same time: no job is given to both.
#[test]
fn no_job_is_given_to_two_hosts_at_two_coordinators() {
    let nodes = nodes(2, 2);
    for (node, host) in nodes.iter().zip(["a", "b"]) {
        node.api.register(host, &[], 1000);
    }
    for n in 0..40 {
        nodes[n % 2].api.submit_shell("true");
    }
    let claimed: Vec<Vec<String>> = std::thread::scope(|scope| {
        let claims = nodes.iter().zip(["a", "b"]).map(|(node, host)| {
            scope.spawn(move || {
                let mut mine = Vec::new();
                eventually("all jobs are leased", || {
                    let job = node.api.claim(host);
                    if job != Value::Null {
                        assert_eq!(text(&job, "assignedHostId"), host);
                        assert_eq!(number(&job, "attempts"), 1);
                        mine.push(text(&job, "id").to_owned());
                    }
                    let queued = node.api.get("/v1/jobs?status=queued").ok();
                    match queued["jobs"].as_array().map_or(0, Vec::len) {
                        0 => Ok(()),
                        left => Err(format!("{left} left")),
                    }
                });
                mine
            })
        });
        let claims: Vec<_> = claims.collect();
        claims.into_iter().map(|claim| claim.join().expect("no panic")).collect()
    });
    let mut times = BTreeMap::new();
    for id in claimed.iter().flatten() {
        *times.entry(id).or_insert(0) += 1;
    }
    assert_eq!((times.len(), times.values().max()), (40, Some(&1)), "{claimed:?}");
}

/// F05 F06: one key at all coordinators at once is one job, and all are told of the same.
#[test]
fn equal_keys_at_all_coordinators_at_once_make_one_job() {
    let nodes = nodes(3, 2);
    for n in 0..5 {
        let key = format!("k{n}");
        let answers: Vec<_> = std::thread::scope(|scope| {
            let posts: Vec<_> = nodes
                .iter()
                .map(|node| {
                    let key = &key;
                    scope.spawn(move || node.api.post_once("/v1/jobs", key, &shell("true")))
                })
                .collect();
            posts.into_iter().map(|post| post.join().expect("no panic")).collect()
        });
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
        }
        let refused = nodes[n % 3].api.post_once("/v1/jobs", &key, &shell("false"));
        let conflict = "idempotency key reuse conflict for route /v1/jobs";
        assert_eq!(refused.error(409), conflict);
    }
    let jobs = nodes[0].api.get("/v1/jobs").ok();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(5));
}

/// A key is tried again at other coordinators after the one that took it was killed: it is the same
/// job, and no other one is made.
#[test]
fn a_key_is_answered_elsewhere_after_its_home_was_killed() {
    let mut nodes = nodes(3, 2);
    let jobs: Vec<_> = (0..6)
        .map(|n| nodes[0].api.post_once("/v1/jobs", &format!("k{n}"), &shell("true")).ok())
        .collect();
    let homes: BTreeMap<usize, &Value> = jobs
        .iter()
        .filter_map(|job| {
            let by = text(&job["job"], "updatedBy");
            (0..3).find(|n| by == format!("n{n}")).map(|home| (home, &job["job"]))
        })
        .collect();
    let home = *homes.keys().last().expect("somebody took them");
    for job in &jobs {
        for node in &nodes {
            until_status(node, text(&job["job"], "id"), "queued");
        }
    }
    nodes[home].kill();
    let rest: Vec<_> = (0..3).filter(|n| *n != home).collect();
    for node in &rest {
        until_peers(&nodes[*node], 1);
    }
    for (n, job) in jobs.iter().enumerate() {
        for node in &rest {
            let api = &nodes[*node].api;
            let again = api.post_once("/v1/jobs", &format!("k{n}"), &shell("true")).ok();
            assert_eq!(again["job"]["id"], job["job"]["id"]);
            let other = api.post_once("/v1/jobs", &format!("k{n}"), &shell("false"));
            assert_eq!(other.error(409), "idempotency key reuse conflict for route /v1/jobs");
        }
    }
    // New keys, too, are one job each, though a third of them would have been the dead one's.
    for n in 0..6 {
        let [a, b] = [rest[0], rest[1]].map(|node| {
            let api = &nodes[node].api;
            api.post_once("/v1/jobs", &format!("new{n}"), &shell("true")).ok()["job"]["id"].clone()
        });
        assert_eq!(a, b);
    }
    let listed = nodes[rest[0]].api.get("/v1/jobs").ok();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(12));
}

/// One key at all coordinators at once, while two of them may not have met yet.
#[test]
fn equal_keys_make_one_job_while_coordinators_still_meet() {
    let middle = node("n0", 2).start();
    let place = address(&middle);
    let sides = ["n1", "n2"].map(|name| node(name, 2).env("SKYCLAW_BOOTSTRAP", &place).start());
    until_peers(&sides[0], 1);
    let all = [&middle, &sides[0], &sides[1]];
    for n in 0..10 {
        let key = format!("k{n}");
        let answers: Vec<_> = std::thread::scope(|scope| {
            let post = |node: &'_ skyclaw_tests::Node| {
                let (api, key) = (node.api.clone(), key.clone());
                scope.spawn(move || api.post_once("/v1/jobs", &key, &shell("true")))
            };
            let posts = all.map(post);
            posts.map(|post| post.join().expect("no panic")).into_iter().collect()
        });
        let ids: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| text(&answer.json()["job"], "id").to_owned())
            .collect();
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
        for node in all {
            eventually("the key is answered", || {
                let answer = node.api.post_once("/v1/jobs", &key, &shell("true"));
                if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
            });
        }
    }
    let listed = middle.api.get("/v1/jobs?status=queued").ok();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(10));
}

/// A claim that waits at one coordinator gets a job that comes to another, at once.
#[test]
fn a_parked_claim_hears_of_jobs_at_other_coordinators() {
    let nodes = nodes(2, 2);
    nodes[1].api.register("h", &[], 1);
    let waited = std::thread::scope(|scope| {
        let claim = scope.spawn(|| {
            let wait = [("x-skyclaw-claim-wait-ms", "20000")];
            let begun = Instant::now();
            let job = nodes[1].api.post_with("/v1/hosts/h/claim", &wait, &json!({})).ok();
            (begun.elapsed(), job)
        });
        eventually("the claim is parked", || match nodes[1].api.metric("skyclaw_claims_parked") {
            1.0 => Ok(()),
            n => Err(n.to_string()),
        });
        let id = nodes[0].api.submit_shell("true");
        let (waited, claimed) = claim.join().expect("no panic");
        assert_eq!(text(&claimed["job"], "id"), id);
        waited
    });
    assert!(waited.as_secs() < 10, "{waited:?}");
}

/// Whoever leads the job next carries it out: its home stays away.
#[test]
fn a_cancellation_while_the_home_is_away_is_carried_out_by_the_next_one() {
    let mut nodes = nodes(3, 2);
    let id = nodes[0].api.submit_shell("true");
    until_status(&nodes[1], &id, "queued");
    nodes[0].kill();
    let answer = nodes[1].api.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(
        (&answer.json()["cancelling"], text(&answer.json()["job"], "id")),
        (&json!(true), &*id)
    );
    for node in &nodes[1..] {
        until_status(node, &id, "failed");
    }
    let job = nodes[2].api.job(&id);
    assert_eq!(text(&job, "error"), "cancelled");
    // It comes back and follows.
    nodes[0].start_again();
    until_status(&nodes[0], &id, "failed");
}
