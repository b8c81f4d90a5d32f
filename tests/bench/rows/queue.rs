//! Queues that keep what they are given before they say so.

use std::time::Duration;

use skyclaw_tests::{Node, cluster};

use super::{TOKEN, runtime};
use crate::clients::{Beanstalk, Client, Coordinator, Nats, Op, Redis};
use crate::load::{self, Sample};
use crate::report::Report;
use crate::server::{self, Server};
use crate::{Plan, machine};

/// Connections and caches are warm after this.
const WARM: Duration = Duration::from_millis(300);

/// Who takes part.
const CONTENDERS: [&str; 4] = ["skyclaw", "beanstalkd -f0", "NATS sync always", "Redis always"];

pub(crate) fn enqueue(plan: &Plan, report: &mut Report) {
    for clients in [1, 16, 64] {
        contest(plan, report, &format!("enqueue-{clients}"), Op::Put, clients);
    }
}

pub(crate) fn cycle(plan: &Plan, report: &mut Report) {
    contest(plan, report, "cycle-64", Op::Cycle, 64);
}

/// Each contender in turn, on a new server; another one begins in each round.
fn contest(plan: &Plan, report: &mut Report, row: &str, op: Op, clients: usize) {
    for round in 0..plan.rounds {
        for turn in 0..CONTENDERS.len() {
            let contender = CONTENDERS[(round + turn) % CONTENDERS.len()];
            match measure(contender, op, clients, plan.seconds) {
                Some(sample) => report.add_sample(row, contender, round, &sample),
                None => report.note(format!("{contender} is not installed")),
            }
        }
    }
}

fn measure(contender: &str, op: Op, clients: usize, seconds: f64) -> Option<Sample> {
    match contender {
        "skyclaw" => {
            let node = super::coordinator();
            Some(at(&node, op, clients, seconds, &[node.process.pid()]))
        }
        "beanstalkd -f0" => {
            let server = server::beanstalkd()?;
            Some(peer(&server, op, seconds, async || {
                let mut all = Vec::new();
                for _ in 0..clients {
                    all.push(Beanstalk::connect(&server.address).await?);
                }
                Ok(all)
            }))
        }
        "Redis always" => {
            let server = server::redis()?;
            Some(peer(&server, op, seconds, async || {
                let mut all = Vec::new();
                for n in 0..clients {
                    all.push(Redis::connect(&server.address, n).await?);
                }
                Ok(all)
            }))
        }
        _ => {
            let server = server::nats()?;
            Some(peer(&server, op, seconds, async || {
                Nats::connect(&server.address, clients).await?.prepare().await?;
                let mut all = Vec::new();
                for n in 0..clients {
                    all.push(Nats::connect(&server.address, n).await?);
                }
                Ok(all)
            }))
        }
    }
}

fn peer<C: Client>(
    server: &Server,
    op: Op,
    seconds: f64,
    connect: impl AsyncFnOnce() -> Result<Vec<C>, String>,
) -> Sample {
    runtime().block_on(async {
        let mut clients = connect().await.unwrap_or_else(|error| panic!("no connection: {error}"));
        load::run(&mut clients, op, WARM, &[]).await;
        load::run(&mut clients, op, Duration::from_secs_f64(seconds), &server.pids()).await
    })
}

/// The same at a node.
pub(super) fn at(node: &Node, op: Op, clients: usize, seconds: f64, pids: &[u32]) -> Sample {
    let address = node.api.address().to_string();
    runtime().block_on(async {
        let mut all = Vec::new();
        for n in 0..clients {
            let client = Coordinator::connect(&address, TOKEN, n).await;
            all.push(client.unwrap_or_else(|error| panic!("no connection: {error}")));
        }
        load::run(&mut all, op, WARM, &[]).await;
        load::run(&mut all, op, Duration::from_secs_f64(seconds), pids).await
    })
}

/// One client waits for little more than one sync of the disk.
pub(crate) fn sync(plan: &Plan, report: &mut Report) {
    for round in 0..plan.rounds {
        let node = super::coordinator();
        let time = Duration::from_secs_f64(plan.seconds / 2.0);
        let disk = machine::sync_time(node.folder(), 4096, time);
        report.add("sync", "fdatasync", round, &[("p50", disk.as_secs_f64() * 1e6)]);
        let sample = at(&node, Op::Put, 1, plan.seconds, &[node.process.pid()]);
        report.add_sample("sync", "skyclaw", round, &sample);
    }
}

/// Two coordinators that keep each job both, beside one that keeps it alone.
pub(crate) fn copies(plan: &Plan, report: &mut Report) {
    for round in 0..plan.rounds {
        for copies in if round % 2 == 0 { [1, 2] } else { [2, 1] } {
            let nodes = cluster::nodes(copies, u32::try_from(copies).expect("it is small"));
            let pids: Vec<u32> = nodes.iter().map(|node| node.process.pid()).collect();
            let sample = at(&nodes[0], Op::Put, 64, plan.seconds, &pids);
            let contender = if copies == 1 { "one copy" } else { "two copies" };
            report.add_sample("copies", contender, round, &sample);
        }
    }
}
