//! A host without HTTP, found over libp2p: real processes on loopback.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Node, PATIENCE, Setup, eventually, within};

use crate::cluster;

/// Longest wait for a job on a host that has to find its coordinator first.
const DONE: Duration = Duration::from_secs(60);

fn coordinator() -> Setup {
    Setup::coordinator().env("SKYCLAW_MIN_REPLICATIONS", 1).env("SKYCLAW_TOKEN", "secret")
}

/// A multiaddr of it.
fn first_address(node: &Node) -> String {
    let network = node.api.get("/v1/network").ok();
    network["addresses"][0].as_str().expect("it listens").to_owned()
}

fn host(bootstrap: &str) -> Setup {
    Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", bootstrap)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,true")
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

#[test]
fn a_job_taken_over_http_runs_on_a_host_that_knows_only_a_bootstrap_address() {
    let a = coordinator().start();
    let host = host(&first_address(&a)).start();
    let id = a.api.submit_shell_for(&["shell"], "echo hello");
    let job = a.api.until_job_is_within(DONE, &id, "completed");
    assert_eq!(job["result"]["stdout"], "hello\n", "{job}");
    assert!(host.cwd().join(".skyclaw/node.db").exists());
}

#[test]
fn a_host_that_finds_no_coordinator_says_what_it_looks_for_and_stops_when_told() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut process = host("/ip4/127.0.0.1/tcp/1").spawn(folder.path());
    eventually("it is said", || {
        let log = process.log();
        let said =
            log.contains("no coordinator is found yet") && log.contains("/ip4/127.0.0.1/tcp/1");
        if said { Ok(()) } else { Err(log) }
    });
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_file_in_use_ends_the_start_with_words() {
    let a = coordinator().start();
    let first = host(&first_address(&a)).start();
    let second = host(&first_address(&a))
        .env("SKYCLAW_DB_PATH", first.cwd().join(".skyclaw/node.db").display());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let ended = second.run(folder.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("another node runs on this file"), "{}", ended.stderr);
}

#[test]
fn a_result_in_the_outbox_outlives_a_killed_host() {
    // It must be found again where it was.
    let mut a = cluster::node("a", 1).start();
    let mut host = host(&cluster::address(&a)).start();
    let mark = host.folder().join("mark");
    let script = format!("touch {}; sleep 2; echo late", mark.display());
    let id = a.api.submit_shell_for(&["shell"], &script);
    eventually("it runs", || if mark.exists() { Ok(()) } else { Err("no mark".into()) });
    // It ends while nobody takes results.
    a.kill();
    let _ = a.wait(PATIENCE);
    eventually("the run has ended", || {
        let said = host.process.stdout();
        if said.contains("completed job_") { Ok(()) } else { Err(said) }
    });
    // The line comes before the result is on disk, by a pause and one transaction.
    std::thread::sleep(Duration::from_secs(2));
    host.kill();
    let _ = host.wait(PATIENCE);
    a.start_again();
    host.start_again();
    let job = a.api.until_job_is_within(DONE, &id, "completed");
    assert_eq!((&job["result"]["stdout"], &job["attempts"]), (&json!("late\n"), &json!(1)));
}

#[test]
fn a_cancelled_job_stops_at_once() {
    let a = coordinator().start();
    let host = host(&first_address(&a)).start();
    let mark = host.folder().join("mark");
    let script = format!("while :; do date > {}; sleep 0.05; done", mark.display());
    let id = a.api.submit_shell_for(&["shell"], &script);
    eventually("it runs", || if mark.exists() { Ok(()) } else { Err("no mark".into()) });
    a.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
    let cancelled = Instant::now();
    let modified = || fs::metadata(&mark).and_then(|file| file.modified()).ok();
    within(Duration::from_secs(10), "the run has ended", || {
        let before = modified();
        std::thread::sleep(Duration::from_millis(300));
        if before == modified() { Ok(()) } else { Err("it runs on".into()) }
    });
    assert!(cancelled.elapsed() < Duration::from_secs(5), "{:?}", cancelled.elapsed());
}

#[test]
fn a_host_that_is_cut_off_ends_its_run_within_the_lease() {
    let mut a = coordinator().env("SKYCLAW_P2P_LEASE_MS", 5000).start();
    let host = host(&first_address(&a)).start();
    let mark = host.folder().join("mark");
    let script = format!("while :; do date > {}; sleep 0.1; done", mark.display());
    let id = a.api.submit_shell_for(&["shell"], &script);
    a.api.until_job_is_within(DONE, &id, "leased");
    eventually("it runs", || if mark.exists() { Ok(()) } else { Err("no mark".into()) });
    a.kill();
    let cut = Instant::now();
    let _ = a.wait(PATIENCE);
    let modified = || fs::metadata(&mark).and_then(|file| file.modified()).ok();
    within(Duration::from_secs(10), "the run has ended", || {
        let before = modified();
        std::thread::sleep(Duration::from_millis(400));
        if before == modified() { Ok(()) } else { Err("it runs on".into()) }
    });
    assert!(cut.elapsed() < Duration::from_secs(6), "{:?}", cut.elapsed());
    assert!(!host.process.stdout().contains("completed job_"), "nothing is reported");
}

#[test]
fn jobs_of_an_idle_host_start_at_once() {
    let a = coordinator().start();
    let host = host(&first_address(&a)).start();
    let mut times: Vec<Duration> = (0..40)
        .map(|_| {
            let start = Instant::now();
            let id = a.api.submit_shell_for(&["shell"], "true");
            loop {
                let job = a.api.get(&format!("/v1/jobs/{id}")).ok();
                if job["job"]["status"] == "completed" {
                    return start.elapsed();
                }
                assert!(start.elapsed() < PATIENCE, "{job}");
                std::thread::sleep(Duration::from_millis(2));
            }
        })
        .collect();
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() - 1]);
    println!("submit to completed over libp2p: p50 {p50:?}, p99 {p99:?}");
    assert!(p50 < Duration::from_millis(500), "p50 {p50:?}");
    drop(host);
}
