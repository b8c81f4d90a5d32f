//! Hosts as processes of their own, over HTTP (D, F02, F07, F19, F25).

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Node, Original, PATIENCE, Reply, Setup, eventually, processes_with, shell};

use crate::{number, text};

/// A coordinator and a host that asks it.
fn pair(coordinator: Setup, host: impl FnOnce(Setup) -> Setup) -> (Node, Node) {
    let coordinator = coordinator.start();
    let host = host(Setup::host(&[&coordinator.url()]).env("SKYCLAW_HEARTBEAT_MS", 100)).start();
    coordinator.api.until_hosts(1);
    (coordinator, host)
}

/// D18 D40 D41 D43: what a host says of itself, and the lines the original printed.
#[test]
fn a_host_registers_runs_and_reports_with_the_original_lines() {
    let (coordinator, host) = pair(Setup::coordinator(), |host| {
        host.env("SKYCLAW_HOST_ID", " h/1 ")
            .env("SKYCLAW_HOST_NAME", "box")
            .env("SKYCLAW_CAPABILITIES", "shell,gpu")
            .env("SKYCLAW_MAX_PARALLEL", 2)
    });
    let record = coordinator.api.until_hosts(1)[0].clone();
    assert_eq!((text(&record, "id"), text(&record, "name")), ("h/1", "box"));
    let all = record["capabilities"].as_array().cloned().unwrap_or_default();
    let levels =
        |word: &serde_json::Value| word.as_str().is_some_and(|it| it.starts_with("sandbox:"));
    let own: Vec<_> = all.into_iter().filter(|word| !levels(word)).collect();
    assert_eq!(own, [json!("gpu"), json!("receipt"), json!("shell")]);
    assert_eq!(number(&record, "maxParallel"), 2);
    let id = coordinator.api.submit_shell("echo out; echo err >&2; exit 3");
    let job = coordinator.api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), text(&job, "assignedHostId")), ("failed", "h/1"));
    let result = &job["result"];
    assert_eq!((text(result, "stdout"), text(result, "stderr")), ("out\n", "err\n"));
    assert_eq!(number(result, "exitCode"), 3);
    assert!(job.get("error").is_none(), "an exit code is no error text (D3): {job}");
    eventually("the host tells of it", || {
        let said = host.process.stdout();
        let lines = [
            "[skyclaw] host registered: h/1 (box)".to_owned(),
            format!("[skyclaw] running {id} (shell)"),
            format!("[skyclaw] completed {id}: failed"),
        ];
        if lines.iter().all(|line| said.contains(line)) { Ok(()) } else { Err(said) }
    });
}

/// F02: a job of several leases runs once.
#[test]
fn a_job_longer_than_its_lease_runs_once() {
    let coordinator = Setup::coordinator().env("SKYCLAW_LEASE_MS", 500);
    let (coordinator, _a) = pair(coordinator, |host| host.env("SKYCLAW_POLL_MS", 50));
    let _b = Setup::host(&[&coordinator.url()]).env("SKYCLAW_HEARTBEAT_MS", 100).start();
    coordinator.api.until_hosts(2);
    let mark = coordinator.folder().join("ran");
    let id = coordinator.api.submit_shell(&format!("echo x >> {}; sleep 2", mark.display()));
    let job = coordinator.api.until_job_is(&id, "completed");
    assert_eq!(number(&job, "attempts"), 1);
    assert_eq!(fs::read_to_string(&mark).expect("it ran"), "x\n");
}

/// F07: as many at once as the host says.
#[test]
fn jobs_run_side_by_side() {
    let (coordinator, _host) =
        pair(Setup::coordinator(), |host| host.env("SKYCLAW_MAX_PARALLEL", 3));
    // Each job waits until all three have begun.
    let folder = coordinator.folder().display().to_string();
    let jobs: Vec<_> = (0..3)
        .map(|n| {
            coordinator.api.submit_shell(&format!(
                "touch {folder}/begun{n}; until [ $(ls {folder} | grep -c begun) = 3 ]; \
                 do sleep 0.02; done"
            ))
        })
        .collect();
    for job in &jobs {
        coordinator.api.until_job_is(job, "completed");
    }
}

/// F25: a coordinator that lost its memory is registered with again, without a restart.
#[test]
fn a_host_registers_again_at_a_coordinator_that_forgot_it() {
    let (mut coordinator, host) = pair(Setup::coordinator(), |host| {
        host.env("SKYCLAW_POLL_MS", 50).env("SKYCLAW_HOST_ID", "h1")
    });
    coordinator.kill();
    fs::remove_dir_all(coordinator.cwd().join(".skyclaw")).expect("it is there");
    coordinator.start_again();
    let id = coordinator.api.submit_shell("echo back");
    let job = coordinator.api.until_job_is(&id, "completed");
    assert_eq!(text(&job, "assignedHostId"), "h1");
    drop(host);
}

