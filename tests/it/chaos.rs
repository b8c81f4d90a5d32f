//! Everything at once: hosts and the coordinator are killed at random while jobs run.

use std::fs;
use std::time::{Duration, Instant};

use skyclaw_tests::{Chance, Node, Setup, eventually, processes_with, seed, within};

use crate::text;

const HOSTS: usize = 3;
const JOBS: usize = 60;
const KILLS: usize = 10;

/// Submits with a key until it is answered, as a client over a lossy line would.
fn submit(node: &Node, key: &str, script: &str) -> Option<String> {
    let headers = [("x-idempotency-key", key)];
    let body = skyclaw_tests::shell(script).to_string();
    let answer = node.api.try_send("POST", "/v1/jobs", &headers, body.as_bytes()).ok()?;
    (answer.status == 200).then(|| text(&answer.json()["job"], "id").to_owned())
}

#[test]
fn every_job_ends_once_whoever_is_killed() {
    let seed = seed(0xc4a05);
    let mut chance = Chance::new(seed);
    let mut coordinator =
        Setup::coordinator().env("SKYCLAW_LEASE_MS", 1000).env("SKYCLAW_HOST_TTL_MS", 1000).start();
    let mark = coordinator.folder().join("chaos_marks").display().to_string();
    fs::create_dir(&mark).expect("it is writable");
    let mut hosts: Vec<Node> = (0..HOSTS)
        .map(|n| {
            Setup::host(&[&coordinator.url()])
                .env("SKYCLAW_HOST_ID", format!("h{n}"))
                .env("SKYCLAW_MAX_PARALLEL", 2)
                .env("SKYCLAW_HEARTBEAT_MS", 100)
                .env("SKYCLAW_POLL_MS", 100)
                .start()
        })
        .collect();
    let mut ids: Vec<String> = Vec::new();
    let mut kills = 0;
    let mut next_kill = Instant::now() + Duration::from_millis(200);
    within(Duration::from_secs(120), "all is submitted, all is killed", || {
        if ids.len() < JOBS {
            let n = ids.len();
            let script = format!("echo {n} >> {mark}/{n}; sleep 0.1; echo done {n}");
            ids.extend(submit(&coordinator, &format!("k{n}"), &script));
        }
        if kills < KILLS && Instant::now() > next_kill {
            next_kill = Instant::now() + Duration::from_millis(chance.within(&(50..500)) as u64);
            kills += 1;
            if chance.one_in(3) {
                coordinator.kill();
                coordinator.start_again();
            } else {
                let host = chance.within(&(0..HOSTS));
                hosts[host].kill();
                hosts[host].start_again();
            }
        }
        if ids.len() == JOBS && kills == KILLS { Ok(()) } else { Err(format!("{}", ids.len())) }
    });
    within(Duration::from_secs(120), "all have ended", || {
        let ended = coordinator.api.get("/v1/jobs?status=completed&limit=1000").ok();
        let count = ended["jobs"].as_array().map_or(0, Vec::len);
        if count == JOBS { Ok(()) } else { Err(format!("{count} have ended")) }
    });
    for (n, id) in ids.iter().enumerate() {
        let job = coordinator.api.job(id);
        assert_eq!(text(&job, "status"), "completed", "seed {seed}: {job}");
        assert_eq!(text(&job["result"], "stdout"), format!("done {n}\n"), "seed {seed}");
        // It may have begun more than once, but never more often than it was granted.
        let begun = fs::read_to_string(format!("{mark}/{n}")).unwrap_or_default().lines().count();
        let attempts = job["attempts"].as_u64().unwrap_or(0);
        assert!(
            begun >= 1 && begun as u64 <= attempts,
            "seed {seed}: {begun} of {attempts}: {job}"
        );
    }
    let listed = coordinator.api.get("/v1/state").ok();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(JOBS), "keys made no twins");
    assert_eq!(listed["hosts"].as_array().map(Vec::len), Some(HOSTS));
    for host in &mut hosts {
        assert_eq!(host.stop().code, Some(0), "seed {seed}");
    }
    eventually("no job is left behind", || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
