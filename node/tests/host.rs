//! The host loop against a scripted coordinator, with real processes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use skyclaw_node::host::{
    Announcer, Claim, ClaimedJob, Coordinator, HostConfig, HostSpec, PortError, Pulse, Report,
    StopReason, run,
};
use skyclaw_node::supervisor::{Supervisor, SupervisorConfig};
use skyclaw_protocol::{HostId, JobId};
use tokio_util::sync::CancellationToken;

/// A coordinator that hands out jobs, remembers everything and fails as told.
#[derive(Default)]
struct Fake {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<ClaimedJob>,
    /// Taken from the front by each offer of a result; accepted when empty.
    replies: VecDeque<PortError>,
    registered: bool,
    registrations: Vec<HostSpec>,
    beats: Vec<Vec<String>>,
    claims: usize,
    end: Vec<(JobId, StopReason)>,
    offers: Vec<Report>,
    done: Vec<Report>,
    refuses_registration: bool,
}

impl Fake {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    fn enqueue(&self, n: u32, script: &str) {
        let payload = json!({"kind": "shell", "command": "sh", "args": ["-c", script]});
        let id = id(n);
        self.with(|state| {
            state.queue.push_back(ClaimedJob {
                id,
                attempt: 1,
                lease: None,
                term: None,
                route: None,
                payload,
                spec: None,
            })
        });
    }

    fn known(state: &State) -> Result<(), PortError> {
        if state.registered {
            Ok(())
        } else {
            Err(PortError::UnknownHost("unknown host: h".into()))
        }
    }
}

fn id(n: u32) -> JobId {
    JobId::new(format!("job_{n}")).unwrap()
}

