//! A closed loop: each connection asks again once it has its answer.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::clients::{Client, Op, Step};
use crate::machine;

/// After so many wrong answers a connection gives up: the figure is worth nothing any more.
const MOST_ERRORS: usize = 100;

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Of the servers, for each piece of work.
    pub(crate) cpu: Duration,
    pub(crate) resident_mib: f64,
    pub(crate) errors: usize,
    /// The first of them.
    pub(crate) error: Option<String>,
    /// Share of the machine that neither the servers nor the load used, in percent.
    pub(crate) foreign: f64,
}

/// Lets all clients work for so long. What `pids` use is counted as the servers'.
pub(crate) async fn run<C: Client>(
    clients: &mut [C],
    op: Op,
    time: Duration,
    pids: &[u32],
) -> Sample {
    let me = [std::process::id()];
    let before = (machine::cpu_of(pids), machine::cpu_of(&me), machine::cpu_of_all());
    let begun = Instant::now();
    let lanes = join_all(clients.iter_mut().map(|client| lane(client, op, begun, time))).await;
    let took = begun.elapsed();
    let servers = machine::cpu_of(pids).saturating_sub(before.0);
    let own = machine::cpu_of(&me).saturating_sub(before.1);
    let all = machine::cpu_of_all().saturating_sub(before.2);
    let foreign = all.saturating_sub(servers + own).as_secs_f64();
    let (mut times, mut errors, mut error) = (Vec::new(), 0, None);
    for lane in lanes {
        times.extend(lane.times);
        errors += lane.errors;
        error = error.or(lane.error);
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let last = times.len().saturating_sub(1);
        times.get((times.len() * percent / 100).min(last)).copied().unwrap_or_default()
    };
    let done = u32::try_from(times.len()).unwrap_or(u32::MAX);
    Sample {
        rate: f64::from(done) / took.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu: servers / done.max(1),
        resident_mib: machine::resident_mib(pids),
        errors,
        error,
        foreign: 100.0 * foreign / took.as_secs_f64() / machine::cores() as f64,
    }
}

#[derive(Default)]
struct Lane {
    times: Vec<Duration>,
    errors: usize,
    error: Option<String>,
}

async fn lane<C: Client>(client: &mut C, op: Op, begun: Instant, time: Duration) -> Lane {
    let mut lane = Lane::default();
    while begun.elapsed() < time && lane.errors < MOST_ERRORS {
        let at = Instant::now();
        match client.step(op).await {
            Ok(Step::Done) => lane.times.push(at.elapsed()),
            // Others took what was put in: they are measured, too.
            Ok(Step::Nothing) => {}
            Err(error) => {
                lane.errors += 1;
                lane.error.get_or_insert(error);
            }
        }
    }
    lane
}
