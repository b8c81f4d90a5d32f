//! The original's defects in running services, each with the behaviour that takes its place.

use std::time::Duration;

use skyclaw_node::host::PortError;
use skyclaw_protocol::ServiceStatus::{Pending, Running};
use skyclaw_protocol::{HealthCheck, ServiceDef};

use crate::world::{Bench, eventually, get, id, is_gone, pid_in, server, sh};

/// F10, the host's part: what is superseded is stopped; what it was told by one that has heard
/// less stops nothing.
#[tokio::test]
async fn f10_an_instance_that_is_superseded_is_stopped_and_one_that_is_not_goes_on() {
    let bench = Bench::new();
    let pid = bench.mark("pid");
    let script = format!(
        "echo $$ > {}; exec node -e 'require(\"http\").createServer((q,a)=>a.end()).listen(process.env.PORT)'",
        pid.display()
    );
    bench.order("a", 1, sh(&script));
    bench.reported("a", Running).await;
    let pid = pid_in(&pid).await;
    // A coordinator that never heard of the service.
    let known = bench.fake.with(|script| (script.orders.clone(), script.versions.clone()));
    bench.fake.with(|script| {
        script.orders.clear();
        script.versions.clear();
    });
    let asked = bench.fake.with(|script| script.asked);
    // The question after the answer that lacks it.
    eventually("it was asked again", || bench.fake.with(|script| script.asked > asked)).await;
    assert!(!is_gone(pid));
    bench.fake.with(|script| (script.orders, script.versions) = known);
    bench.order("a", 2, server("'second'"));
    let port = bench.serving("a", 2).await;
    assert_eq!(get(port), "second");
    assert!(!is_gone(pid), "both are ordered, both run");
    bench.over("a", 1);
    eventually("the first is gone", || is_gone(pid)).await;
    assert_eq!(get(port), "second");
    assert!(bench.services.address_of(&id("a"), 1).is_none());
}

#[tokio::test]
async fn f11_and_f12_several_services_run_at_once_each_at_a_port_of_its_own() {
    let bench = Bench::new();
    let _taken = std::net::TcpListener::bind(("0.0.0.0", bench.base_port));
    for name in ["a", "b", "c"] {
        bench.order(name, 1, server("process.env.PORT"));
    }
    let mut ports = Vec::new();
    for name in ["a", "b", "c"] {
        let port = bench.serving(name, 1).await;
        assert_eq!(get(port), port.to_string());
        ports.push(port);
    }
    // One goes, another comes: nobody's port is given away.
    bench.over("a", 1);
    eventually("a is gone", || bench.services.list().len() == 2).await;
    bench.order("d", 1, server("'d'"));
    let port = bench.serving("d", 1).await;
    assert!(!ports[1..].contains(&port) && port != bench.base_port, "{port} of {ports:?}");
    assert_eq!((get(port), get(ports[1])), ("d".to_owned(), ports[1].to_string()));
}

#[tokio::test]
async fn f12_two_hosts_on_one_machine_do_not_get_in_each_others_way() {
    let first = Bench::new();
    let base = first.base_port;
    let second = Bench::with(|change| change.services.base_port = base);
    for (bench, name) in [(&first, "'one'"), (&second, "'two'")] {
        for service in ["a", "b"] {
            bench.order(service, 1, server(name));
        }
    }
    for (bench, want) in [(&first, "one"), (&second, "two")] {
        for service in ["a", "b"] {
            assert_eq!(get(bench.serving(service, 1).await), want);
        }
    }
    for bench in [&first, &second] {
        assert!(bench.reports("a").iter().all(|report| report.status == Running));
    }
}

#[tokio::test]
async fn f13_what_cannot_be_spawned_fails_with_the_reason_and_the_host_goes_on() {
    let bench = Bench::new();
    bench.order("missing", 1, ServiceDef { command: "no-such-x".into(), ..sh("") });
    bench.order("nowhere", 1, ServiceDef { cwd: Some("/no/such/dir".into()), ..sh("true") });
    bench.order("out", 1, ServiceDef { cwd: Some("../..".into()), ..sh("true") });
    let large = ServiceDef { args: vec!["x".repeat(3 << 20)], ..sh("") };
    bench.order("large", 1, large);
    bench.order("good", 1, server("'good'"));
    assert_eq!(bench.failure("missing").await, "spawn no-such-x ENOENT");
    assert_eq!(bench.failure("nowhere").await, "spawn sh ENOENT");
    assert!(bench.failure("out").await.contains("leads out of the instance's own"));
    assert_eq!(bench.failure("large").await, "spawn sh E2BIG");
    assert_eq!(get(bench.serving("good", 1).await), "good");
}

