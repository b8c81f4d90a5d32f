//! A host with a coordinator that says what it is told to say.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use skyclaw_node::host::{Claim, Coordinator, HostConfig, HostSpec, PortError, Pulse, Report, run};
use skyclaw_node::services::{Bundles, NoBundles, Services, ServicesConfig};
use skyclaw_node::supervisor::{Supervisor, SupervisorConfig};
use skyclaw_protocol::orders::{Order, Orders, Over, Question};
use skyclaw_protocol::{HostId, JobId, ServiceDef, ServiceId, ServiceReport, ServiceStatus};
use tokio_util::sync::CancellationToken;

/// Ports of tests: each bench looks from another base on, so that a test may say which it gets.
static BASES: AtomicU16 = AtomicU16::new(0);

/// What a scripted coordinator knows.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) orders: BTreeMap<(ServiceId, u64), Order>,
    /// Versions of services, those of which nothing is ordered included.
    pub(crate) versions: BTreeMap<ServiceId, u64>,
    pub(crate) reports: Vec<ServiceReport>,
    /// Taken from the front by reports.
    pub(crate) refuse: Vec<PortError>,
    /// No question is answered.
    pub(crate) silent: bool,
    /// Questions do not wait.
    pub(crate) impatient: bool,
    pub(crate) asked: usize,
    pub(crate) registrations: usize,
    pub(crate) forgot: bool,
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<Script>);

impl Fake {
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

impl Coordinator for Fake {
    fn register(&self, spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        self.with(|script| {
            script.registrations += 1;
            script.forgot = false;
        });
        Box::pin(async { Ok(spec.id.unwrap()) })
    }

    fn heartbeat(
        &self,
        _host: HostId,
        _running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        let forgot = self.with(|script| script.forgot);
        Box::pin(async move {
            if forgot {
                Err(PortError::UnknownHost("unknown host: h".into()))
            } else {
                Ok(Pulse::default())
            }
        })
    }

    fn claim(
        &self,
        _host: HostId,
        _most: usize,
        _wait: Duration,
        _without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        Box::pin(std::future::pending())
    }

    fn complete(&self, _report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async { Ok(()) })
    }

