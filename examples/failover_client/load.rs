//! Requests at a steady rate, and what their callers saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{Answer, Failover, Tally};

/// Requests under way at once; a service that is slower than that is asked less often.
const UNDER_WAY: usize = 1024;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests that got none, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Requests that took more than one attempt.
    pub(crate) moved: u64,
    /// Bytes of all answers.
    pub(crate) bytes: u64,
    /// How long each took, sorted.
    pub(crate) times: Vec<Duration>,
    /// What the gateways did.
    pub(crate) gateways: Vec<Tally>,
}

impl Seen {
    /// Requests whose caller saw a failure: no answer, or one of the server's errors.
    pub(crate) fn failures(&self) -> u64 {
        let broken = self.statuses.iter().filter(|(status, _)| **status >= 500);
        self.errors.values().sum::<u64>() + broken.map(|(_, count)| count).sum::<u64>()
    }

    fn at(&self, share: usize) -> Duration {
        let at = (self.times.len() * share / 1000).min(self.times.len().saturating_sub(1));
        self.times.get(at).copied().unwrap_or_default()
    }

    /// For people.
    pub(crate) fn summary(&self) -> String {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let mut lines = vec![format!(
            "{} requests, {} failed for their callers, {} moved to another gateway",
            self.times.len(),
            self.failures(),
            self.moved
        )];
        let (half, most, slowest) = (self.at(500), self.at(990), self.at(1000));
        let (half, most, slowest) = (ms(half), ms(most), ms(slowest));
        lines.push(format!("half took {half} at most, 99 of 100 {most}, the slowest {slowest}"));
        for (status, count) in &self.statuses {
            lines.push(format!("status {status}: {count}"));
        }
        lines.push(format!("{} bytes came back", self.bytes));
        for (why, count) in &self.errors {
            lines.push(format!("failed {count} times: {why}"));
        }
        for Tally { url, answered, failed } in &self.gateways {
            lines.push(format!("{url} answered {answered}, failed {failed} attempts"));
        }
        lines.join("\n")
    }
}

/// Asks for `path` at `rate` requests a second until `end`.
pub(crate) async fn run(client: Arc<Failover>, path: &str, rate: u32, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    let path: Arc<str> = path.into();
    while Instant::now() < end {
        ticks.tick().await;
        while under_way.len() >= UNDER_WAY {
            note(&mut seen, under_way.join_next().await);
        }
        while let Some(done) = under_way.try_join_next() {
            note(&mut seen, Some(done));
        }
        let (client, path) = (Arc::clone(&client), Arc::clone(&path));
        under_way.spawn(async move {
            let began = Instant::now();
            let answer = client.get(&path).await;
            let told = |it: Answer| (it.status, it.attempts, it.body.len() as u64);
            (began.elapsed(), answer.map(told).map_err(|it| it.0))
        });
    }
    while let Some(done) = under_way.join_next().await {
        note(&mut seen, Some(done));
    }
    seen.times.sort_unstable();
    seen.gateways = client.tallies();
    seen
}

type Done = (Duration, Result<(u16, u32, u64), String>);

fn note(seen: &mut Seen, done: Option<Result<Done, tokio::task::JoinError>>) {
    let Some(done) = done else { return };
    let (took, answer) = done.unwrap_or_else(|error| (Duration::ZERO, Err(error.to_string())));
    seen.times.push(took);
    match answer {
        Ok((status, attempts, bytes)) => {
            seen.bytes += bytes;
            *seen.statuses.entry(status).or_default() += 1;
            seen.moved += u64::from(attempts > 1);
        }
        Err(why) => *seen.errors.entry(why).or_default() += 1,
    }
}
