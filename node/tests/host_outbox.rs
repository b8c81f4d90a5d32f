//! A host that measures its leases and keeps results on disk, with real processes and a real file.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::json;
use skyclaw_node::host::agent::Term;
use skyclaw_node::host::outbox::Outbox;
use skyclaw_node::host::{
    Claim, ClaimedJob, Coordinator, HostConfig, HostSpec, PortError, Pulse, Report, Route, RunOf,
    run,
};
use skyclaw_node::supervisor::{Supervisor, SupervisorConfig};
use skyclaw_node::time;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostId, JobId, NodeId};
use tokio_util::sync::CancellationToken;

/// A coordinator that grants what it has with this lease, and takes results or not.
#[derive(Default)]
struct Fake {
    jobs: Mutex<Vec<String>>,
    lease: Duration,
    takes: Mutex<bool>,
    renews: bool,
    offers: Mutex<Vec<Report>>,
}

fn silent() -> PortError {
    PortError::Unavailable("silent".into())
}

impl Coordinator for Fake {
    fn register(&self, _spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        Box::pin(async { Ok(HostId::new("h").unwrap()) })
    }

    fn heartbeat(
        &self,
        _host: HostId,
        _running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        Box::pin(async { Ok(Pulse::default()) })
    }

    fn claim(
        &self,
        _host: HostId,
        _most: usize,
        wait: Duration,
        _without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        Box::pin(async move {
            let Some(script) = self.jobs.lock().unwrap().pop() else {
                tokio::time::sleep(wait).await;
                return Ok(Claim { jobs: Vec::new(), parked: true });
            };
            let ends = Duration::from_nanos(time::now().mono.0) + self.lease;
            let job = ClaimedJob {
                id: JobId::new("job_1").unwrap(),
                attempt: 3,
                lease: None,
                term: Some(Term { ends, length: self.lease }),
                route: Some(Route { owner: NodeId([5; 32]), expires_at: Wall(u64::MAX) }),
                payload: json!({"kind": "shell", "command": "sh", "args": ["-c", script]}),
                spec: None,
            };
            Ok(Claim { jobs: vec![job], parked: true })
        })
    }

    fn complete(&self, report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.offers.lock().unwrap().push(report);
            if *self.takes.lock().unwrap() { Ok(()) } else { Err(silent()) }
        })
    }

    fn renew(&self, _run: RunOf) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move { if self.renews { Ok(()) } else { Err(silent()) } })
    }
}

/// Runs a host on the file at `path` until `holds`; then stops it and closes the file.
async fn live(fake: &Arc<Fake>, path: &Path, what: &str, holds: impl Fn() -> bool) {
    let base = tempfile::tempdir().unwrap();
    let options = skyclaw_store::Options::new([1; 32]);
    let (outbox, _, thread) = Outbox::open(path.to_owned(), options).unwrap();
    let supervisor = Supervisor::new(SupervisorConfig {
        shim: Some(env!("CARGO_BIN_EXE_skyclaw-node").into()),
        allowed: vec!["sh".into()],
        work_root: Some(base.path().into()),
        environment: vec![("PATH".into(), std::env::var("PATH").unwrap())],
        ..SupervisorConfig::default()
    });
    let spec = HostSpec {
        id: None,
        name: "n".into(),
        capabilities: Vec::new(),
        max_parallel: 1,
        openclaw: None,
    };
    let config = HostConfig {
        farewell: Duration::from_millis(500),
        outbox: Some(outbox),
        ..HostConfig::new(spec)
    };
    let stop = CancellationToken::new();
    let (coordinator, token) = (Arc::clone(fake), stop.clone());
    let host =
        tokio::spawn(async move { run(config, &*coordinator, &supervisor.unwrap(), token).await });
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    host.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || thread.join()).await.unwrap();
}

fn waiting(path: &Path) -> usize {
    let options = skyclaw_store::Options::new([1; 32]);
    skyclaw_store::Outbox::open(path, &options).unwrap().outbox.list().unwrap().len()
}

#[tokio::test]
async fn a_result_that_nobody_takes_waits_on_disk_and_is_handed_in_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let fake = Arc::new(Fake {
        jobs: Mutex::new(vec!["echo hi; exit 4".into()]),
        lease: Duration::from_secs(30),
        ..Fake::default()
    });
    let offers = || fake.offers.lock().unwrap().len();
    live(&fake, &path, "it is offered twice", || offers() >= 2).await;
    assert_eq!(waiting(&path), 1);
    *fake.takes.lock().unwrap() = true;
    let before = offers();
    live(&fake, &path, "it is offered again", || offers() > before).await;
    assert_eq!(waiting(&path), 0);
    let offers = fake.offers.lock().unwrap();
    let (first, last) = (offers.first().unwrap(), offers.last().unwrap());
    assert_eq!((last.completion.attempt, last.route), (Some(3), first.route));
    let told = &last.completion;
    assert_eq!((told.exit_code, told.stdout.as_deref()), (Some(4), Some("hi\n")));
}

#[tokio::test]
async fn a_run_that_is_not_renewed_is_gone_before_its_lease_and_one_that_is_goes_on() {
    for renews in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script =
            format!("trap '' TERM; while :; do echo x > {}; sleep 0.02; done", mark.display());
        let lease = Duration::from_secs(2);
        let fake =
            Arc::new(Fake { jobs: Mutex::new(vec![script]), lease, renews, ..Fake::default() });
        let age = || mark.metadata().and_then(|m| m.modified()).ok()?.elapsed().ok();
        let start = Instant::now();
        let over = || start.elapsed() > lease * 2;
        live(&fake, &folder.path().join("node.db"), "the lease is over", || {
            if over() {
                let idle = age().expect("it ran");
                // It ended before the lease did, which was half the time ago; or it runs.
                assert_eq!(idle >= lease, !renews, "{idle:?}");
            }
            over()
        })
        .await;
        let offers = fake.offers.lock().unwrap();
        assert_eq!(offers.is_empty(), !renews, "what was let go of is not reported");
    }
}
