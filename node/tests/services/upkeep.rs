//! Instances that break, are slow, get in each other's way, print, and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use skyclaw_node::host::PortError;
use skyclaw_node::services::{BundleError, Bundles, Busy};
use skyclaw_protocol::ServiceStatus::{Failed, Pending, Running};
use skyclaw_protocol::{Hash, HealthCheck, OnPartition, ServiceDef};

use crate::world::{Bench, def, eventually, get, id, is_gone, pid_in, server, sh};

/// D46.
#[tokio::test]
async fn an_instance_that_dies_is_said_to_be_down_and_comes_back() {
    let bench = Bench::new();
    bench.order("a", 1, server("process.pid"));
    let port = bench.serving("a", 1).await;
    let pid: i32 = get(port).parse().unwrap();
    let process = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    let down = bench.reported("a", Pending).await;
    assert_eq!(down.error.as_deref(), Some("service process was ended by a signal"));
    eventually("it runs again", || bench.reports("a").len() == 3).await;
    assert_eq!(bench.reports("a")[2].status, Running);
    assert_ne!(get(bench.serving("a", 1).await), pid.to_string());
}

#[tokio::test]
async fn a_crash_loop_slows_down_and_is_said_to_have_failed_until_it_serves() {
    let bench = Bench::new();
    let (starts, good) = (bench.mark("starts"), bench.mark("good"));
    let script = format!(
        "date +%s%N >> {}; [ -e {} ] || exit 1; \
         exec node -e 'require(\"net\").createServer().listen(process.env.PORT)'",
        starts.display(),
        good.display()
    );
    bench.order("a", 1, ServiceDef { backoff_ms: Some(100), ..sh(&script) });
    let begun = Instant::now();
    bench.failure("a").await;
    // 100, 200, 400 and 800 ms, a quarter less at the least.
    assert!(begun.elapsed() >= Duration::from_millis(1500 * 3 / 4), "{:?}", begun.elapsed());
    let text = std::fs::read_to_string(&starts).unwrap();
    assert_eq!(text.lines().count(), 5);
}

#[tokio::test]
async fn what_never_listens_fails_after_its_time_and_leaves_nothing() {
    let bench = Bench::with(|change| change.services.start_timeout = Duration::from_millis(400));
    let pid = bench.mark("pid");
    bench.order("a", 1, sh(&format!("echo $$ > {}; echo busy >&2; exec sleep 100", pid.display())));
    let pid = pid_in(&pid).await;
    let error = bench.failure("a").await;
    let want = format!("did not listen on port {} (PORT) within 0.4 s: busy", bench.base_port);
    assert_eq!(error, want);
    assert!(is_gone(pid));
    // One that listens but is not well says how it is not.
    let health = Some(HealthCheck { path: "/h".into(), interval_ms: 50 });
    let sick = def(
        "node",
        &[
            "-e",
            "require('http').createServer((q,a)=>{a.statusCode=503;a.end()}).listen(process.env.PORT)",
        ],
    );
    let bench = Bench::with(|change| change.services.start_timeout = Duration::from_secs(3));
    bench.order("b", 1, ServiceDef { health, ..sick });
    let error = bench.failure("b").await;
    assert_eq!(error, "did not answer GET /h well within 3 s: answered 503");
}

#[tokio::test]
async fn an_instance_that_no_longer_answers_is_started_again() {
    let bench = Bench::new();
    let script = "let n = 0; require('http').createServer((q, a) => { \
                  if (q.url == '/h' && ++n > 2) { a.statusCode = 500 } a.end(String(process.pid)) })\
                  .listen(process.env.PORT)";
    let health = Some(HealthCheck { path: "/h".into(), interval_ms: 100 });
    bench.order("a", 1, ServiceDef { health, ..def("node", &["-e", script]) });
    let first = get(bench.serving("a", 1).await);
    let down = bench.reported("a", Pending).await;
    let want = "did not answer its health check (GET /h) 3 times in a row: answered 500";
    assert_eq!(down.error.as_deref(), Some(want));
    assert_ne!(get(bench.serving("a", 1).await), first);
}

