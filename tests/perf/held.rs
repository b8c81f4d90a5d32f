//! A node that holds a great many jobs: what they cost, and how soon it is back.

use std::time::Instant;

use skyclaw_tests::{Node, Setup, resident_kib};

use super::{enqueue, thread};

/// A million, unless `SKYCLAW_PERF_JOBS` says how many.
fn wanted() -> usize {
    std::env::var("SKYCLAW_PERF_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_000_000)
}

fn mib(node: &Node) -> f64 {
    // What was freed lately, and what a start leaves to be done.
    thread::sleep(std::time::Duration::from_secs(3));
    resident_kib(node.process.pid()) as f64 / 1024.0
}

fn file_mib(node: &Node) -> f64 {
    let files = std::fs::read_dir(node.cwd().join(".skyclaw")).into_iter().flatten().flatten();
    let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    bytes as f64 / f64::from(1 << 20)
}

/// Claims and completes this many jobs, with 16 hosts; how many a second.
fn claim_rate(node: &Node, count: usize) -> f64 {
    const HOSTS: usize = 16;
    let begun = Instant::now();
    thread::scope(|scope| {
        for host in 0..HOSTS {
            let api = node.api.clone();
            scope.spawn(move || {
                let host = format!("claimer-{host}");
                api.register(&host, &["nobody"], 4);
                for _ in 0..count / HOSTS {
                    let job = api.claim(&host);
                    let id = job["id"].as_str().expect("there are jobs").to_owned();
                    api.complete(&id, &host).ok();
                }
            });
        }
    });
    count as f64 / begun.elapsed().as_secs_f64()
}

fn rates(node: &Node, held: usize) {
    let burst = 2000;
    let submitted = burst as f64 / enqueue(&node.api, burst, 16).as_secs_f64();
    let claimed = claim_rate(node, burst);
    println!("{held} held: {submitted:.0} submissions, {claimed:.0} claims with reports a second");
}

#[test]
#[ignore = "a million jobs and some gigabytes of disk, for a quiet machine and a release build: \
            cargo test --release -p skyclaw-tests --test perf -- --ignored --nocapture million"]
fn a_million_jobs_are_held_and_a_start_with_them_is_soon() {
    let jobs = wanted();
    let mut node = Setup::coordinator().start();
    let idle = mib(&node);
    rates(&node, 0);
    let filling = enqueue(&node.api, jobs, 32);
    println!("{jobs} jobs enqueued at {:.0} a second", jobs as f64 / filling.as_secs_f64());
    rates(&node, jobs);
    let held = node.api.metric("skyclaw_jobs_queued ");
    assert!(held >= jobs as f64, "{held}");
    let each = |mib: f64| mib * 100_000.0 / held;
    let full = mib(&node);
    println!("{full:.1} MiB of memory, {idle:.1} when idle: {:.1} for 100,000", each(full - idle));
    println!("{:.0} MiB of disk: {:.1} for 100,000", file_mib(&node), each(file_mib(&node)));
    node.stop();
    let begun = Instant::now();
    node.start_again();
    let took = begun.elapsed();
    let full = mib(&node);
    println!("started again after {took:.2?}");
    println!("{full:.1} MiB of memory then: {:.1} for 100,000", each(full - idle));
    assert!(node.api.metric("skyclaw_jobs_queued ") >= held);
    rates(&node, jobs);
    node.stop();
    let mut compact = std::process::Command::new(skyclaw_tests::binary("skyclaw-node"));
    let compact = compact.arg("compact").current_dir(node.cwd()).status();
    assert!(compact.is_ok_and(|status| status.success()));
    println!("{:.0} MiB of disk once it is compacted", file_mib(&node));
}