#[tokio::test]
async fn f14_a_service_is_subject_to_the_allow_list() {
    let bench = Bench::new();
    let mark = bench.mark("touched");
    let touch =
        ServiceDef { command: "touch".into(), args: vec![mark.display().to_string()], ..sh("") };
    bench.order("a", 1, touch);
    assert_eq!(bench.failure("a").await, "command not allowed: touch");
    assert!(!mark.exists());
    // Nor by a path that its environment would find.
    let own = bench.mark("bin");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("sh"), "#!/bin/bash\ntouch $MARK\n").unwrap();
    let env = vec![
        ("PATH".to_owned(), own.display().to_string()),
        ("MARK".to_owned(), mark.display().to_string()),
    ];
    bench.order("b", 1, ServiceDef { env: Some(env), ..sh("echo it was $0 >&2; exit 3") });
    assert!(bench.failure("b").await.contains("it was sh"));
    assert!(!mark.exists());
}

#[tokio::test]
async fn f16_the_environment_is_cleared_and_port_wins() {
    let bench = Bench::new();
    let env = vec![
        ("PORT".to_owned(), "1".to_owned()),
        ("GREETING".to_owned(), "hi".to_owned()),
        ("SKYCLAW_TOKEN".to_owned(), "mine".to_owned()),
    ];
    bench.order("a", 1, ServiceDef { env: Some(env), ..server("JSON.stringify(process.env)") });
    let port = bench.serving("a", 1).await;
    let env: serde_json::Value = serde_json::from_str(&get(port)).unwrap();
    assert_eq!((&env["PORT"], &env["GREETING"]), (&port.to_string().into(), &"hi".into()));
    assert_eq!(env["HOST"], "127.0.0.1");
    assert!(env.get("SKYCLAW_TOKEN").is_none(), "{env}");
}

#[tokio::test]
async fn f26_nothing_is_left_when_the_host_stops_and_it_is_said_that_it_does() {
    let mut bench = Bench::new();
    let (main, child, clean) = (bench.mark("main"), bench.mark("child"), bench.mark("clean"));
    // A grandchild in a session of its own that ignores TERM, and a main process that cleans up.
    let script = format!(
        "trap 'echo bye > {}; exit 0' TERM; echo $$ > {}; \
         setsid sh -c 'trap \"\" TERM; echo $$ > {}; while :; do sleep 1; done' & \
         node -e 'require(\"net\").createServer().listen(process.env.PORT)' & wait; wait",
        clean.display(),
        main.display(),
        child.display()
    );
    bench.order("a", 1, sh(&script));
    bench.reported("a", Running).await;
    let (main, child) = (pid_in(&main).await, pid_in(&child).await);
    bench.end().await;
    assert!(is_gone(main) && is_gone(child));
    assert_eq!(std::fs::read_to_string(clean).unwrap(), "bye\n", "it had its grace");
    let last = bench.reports("a").pop().unwrap();
    assert_eq!((last.status, last.error.as_deref()), (Pending, Some("the host is stopping")));
    let left: Vec<_> = std::fs::read_dir(bench.mark("work")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// F26: it is said to run when it answers, not when it was started.
#[tokio::test]
async fn f26_it_is_running_when_it_answers() {
    let bench = Bench::new();
    let go = bench.mark("go");
    let script = format!(
        "setInterval(() => {{ if (require('fs').existsSync('{}')) process.listen ??= \
         (require('http').createServer((q, a) => {{ \
           a.statusCode = require('fs').existsSync('{0}2') ? 404 : 500; a.end() }})\
         .listen(process.env.PORT)) }}, 10)",
        go.display()
    );
    let health = HealthCheck { path: "/ready?x=1".into(), interval_ms: 100 };
    let def = ServiceDef { health: Some(health), ..crate::world::def("node", &["-e", &script]) };
    bench.order("a", 1, def);
    eventually("it was started", || bench.services.list().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.reports("a").is_empty(), "it does not listen");
    std::fs::write(&go, "").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(bench.reports("a").is_empty(), "it answers 500");
    std::fs::write(bench.mark("go2"), "").unwrap();
    bench.reported("a", Running).await;
}

#[tokio::test]
async fn f45_an_instant_exit_is_told_also_while_reports_are_slow_to_be_taken() {
    let bench = Bench::new();
    let unavailable = || PortError::Unavailable("slow".into());
    bench.fake.with(|script| script.refuse = vec![unavailable(), unavailable()]);
    bench.order("a", 1, sh("echo why >&2; exit 7"));
    let error = bench.failure("a").await;
    assert_eq!(error, "ended 5 times in a row: service process exited with code 7: why");
    assert!(bench.reports("a").iter().all(|report| report.status != Running));
    assert!(bench.reports("a").iter().all(|report| report.epoch == Some(1)));
    // The first end is told at once, as what it is.
    bench.order("b", 1, ServiceDef { backoff_ms: Some(60_000), ..sh("exit 1") });
    let first = bench.reported("b", Pending).await;
    assert_eq!(first.error.as_deref(), Some("service process exited with code 1"));
}