#[tokio::test]
async fn a_port_that_another_program_took_in_between_is_exchanged() {
    let bench = Bench::new();
    let mark = bench.mark("first");
    // Somebody, here this test, is quicker than the first process.
    let script = format!(
        "if [ ! -e {0} ]; then echo $PORT > {0}; while [ ! -e {0}.held ]; do sleep 0.01; done; fi; \
         exec node -e 'require(\"http\").createServer((q,a)=>a.end(process.env.PORT)).listen(process.env.PORT)'",
        mark.display()
    );
    // Its own health path: a listener that is not HTTP does not pass for it.
    let health = Some(HealthCheck { path: "/".into(), interval_ms: 1000 });
    bench.order("a", 1, ServiceDef { health, backoff_ms: Some(60_000), ..sh(&script) });
    let taken = pid_in(&mark).await as u16;
    let _held = std::net::TcpListener::bind(("0.0.0.0", taken)).unwrap();
    std::fs::write(format!("{}.held", mark.display()), "").unwrap();
    let port = bench.serving("a", 1).await;
    assert_ne!(port, taken);
    assert_eq!(get(port), port.to_string());
    let statuses: Vec<_> = bench.reports("a").iter().map(|report| report.status).collect();
    assert!(!statuses.contains(&Failed) && !statuses.contains(&Pending), "{statuses:?}");
}

#[tokio::test]
async fn it_works_in_a_directory_of_its_own_which_goes_with_it() {
    let bench = Bench::new();
    bench.order("a", 1, server("process.cwd()"));
    bench.order("b", 1, ServiceDef { cwd: Some("sub/dir".into()), ..server("process.cwd()") });
    let absolute = bench.dir.path().to_str().unwrap().to_owned();
    bench.order("c", 1, ServiceDef { cwd: Some(absolute.clone()), ..server("process.cwd()") });
    let (a, b) = (get(bench.serving("a", 1).await), get(bench.serving("b", 1).await));
    assert!(a != b && b.ends_with("/sub/dir"), "{a} {b}");
    assert_eq!(get(bench.serving("c", 1).await), absolute);
    bench.over("a", 1);
    eventually("its directory is gone", || !std::path::Path::new(&a).exists()).await;
    assert!(std::path::Path::new(&b).exists());
}

#[derive(Debug)]
struct Files(std::sync::Mutex<Vec<Result<(), BundleError>>>);

impl Bundles for Files {
    fn fetch_and_unpack<'a>(
        &'a self,
        _hash: Hash,
        into: &'a std::path::Path,
        _busy: Busy,
    ) -> BoxFuture<'a, Result<(), BundleError>> {
        let next = self.0.lock().unwrap().pop().unwrap_or(Ok(()));
        Box::pin(async move {
            assert_eq!(std::fs::read_dir(into).unwrap().count(), 0, "it is empty at first");
            let script =
                "require('http').createServer((q,a)=>a.end('unpacked')).listen(process.env.PORT)";
            std::fs::create_dir(into.join("app")).unwrap();
            std::fs::write(into.join("app/server.js"), script).unwrap();
            next
        })
    }
}

#[tokio::test]
async fn its_bundle_is_unpacked_where_it_works_and_what_fails_is_tried_again() {
    let bench = Bench::with(|change| {
        let fails = vec![Err(BundleError::Unavailable("nobody has it".into()))];
        *change.bundles = Arc::new(Files(fails.into()));
    });
    let app = ServiceDef { bundle: Some(Hash([7; 32])), ..def("node", &["server.js"]) };
    bench.order("a", 1, ServiceDef { cwd: Some("app".into()), ..app.clone() });
    let port = bench.serving("a", 1).await;
    assert_eq!(get(port), "unpacked");
    let first = bench.reports("a").remove(0);
    assert_eq!(first.error.as_deref(), Some("its bundle cannot be fetched: nobody has it"));
    bench.order("b", 1, ServiceDef { cwd: Some("none".into()), ..app });
    assert_eq!(bench.failure("b").await, "there is no directory none in its bundle");
}