/// A coordinator that is away for a while costs no result.
#[test]
fn a_result_is_kept_while_the_coordinator_is_away() {
    let coordinator = Setup::coordinator().env("SKYCLAW_LEASE_MS", 60_000);
    let (mut coordinator, _host) = pair(coordinator, |host| host.env("SKYCLAW_POLL_MS", 50));
    let (begun, go) = (coordinator.folder().join("begun"), coordinator.folder().join("go"));
    let id = coordinator.api.submit_shell(&format!(
        "touch {}; until [ -e {} ]; do sleep 0.02; done; echo done",
        begun.display(),
        go.display()
    ));
    // Only then the host has its lease: an answer under way would be lost with the coordinator.
    eventually("it runs", || if begun.exists() { Ok(()) } else { Err("not yet".into()) });
    coordinator.kill();
    fs::write(&go, "").expect("it is writable");
    coordinator.start_again();
    let job = coordinator.api.until_job_is(&id, "completed");
    assert_eq!(number(&job, "attempts"), 1);
    assert_eq!(text(&job["result"], "stdout"), "done\n");
}

/// D24 D28 D44: coordinators are tried in order; one that is gone or refuses is passed over.
#[test]
fn a_host_fails_over_to_the_next_coordinator() {
    let away = Original::default();
    let url = away.url();
    drop(away);
    let original = Original::default();
    original.instead("/register", Reply::json(503, json!({ "error": "full" })));
    let coordinator = Setup::coordinator().start();
    let _host = Setup::host(&[&url, &original.url(), &format!("{}/", coordinator.url())]).start();
    coordinator.api.until_hosts(1);
    let id = coordinator.api.submit_shell("true");
    coordinator.api.until_job_is(&id, "completed");
}

/// D22: the first registration must work; the text says what failed.
#[test]
fn a_host_that_cannot_register_ends_with_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = Original::default();
    let url = gone.url();
    drop(gone);
    let ended = Setup::host(&[&url]).run(folder.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("[skyclaw] ") && ended.stderr.contains(&url), "{}", ended.stderr);

    let coordinator = Setup::coordinator().env("SKYCLAW_TOKEN", "right").start();
    // Several times: the refusal and the end of the host's task once raced.
    for _ in 0..8 {
        let host = Setup::host(&[&coordinator.url()]).env("SKYCLAW_TOKEN", "wrong");
        let folder = tempfile::tempdir().expect("a folder");
        let ended = host.run(folder.path());
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("unauthorized"), "{}", ended.stderr);
    }
}