impl Coordinator for Fake {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        let answer = self.with(|state| {
            if state.refuses_registration {
                return Err(PortError::Unavailable("fetch failed".into()));
            }
            state.registered = true;
            let id = spec.id.clone().unwrap_or_else(|| HostId::new("minted").unwrap());
            state.registrations.push(spec);
            Ok(id)
        });
        Box::pin(async { answer })
    }

    fn heartbeat(
        &self,
        _host: HostId,
        running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        let answer = self.with(|state| {
            state.beats.push(running.iter().map(|(job, _)| job.to_string()).collect());
            Self::known(state).map(|()| Pulse { end: std::mem::take(&mut state.end) })
        });
        Box::pin(async { answer })
    }

    fn claim(
        &self,
        _host: HostId,
        _most: usize,
        wait: Duration,
        _without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        self.with(|state| state.claims += 1);
        Box::pin(async move {
            let end = Instant::now() + wait;
            loop {
                let answer = self.with(|state| {
                    Self::known(state)?;
                    Ok(Claim { jobs: state.queue.pop_front().into_iter().collect(), parked: true })
                })?;
                if !answer.jobs.is_empty() || Instant::now() > end {
                    return Ok(answer);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        let answer = self.with(|state| {
            state.offers.push(report.clone());
            Self::known(state)?;
            match state.replies.pop_front() {
                Some(error) => Err(error),
                None => {
                    state.done.push(report);
                    Ok(())
                }
            }
        });
        Box::pin(async { answer })
    }
}

struct Bench {
    fake: Arc<Fake>,
    stop: CancellationToken,
    lines: Arc<Mutex<Vec<String>>>,
    host: tokio::task::JoinHandle<Result<(), PortError>>,
    base: tempfile::TempDir,
}

const SHIM: &str = env!("CARGO_BIN_EXE_skyclaw-node");

fn supervisor(base: &tempfile::TempDir, shim: &str) -> Supervisor {
    let config = SupervisorConfig {
        shim: Some(shim.into()),
        allowed: vec!["sh".into()],
        work_root: Some(base.path().into()),
        environment: vec![("PATH".into(), std::env::var("PATH").unwrap())],
        ..SupervisorConfig::default()
    };
    Supervisor::new(config).unwrap()
}

fn spec(max_parallel: usize) -> HostSpec {
    HostSpec {
        id: None,
        name: "n".into(),
        capabilities: vec!["shell".into()],
        max_parallel,
        openclaw: None,
    }
}

impl Bench {
    fn start(max_parallel: usize, script: impl FnOnce(&Fake)) -> Self {
        Self::with_shim(SHIM, max_parallel, script)
    }

    fn with_shim(shim: &str, max_parallel: usize, script: impl FnOnce(&Fake)) -> Self {
        let fake = Arc::new(Fake::default());
        script(&fake);
        let base = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&base, shim);
        let stop = CancellationToken::new();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let config = HostConfig {
            poll: Duration::from_millis(50),
            heartbeat: Duration::from_millis(50),
            grace: Duration::from_millis(200),
            farewell: Duration::from_secs(1),
            announce: Announcer::new(move |line| heard.lock().unwrap().push(line.into())),
            ..HostConfig::new(spec(max_parallel))
        };
        let (coordinator, token) = (Arc::clone(&fake), stop.clone());
        let host =
            tokio::spawn(async move { run(config, &*coordinator, &supervisor, token).await });
        Self { fake, stop, lines, host, base }
    }

    async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let start = Instant::now();
        while !self.fake.with(|state| holds(state)) {
            assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn finish(self) -> Arc<Fake> {
        self.stop.cancel();
        self.host.await.unwrap().unwrap();
        self.fake
    }
}

fn unavailable() -> PortError {
    PortError::Unavailable("fetch failed".into())
}

/// D18 D41.
#[tokio::test]
async fn a_job_is_claimed_run_and_reported_with_the_lines_of_the_original() {
    let bench = Bench::start(1, |fake| fake.enqueue(1, "echo hi; exit 4"));
    bench.until("the result is taken", |state| state.done.len() == 1).await;
    let lines = bench.lines.lock().unwrap().clone();
    let expected = [
        "[skyclaw] host registered: minted (n)",
        "[skyclaw] running job_1 (shell)",
        "[skyclaw] completed job_1: failed",
    ];
    assert_eq!(lines, expected);
    let fake = bench.finish().await;
    let done = fake.with(|state| state.done.remove(0));
    let done = done.completion;
    assert_eq!((done.host.as_str(), done.job, done.attempt), ("minted", id(1), Some(1)));
    assert_eq!((done.exit_code, done.stdout.as_deref()), (Some(4), Some("hi\n")));
}

#[tokio::test]
async fn as_many_jobs_run_at_once_as_the_host_takes_and_heartbeats_name_them() {
    let start = Instant::now();
    let bench = Bench::start(4, |fake| (1..=5).for_each(|n| fake.enqueue(n, "sleep 1")));
    bench.until("four run", |state| state.beats.iter().any(|jobs| jobs.len() == 4)).await;
    bench.until("four are done", |state| state.done.len() == 4).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    bench.until("the fifth is done", |state| state.done.len() == 5).await;
    bench.until("none is left", |state| state.beats.last().is_some_and(Vec::is_empty)).await;
    assert!(bench.fake.with(|state| state.beats.iter().all(|jobs| jobs.len() <= 4)));
}

/// F25.
#[tokio::test]
async fn a_forgotten_host_registers_under_its_id_and_keeps_what_runs() {
    let bench = Bench::start(1, |fake| fake.enqueue(1, "sleep 0.5; echo on"));
    bench.until("it runs", |state| state.beats.iter().any(|jobs| jobs.len() == 1)).await;
    bench.fake.with(|state| state.registered = false);
    bench.until("the result is taken", |state| state.done.len() == 1).await;
    let fake = bench.finish().await;
    fake.with(|state| {
        assert_eq!(state.done[0].completion.stdout.as_deref(), Some("on\n"));
        assert_eq!(state.registrations.len(), 2);
        assert_eq!(state.registrations[1].id, Some(HostId::new("minted").unwrap()));
    });
}

/// F09 F19.
#[tokio::test]
async fn a_result_is_offered_until_it_is_taken_and_blocks_no_other_slot() {
    let bench = Bench::start(2, |fake| {
        fake.enqueue(1, "exit 0");
        fake.with(|state| state.replies.extend([unavailable(), unavailable(), unavailable()]));
    });
    bench.until("it was offered", |state| !state.offers.is_empty()).await;
    bench.fake.enqueue(2, "exit 0");
    bench.until("both are done", |state| state.done.len() == 2).await;
    let fake = bench.finish().await;
    fake.with(|state| {
        let keys: Vec<_> = state
            .offers
            .iter()
            .filter(|offer| offer.completion.job == id(1))
            .map(|o| &o.key)
            .collect();
        assert!(keys.len() > 1 && keys.windows(2).all(|pair| pair[0] == pair[1]));
    });
}

#[tokio::test]
async fn a_lost_lease_frees_the_slot() {
    let bench = Bench::start(1, |fake| {
        fake.enqueue(1, "exit 0");
        fake.enqueue(2, "exit 0");
        let text = "job job_1 is not leased".into();
        let lost = PortError::Refused { status: 500, text, unanimous: true };
        fake.with(|state| state.replies.push_back(lost));
    });
    bench.until("the next is done", |state| state.done.len() == 1).await;
    let fake = bench.finish().await;
    fake.with(|state| {
        assert_eq!((state.offers.len(), state.done[0].completion.job.clone()), (2, id(2)))
    });
}

#[tokio::test]
async fn a_result_that_is_too_large_is_replaced_by_one_that_says_so() {
    let bench = Bench::start(1, |fake| {
        fake.enqueue(1, "echo much");
        let large = PortError::Refused { status: 413, text: "too large".into(), unanimous: true };
        fake.with(|state| state.replies.push_back(large));
    });
    bench.until("it is done", |state| state.done.len() == 1).await;
    let fake = bench.finish().await;
    let told = fake.with(|state| state.done[0].completion.clone());
    assert_eq!((told.success, told.stdout.as_deref()), (false, Some("")));
    assert_eq!(told.error.as_deref(), Some("the result was refused (413): too large"));
}

#[tokio::test]
async fn a_coordinator_can_end_a_job() {
    let bench = Bench::start(1, |fake| fake.enqueue(1, "sleep 60"));
    bench.until("it runs", |state| state.beats.iter().any(|jobs| jobs.len() == 1)).await;
    bench.fake.with(|state| state.end.push((id(1), StopReason::LeaseLost)));
    bench.until("it is done", |state| state.done.len() == 1).await;
    let error = bench.fake.with(|state| state.done[0].completion.error.clone());
    assert_eq!(error.as_deref(), Some("lease lost: job terminated"));
}

/// F19.
#[tokio::test]
async fn poison_jobs_are_reported_and_wedge_nothing() {
    let bench = Bench::start(1, |fake| {
        for payload in [json!({"kind": "shell", "command": "sh", "args": {}}), Value::Null] {
            let job = ClaimedJob {
                id: id(9),
                attempt: 1,
                lease: None,
                term: None,
                route: None,
                payload,
                spec: None,
            };
            fake.with(|state| state.queue.push_back(job));
        }
        fake.enqueue(1, "exit 0");
    });
    bench.until("all are done", |state| state.done.len() == 3).await;
    let ok = bench
        .fake
        .with(|state| state.done.iter().map(|done| done.completion.success).collect::<Vec<_>>());
    assert_eq!(ok, [false, false, true]);
}

#[tokio::test]
async fn a_stopping_host_claims_no_more_ends_its_jobs_and_reports_them() {
    let bench = Bench::start(2, |fake| fake.enqueue(1, "trap '' TERM; sleep 60"));
    bench.until("it runs", |state| state.beats.iter().any(|jobs| jobs.len() == 1)).await;
    let start = Instant::now();
    let fake = bench.finish().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    fake.with(|state| {
        let error = state.done[0].completion.error.as_deref();
        assert_eq!(error, Some("host stopped: job terminated"));
    });
}

#[tokio::test]
async fn a_stopping_host_does_not_wait_for_ever_for_a_coordinator() {
    let bench = Bench::start(1, |fake| {
        fake.enqueue(1, "sleep 60");
        fake.with(|state| state.replies.extend((0..1000).map(|_| unavailable())));
    });
    bench.until("it runs", |state| state.beats.iter().any(|jobs| jobs.len() == 1)).await;
    let start = Instant::now();
    bench.finish().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_failing_first_registration_is_the_hosts_end() {
    let fake = Fake::default();
    fake.with(|state| state.refuses_registration = true);
    let base = tempfile::tempdir().unwrap();
    let config = HostConfig::new(spec(1));
    let ended = run(config, &fake, &supervisor(&base, SHIM), CancellationToken::new()).await;
    assert_eq!(ended.unwrap_err().to_string(), "fetch failed");
}

#[tokio::test]
async fn a_host_that_cannot_start_jobs_leaves_them_to_others_until_it_can() {
    let bench = Bench::start(1, |_| {});
    bench.until("it claims", |state| state.claims == 1).await;
    let roots = std::fs::read_dir(bench.base.path()).unwrap();
    let root = roots.flatten().next().unwrap().path();
    std::fs::rename(&root, bench.base.path().join("away")).unwrap();
    std::fs::write(&root, "no folder").unwrap();
    (1..=3).for_each(|n| bench.fake.enqueue(n, "exit 0"));
    bench.until("one is taken", |state| state.queue.len() == 2).await;
    let beats = bench.fake.with(|state| state.beats.len());
    bench.until("it lives on", |state| state.beats.len() > beats + 4).await;
    bench.fake.with(|state| {
        assert_eq!((state.queue.len(), state.offers.len()), (2, 0), "it rests");
        assert_eq!(state.beats.last(), Some(&Vec::new()), "it does not hold the lease");
    });
    std::fs::remove_file(&root).unwrap();
    bench.until("the others are done", |state| state.done.len() == 2).await;
    let lines = bench.lines.lock().unwrap().clone();
    assert!(!lines.iter().any(|line| line.contains("completed job_1")), "{lines:?}");
    bench.finish().await.with(|state| {
        assert!(state.offers.iter().all(|offer| offer.completion.job != id(1)));
        assert!(state.done.iter().all(|done| done.completion.success));
    });
}

#[tokio::test]
async fn a_shim_that_is_missing_or_broken_is_the_hosts_fault() {
    for shim in ["/no/such/shim", "/bin/false"] {
        let bench = Bench::with_shim(shim, 1, |fake| (1..=9).for_each(|n| fake.enqueue(n, "true")));
        bench.until("a second is tried", |state| state.queue.len() == 7).await;
        // A host that stops while a job starts reports that it stopped.
        let beats = bench.fake.with(|state| state.beats.len());
        bench
            .until("it is let go of", |state| {
                state.beats.iter().skip(beats + 1).any(std::vec::Vec::is_empty)
            })
            .await;
        let fake = bench.finish().await;
        fake.with(|state| assert_eq!((state.queue.len(), state.offers.len()), (7, 0), "{shim}"));
    }
}