#[tokio::test]
async fn without_a_store_of_bundles_it_says_so() {
    let bench = Bench::new();
    bench.order("a", 1, ServiceDef { bundle: Some(Hash([7; 32])), ..sh("true") });
    assert!(bench.failure("a").await.contains("it has no store of bundles"));
}

#[tokio::test]
async fn a_service_that_prints_for_ever_takes_a_bounded_piece_of_memory() {
    let bench = Bench::with(|change| change.services.log_bytes = 64 << 10);
    let script = "setInterval(() => { for (let i = 0; i < 2000; i++) console.log('line', i) }, 1); \
                  require('net').createServer().listen(process.env.PORT)";
    bench.order("a", 1, def("node", &["-e", script]));
    bench.serving("a", 1).await;
    let mut follow = bench.services.logs(&id("a"), Some(1), 0, true);
    for _ in 0..5000 {
        let entry = follow.next().await.unwrap();
        assert_eq!(entry.epoch, 1);
        let log = &bench.services.list()[0].log;
        assert!(log.bytes() <= 64 << 10);
    }
    bench.over("a", 1);
    // Whoever follows it is told its end.
    while follow.next().await.is_some() {}
}

#[tokio::test]
async fn reports_are_offered_until_they_are_taken_and_again_after_the_host_was_forgotten() {
    let bench = Bench::new();
    let lost = || PortError::Unavailable("fetch failed".into());
    bench.fake.with(|script| script.refuse = vec![lost(), lost()]);
    bench.order("a", 1, server("1"));
    bench.reported("a", Running).await;
    assert_eq!(bench.reports("a").len(), 1);
    bench.fake.with(|script| script.forgot = true);
    eventually("it registers again", || bench.fake.with(|script| script.registrations == 2)).await;
    eventually("it is reported again", || bench.reports("a").len() == 2).await;
    assert_eq!(bench.reports("a")[1].status, Running);
}

/// D25 D26.
#[tokio::test]
async fn a_public_url_makes_an_endpoint() {
    let bench = Bench::with(|change| {
        change.services.public_base_url = Some("http://h.example/".into());
    });
    bench.order("a", 1, server("1"));
    let report = bench.reported("a", Running).await;
    let port = bench.serving("a", 1).await;
    assert_eq!(report.endpoint, Some(format!("http://h.example:{port}")));
}

/// D40.
#[tokio::test]
async fn a_coordinator_that_holds_no_questions_is_asked_at_the_pace_of_polls() {
    let bench = Bench::new();
    bench.fake.with(|script| script.impatient = true);
    bench.order("a", 1, server("1"));
    bench.serving("a", 1).await;
    let before = bench.fake.with(|script| script.asked);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let asked = bench.fake.with(|script| script.asked) - before;
    assert!((5..=21).contains(&asked), "{asked}");
}

#[tokio::test]
async fn without_a_coordinator_an_instance_goes_on_or_is_stopped_in_time_as_it_says() {
    let bench = Bench::new();
    bench.order("keep", 1, server("process.pid"));
    let stop = ServiceDef { on_partition: OnPartition::Stop, ..server("process.pid") };
    bench.order("stop", 1, stop);
    let keep = bench.serving("keep", 1).await;
    let pid: i32 = get(bench.serving("stop", 1).await).parse().unwrap();
    let kept = get(keep);
    // Answers come often enough that none is missed without a partition.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!is_gone(pid));
    bench.fake.with(|script| script.silent = true);
    let begun = Instant::now();
    eventually("it is stopped", || is_gone(pid)).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(9), "{took:?}");
    assert_eq!(get(keep), kept);
    assert!(bench.services.address_of(&id("stop"), 1).is_none());
    bench.fake.with(|script| script.silent = false);
    let again = get(bench.serving("stop", 1).await);
    assert_ne!(again, pid.to_string());
    assert_eq!(get(keep), kept);
}
