//! A member that asks for more than its share: it is held up, and all others are served meanwhile. And one
//! that is only busy, which never is.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use skyclaw_node::net::Service;
use skyclaw_protocol::repair::{Claim, Fingerprint, Range, RepairAsk};
use skyclaw_protocol::wire::{Message, Sought};
use skyclaw_protocol::{JobId, NodeId, codec};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Node, Setup, eventually, within};

use crate::cluster;

/// Of frames: as many operations as one may have.
const OPERATIONS: usize = 256;

/// Questions that are open at once: as many as one peer may have.
const OPEN: usize = 64;

/// How long a job may take while Mallory does her worst: several times what it takes otherwise on a
/// machine that other tests use.
const SERVED: Duration = Duration::from_secs(30);

/// How long she may take to get beyond her rate, on a machine that other tests use: it is not she who is
/// judged.
const HELD_UP: Duration = Duration::from_secs(120);

const STEPS: [&str; 5] = ["frames", "gossip", "questions", "tunnels", "handshakes"];

fn throttled(node: &Node, step: &str) -> f64 {
    node.api.metric(&format!("skyclaw_peer_throttled_total{{step=\"{step}\"}}"))
}

/// Three coordinators, and a host with room for some jobs at once.
#[track_caller]
fn net() -> (Vec<Node>, Node) {
    let nodes = cluster::nodes(3, 2);
    let host = Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&nodes[0]))
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_MAX_PARALLEL", 4)
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
        .start();
    for node in &nodes {
        node.api.until_hosts(1);
    }
    (nodes, host)
}

/// Frames as fast as they go, and questions that are read from the disk, until told.
fn flood(mallory: &Mallory, done: &AtomicBool) {
    let nodes = mallory.handle.coordinators().borrow().clone();
    let sought = Sought::Job(JobId::new("job_of_nobody").expect("an id"));
    let frame = Message::Seek(vec![sought; OPERATIONS]);
    let claim = Claim { range: Range::ALL, fingerprint: Fingerprint { count: 1, digest: [7; 16] } };
    let ask = codec::encode(&RepairAsk::Compare(vec![claim]));
    let askers = nodes.iter().flat_map(|node| std::iter::repeat_n(*node, OPEN));
    let asks = askers.map(|node| ask_on(mallory, node, &ask, done));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let sent = nodes.iter().filter(|node| mallory.handle.send(**node, frame.clone()));
                if sent.count() == 0 {
                    // All queues are full.
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        mallory.block_on(futures::future::join_all(asks));
    });
}

async fn ask_on(mallory: &Mallory, node: NodeId, ask: &[u8], done: &AtomicBool) {
    while !done.load(Relaxed) {
        let patience = Duration::from_secs(20);
        drop(mallory.handle.ask(node, Service::Repair, ask.to_vec(), patience).await);
    }
}

#[test]
fn a_member_that_floods_is_held_up_and_the_others_are_served() {
    let (nodes, _host) = net();
    let addresses: Vec<String> = nodes.iter().map(cluster::address).collect();
    let mallory = Mallory::join("coordinator", &addresses);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(&mallory, &done));
        // However this ends, so does she.
        let end = End(&done);
        for node in &nodes {
            // Of questions a busy machine answers fewer than the rate lets through: there is nothing to
            // hold up then.
            within(HELD_UP, "frames are held up", || {
                let count = throttled(node, "frames");
                if count > 10.0 { Ok(()) } else { Err(count.to_string()) }
            });
        }
        for n in 0..12 {
            let node = &nodes[n % nodes.len()];
            let id = eventually("it is taken", || {
                let answer = node.api.post("/v1/jobs", &skyclaw_tests::shell("echo served"));
                match answer.status {
                    200 => Ok(crate::text(&answer.json()["job"], "id").to_owned()),
                    _ => Err(answer.text()),
                }
            });
            within(SERVED, "it has ended", || {
                let job = node.api.job(&id);
                if job["status"] == "completed" { Ok(()) } else { Err(job.to_string()) }
            });
        }
        drop(end);
    });
    for node in &nodes {
        assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());
    }
}

/// Ends the flood.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn an_honest_network_is_never_held_up_however_busy() {
    const CALLERS: usize = 6;
    const JOBS: usize = 40;
    let (nodes, _host) = net();
    let begun = Instant::now();
    let ids: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let api = &nodes[n % nodes.len()].api;
                scope.spawn(move || (0..JOBS).map(|_| api.submit_shell("true")).collect::<Vec<_>>())
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("they are taken")).collect()
    });
    for id in &ids {
        nodes[0].api.until_job_ended(id);
    }
    let elapsed = begun.elapsed();
    for node in &nodes {
        let asked = |step: &str| {
            node.api.metric(&format!("skyclaw_peer_work_units_total{{step=\"{step}\"}}"))
        };
        let units: Vec<_> = STEPS.iter().map(|step| (*step, asked(step))).collect();
        eprintln!("{} jobs in {elapsed:.2?}; units {units:?}", ids.len());
        assert!(asked("frames") > ids.len() as f64, "they are counted: {units:?}");
        for step in STEPS {
            assert_eq!(throttled(node, step), 0.0, "{step}: {units:?}");
        }
    }
}