    fn orders(&self, question: Question) -> BoxFuture<'_, Result<Orders, PortError>> {
        self.with(|script| script.asked += 1);
        let wait = question.wait();
        let Question { running, mark, .. } = question;
        Box::pin(async move {
            let end = Instant::now() + wait;
            loop {
                let (silent, impatient, orders) = self.with(|script| {
                    let over = running
                        .iter()
                        .filter(|id| !script.orders.keys().any(|(ordered, _)| ordered == *id));
                    let over = over.filter_map(|id| {
                        Some(Over { id: id.clone(), ver: *script.versions.get(id)? })
                    });
                    let orders = Orders {
                        orders: script.orders.values().cloned().collect(),
                        over: over.collect(),
                    };
                    (script.silent, script.impatient, orders)
                });
                if silent {
                    tokio::time::sleep(wait).await;
                    return Err(PortError::Unavailable("fetch failed".into()));
                }
                if impatient || mark != Some(orders.mark()) || Instant::now() >= end {
                    return Ok(orders);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn report_service(&self, report: ServiceReport) -> BoxFuture<'_, Result<(), PortError>> {
        let answer = self.with(|script| {
            if script.silent {
                return Err(PortError::Unavailable("fetch failed".into()));
            }
            if script.forgot {
                return Err(PortError::UnknownHost("unknown host: h".into()));
            }
            if !script.refuse.is_empty() {
                return Err(script.refuse.remove(0));
            }
            script.reports.push(report);
            Ok(())
        });
        Box::pin(async { answer })
    }
}

pub(crate) fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

/// A server of one file, in shell and node, or whatever else is here.
pub(crate) fn def(command: &str, args: &[&str]) -> ServiceDef {
    ServiceDef {
        name: "test".into(),
        command: command.into(),
        args: args.iter().map(|arg| (*arg).into()).collect(),
        replicas: 1,
        backoff_ms: Some(20),
        ..ServiceDef::default()
    }
}

pub(crate) fn sh(script: &str) -> ServiceDef {
    def("sh", &["-c", script])
}

/// Listens on `PORT` and answers each request with what `body` says, an expression of JavaScript.
pub(crate) fn server(body: &str) -> ServiceDef {
    let script = format!(
        "require('http').createServer((q, a) => a.end(String({body})))\
         .listen(process.env.PORT, process.env.HOST)"
    );
    def("node", &["-e", &script])
}

pub(crate) struct Bench {
    pub(crate) fake: Arc<Fake>,
    pub(crate) services: Services,
    pub(crate) base_port: u16,
    pub(crate) dir: tempfile::TempDir,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

pub(crate) struct Change<'a> {
    pub(crate) services: &'a mut ServicesConfig,
    pub(crate) bundles: &'a mut Arc<dyn Bundles>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(Change<'_>)) -> Self {
        // Processes of other test runs look elsewhere with luck; taken ports are passed over.
        let turn = BASES.fetch_add(1, Ordering::Relaxed);
        let pid = (std::process::id() % 500) as u16;
        let base_port = 22_000 + pid * 16 + (turn % 100) * 40;
        let dir = tempfile::tempdir().unwrap();
        let supervisor = SupervisorConfig {
            shim: Some(env!("CARGO_BIN_EXE_skyclaw-node").into()),
            allowed: ["sh", "bash", "node", "no-such-x"].map(Into::into).into(),
            work_root: Some(dir.path().join("work")),
            environment: vec![
                ("PATH".into(), std::env::var("PATH").unwrap()),
                ("SKYCLAW_TOKEN".into(), "secret".into()),
            ],
            ..SupervisorConfig::default()
        };
        let mut services = ServicesConfig {
            base_port,
            poll: Duration::from_millis(50),
            grace: Duration::from_millis(500),
            linger: Duration::ZERO,
            start_timeout: Duration::from_secs(20),
            ..ServicesConfig::default()
        };
        let mut host = HostConfig::new(HostSpec {
            id: Some(HostId::new("h").unwrap()),
            name: "h".into(),
            capabilities: vec!["service-host".into()],
            max_parallel: 1,
            openclaw: None,
        });
        host.heartbeat = Duration::from_millis(50);
        host.poll = Duration::from_millis(50);
        let mut bundles: Arc<dyn Bundles> = Arc::new(NoBundles);
        change(Change { services: &mut services, bundles: &mut bundles });
        let fake = Arc::<Fake>::default();
        let services = Services::new(services, bundles);
        host.services = Some(services.clone());
        let stop = CancellationToken::new();
        let (port, token) = (Arc::clone(&fake), stop.clone());
        let supervisor = Supervisor::new(supervisor).unwrap();
        let task = tokio::spawn(async move {
            run(host, &*port, &supervisor, token).await.unwrap();
        });
        Self { fake, services, base_port, dir, stop, task: Some(task) }
    }

    /// Orders an instance, at the next version of its service.
    pub(crate) fn order(&self, name: &str, epoch: u64, def: ServiceDef) {
        self.fake.with(|script| {
            let ver = script.versions.entry(id(name)).or_insert(0);
            *ver += 1;
            let ver = *ver;
            let order = Order { id: id(name), ver, slot: 0, epoch, generation: 1, def };
            script.orders.insert((id(name), epoch), order);
            for ((ordered, _), order) in &mut script.orders {
                if *ordered == id(name) {
                    order.ver = ver;
                }
            }
        });
    }

    /// Orders an instance no more.
    pub(crate) fn over(&self, name: &str, epoch: u64) {
        self.fake.with(|script| {
            *script.versions.get_mut(&id(name)).unwrap() += 1;
            let ver = script.versions[&id(name)];
            script.orders.remove(&(id(name), epoch));
            for ((ordered, _), order) in &mut script.orders {
                if *ordered == id(name) {
                    order.ver = ver;
                }
            }
        });
    }

    pub(crate) fn reports(&self, name: &str) -> Vec<ServiceReport> {
        let all = self.fake.with(|script| script.reports.clone());
        all.into_iter().filter(|report| report.id == id(name)).collect()
    }

    /// Waits for a report of that status, and answers it.
    pub(crate) async fn reported(&self, name: &str, status: ServiceStatus) -> ServiceReport {
        let what = format!("{name} is reported {}", status.as_str());
        let mut found = None;
        let find = || {
            found = self.reports(name).into_iter().find(|report| report.status == status);
            found.is_some()
        };
        eventually(&what, find).await;
        found.unwrap()
    }

    /// The error of the first `failed`.
    pub(crate) async fn failure(&self, name: &str) -> String {
        self.reported(name, ServiceStatus::Failed).await.error.unwrap()
    }

    /// Waits until it serves, and answers its port.
    pub(crate) async fn serving(&self, name: &str, epoch: u64) -> u16 {
        let mut port = None;
        eventually(&format!("{name} serves"), || {
            port = self.services.address_of(&id(name), epoch).map(|at| at.port());
            port.is_some()
        })
        .await;
        port.unwrap()
    }

    /// A path outside the instances' directories.
    pub(crate) fn mark(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The process id that a script wrote to a file.
pub(crate) async fn pid_in(file: &Path) -> i32 {
    let mut pid = None;
    eventually("the pid is written", || {
        pid = std::fs::read_to_string(file)
            .ok()
            .filter(|text| text.ends_with('\n'))
            .and_then(|text| text.trim().parse().ok());
        pid.is_some()
    })
    .await;
    pid.unwrap()
}

/// Gone, or dead and merely not yet reaped.
pub(crate) fn is_gone(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
        .eq(&false)
}

/// The body of a `GET /`.
pub(crate) fn get(port: u16) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text)
}