/// Cancelling ends the whole tree of a running job within a heartbeat or so.
#[test]
fn cancelling_a_running_job_ends_its_tree() {
    let (coordinator, host) = pair(Setup::coordinator(), |host| host);
    let name = "cancelled_5e1f";
    let id = coordinator.api.submit_shell(&format!(
        "(setsid sh -c ': {name}; trap \"\" TERM; while :; do sleep 0.05; done' &)
         while :; do : {name}; sleep 0.05; done"
    ));
    eventually("its processes run", || {
        let count = processes_with(name).len();
        if count >= 2 { Ok(()) } else { Err(format!("{count}, {}", host.process.log_tail())) }
    });
    coordinator.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
    eventually("its processes have ended", || {
        let left = processes_with(name);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(text(&coordinator.api.job(&id), "status"), "failed");
    // The slot is free again.
    let next = coordinator.api.submit_shell("true");
    coordinator.api.until_job_is(&next, "completed");
}

/// A killed host's job goes to another once its lease is over; nothing of it runs on.
#[test]
fn the_job_of_a_killed_host_runs_elsewhere() {
    let coordinator = Setup::coordinator().env("SKYCLAW_LEASE_MS", 700);
    let (coordinator, mut died) = pair(coordinator, |host| host.env("SKYCLAW_HOST_ID", "died"));
    let name = "moved_20ce";
    let mark = coordinator.folder().join("second");
    let id = coordinator.api.submit_shell(&format!(
        "if [ -e {0} ]; then echo moved; exit 0; fi; touch {0}; while :; do : {name}; sleep 0.05; done",
        mark.display()
    ));
    eventually("it runs", || if mark.exists() { Ok(()) } else { Err(died.process.log_tail()) });
    died.kill();
    eventually("nothing of it runs", || {
        let left = processes_with(name);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let _next = Setup::host(&[&coordinator.url()]).env("SKYCLAW_HOST_ID", "next").start();
    let job = coordinator.api.until_job_is(&id, "completed");
    assert_eq!((text(&job, "assignedHostId"), number(&job, "attempts")), ("next", 2));
    assert_eq!(text(&job["result"], "stdout"), "moved\n");
}

/// F39: huge intervals do not spin.
#[test]
fn huge_intervals_do_not_spin() {
    let original = Original::default();
    let _host = Setup::host(&[&original.url()])
        .env("SKYCLAW_HEARTBEAT_MS", 3_000_000_000_u64)
        .env("SKYCLAW_POLL_MS", 3_000_000_000_u64)
        .start();
    eventually("the first claim came", || {
        let count = original.server.received_at("/claim").len();
        if count > 0 { Ok(()) } else { Err("none".into()) }
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(original.server.received_at("/heartbeat").len(), 0);
    assert_eq!(original.server.received_at("/claim").len(), 1);
}

/// At an original coordinator a host polls at its interval, and claims at once after a job.
#[test]
fn an_original_coordinator_is_polled_at_the_interval() {
    let original = Original::default();
    let _host = Setup::host(&[&original.url()])
        .env("SKYCLAW_POLL_MS", 200)
        .env("SKYCLAW_HEARTBEAT_MS", 150)
        .start();
    eventually("some claims came", || {
        let count = original.server.received_at("/claim").len();
        if count >= 6 { Ok(()) } else { Err(count.to_string()) }
    });
    let claims = original.server.received_at("/claim");
    for pair in claims.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= Duration::from_millis(180), "{pause:?}");
    }
    let beats = original.server.received_at("/heartbeat");
    assert!(beats.len() >= 3, "{}", beats.len());
    assert_eq!(beats[0].body["activeLeases"], json!(0));
    assert_eq!(claims[0].header("content-type"), Some("application/json"));

    for n in 0..5 {
        original.enqueue(&format!("job_{n}"), &shell("echo hi")["payload"]);
    }
    let done = eventually("all are reported", || {
        let done = original.completions();
        if done.len() == 5 { Ok(done) } else { Err(format!("{done:?}")) }
    });
    assert_eq!(done[0]["job"], "job_0");
    assert_eq!((&done[0]["success"], &done[0]["exitCode"]), (&json!(true), &json!(0)));
    assert_eq!((&done[0]["stdout"], done[0].get("error")), (&json!("hi\n"), None));
}

/// F25 the other way round: an original coordinator that was restarted empty.
#[test]
fn a_forgetful_original_coordinator_is_registered_with_again() {
    let original = Original::default();
    let _host = Setup::host(&[&original.url()])
        .env("SKYCLAW_POLL_MS", 50)
        .env("SKYCLAW_HEARTBEAT_MS", 50)
        .start();
    original.forget();
    eventually("it registers again", || {
        let count = original.server.received_at("/register").len();
        if count >= 2 { Ok(()) } else { Err(count.to_string()) }
    });
    original.enqueue("job_1", &shell("true")["payload"]);
    eventually("it works", || {
        let done = original.completions();
        if done.is_empty() { Err("nothing".into()) } else { Ok(()) }
    });
}

/// F19: a completion that got no answer is offered again; one job is one report.
#[test]
fn a_completion_whose_answer_was_lost_is_offered_again() {
    let original = Original::default();
    let _host = Setup::host(&[&original.url()]).env("SKYCLAW_POLL_MS", 50).start();
    original.instead("/complete", Reply::hang_up());
    original.instead("/complete", Reply::json(500, json!({ "error": "database is locked" })));
    original.enqueue("job_1", &shell("true")["payload"]);
    original.enqueue("job_2", &shell("true")["payload"]);
    eventually("both are reported", || {
        let done = original.completions();
        if done.len() == 2 { Ok(()) } else { Err(format!("{done:?}")) }
    });
    assert_eq!(original.server.received_at("/complete").len(), 4);
}

/// A coordinator that accepts and stays silent does not hold up the jobs of a host for ever.
#[test]
fn a_slow_coordinator_gets_its_answer_later() {
    let original = Original::default();
    let _host = Setup::host(&[&original.url()]).env("SKYCLAW_POLL_MS", 50).start();
    let slow = Reply::json(200, json!({ "job": null })).after(Duration::from_secs(2));
    original.instead("/claim", slow);
    original.enqueue("job_1", &shell("true")["payload"]);
    let begun = Instant::now();
    eventually("it is reported", || {
        let done = original.completions();
        if done.is_empty() { Err("nothing".into()) } else { Ok(()) }
    });
    assert!(begun.elapsed() < PATIENCE);
}
