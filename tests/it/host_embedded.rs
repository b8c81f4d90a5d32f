//! A host inside a coordinator, and what every host does with a job (D, F14-F19).

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, Setup, can, eventually, processes_with, shell};

use crate::{number, text};

fn node() -> Node {
    let node = Setup::both()
        .env("SKYCLAW_TOKEN", "node-secret")
        .env("SKYCLAW_MAX_PARALLEL", 4)
        .env("SKYCLAW_MAX_OUTPUT_BYTES", 1000)
        .env("SKYCLAW_OPENCLAW_COMMAND", "printf")
        .foreign_env("LANG", "C.UTF-8")
        .foreign_env("LEAK", "leaked")
        .start();
    node.api.until_hosts(1);
    node
}

/// Runs a job to its end.
#[track_caller]
fn run(node: &Node, body: &Value) -> Value {
    let job = node.api.submit(body);
    node.api.until_job_ended(text(&job, "id"))
}

#[track_caller]
fn run_shell(node: &Node, script: &str) -> Value {
    run(node, &shell(script))
}

#[track_caller]
fn payload(node: &Node, payload: Value) -> Value {
    run(node, &json!({ "payload": payload }))
}

/// Readme: one command starts a node that takes jobs and runs them.
#[test]
fn a_node_runs_what_it_takes() {
    let node = Setup::new("coordinator,host").start();
    let id = node.api.submit_shell("echo hello");
    let job = node.api.until_job_is(&id, "completed");
    assert_eq!(text(&job["result"], "stdout"), "hello\n");
    assert!(number(&job["result"], "exitCode") == 0 && job["result"]["durationMs"].is_number());
    let said = node.process.stdout();
    assert!(said.contains("[skyclaw] host registered: "), "{said}");
}

/// The shim for the next job is started before that job is there; one that died is replaced.
#[test]
fn the_next_jobs_shim_waits_for_it_and_may_die() {
    let mut node = node();
    let children = |pid: u32| {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        // A shim is started by any of the node's threads.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let all = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        all.chain([text])
            .flat_map(|text| {
                text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
            })
            .collect::<std::collections::BTreeSet<i32>>()
    };
    let pid = node.process.pid();
    for _ in 0..2 {
        let waiting = eventually("a shim waits", || {
            let all = children(pid);
            all.first().copied().filter(|_| all.len() == 1).ok_or_else(|| format!("{all:?}"))
        });
        let waiting = rustix::process::Pid::from_raw(waiting).expect("a process has a number");
        rustix::process::kill_process(waiting, rustix::process::Signal::KILL).expect("it is ours");
        eventually("it is gone", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", waiting.as_raw_nonzero()));
            let gone = stat.map_or(true, |stat| stat.contains(") Z"));
            if gone { Ok(()) } else { Err("it lives".to_owned()) }
        });
        assert_eq!(run_shell(&node, "echo on")["result"]["stdout"], "on\n");
    }
    assert_eq!(node.stop().code, Some(0));
}

/// As in a container whose first process was started from a shell outside: session and group of
/// the node have no number there. Needs root and `unshare`.
#[test]
fn a_node_whose_session_began_outside_its_pid_namespace_ends_what_jobs_leave() {
    if !can(&[Need::Root, Need::Tool("unshare")]) {
        return;
    }
    let node = Setup::both()
        .under(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .start();
    node.api.until_hosts(1);
    let mark = node.folder().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 4242.75' & \
         while ! [ -s {0} ]; do :; done; kill -9 $PPID; sleep 60",
        mark.display()
    );
    let job = run_shell(&node, &script);
    let lost = "the job's supervisor was killed; what the job left was ended";
    assert_eq!((text(&job, "status"), text(&job, "error")), ("failed", lost));
    assert!(processes_with("4242.75").is_empty());
    assert_eq!(run_shell(&node, "echo on")["result"]["stdout"], "on\n");
}

/// D3-D5 D11: exit codes, signals, what cannot be started, what is not allowed.
#[test]
fn exits_are_reported_as_the_original_did() {
    let node = node();
    let code = |job: &Value| job["result"]["exitCode"].clone();
    let job = run_shell(&node, "exit 7");
    assert_eq!((code(&job), job.get("error")), (json!(7), None));
    let job = run_shell(&node, "kill -9 $$");
    assert_eq!((code(&job), job.get("error")), (json!(1), None));
    let job = payload(&node, json!({ "kind": "shell", "command": "no-such-program" }));
    assert_eq!((code(&job), text(&job, "error")), (json!(1), "spawn no-such-program ENOENT"));
    let job = payload(&node, json!({ "kind": "shell", "command": "cat" }));
    assert_eq!((code(&job), text(&job, "error")), (json!(126), "command not allowed: cat"));
    let job = payload(&node, json!({ "kind": "shell", "command": "/bin/sh" }));
    assert_eq!((code(&job), text(&job, "error")), (json!(126), "command not allowed: /bin/sh"));
}

/// D12-D14: the cut, to the byte; what is not UTF-8.
#[test]
fn output_is_cut_and_repaired() {
    let node = node();
    let job = run_shell(&node, "head -c 5000 /dev/zero | tr '\\0' x; printf 'a\\377b' >&2");
    let expected = format!("{}\n[output truncated]\n", "x".repeat(980));
    assert_eq!(text(&job["result"], "stdout"), expected);
    assert_eq!(text(&job["result"], "stderr"), "a\u{fffd}b");
}

/// D9 D10, F17 F18: the timeout ends the tree; a huge one does not fire.
#[test]
fn timeouts_end_the_whole_tree_in_time() {
    let node = node();
    let mark = node.folder().join("late");
    let script = format!("(sleep 3; touch {}) & sleep 60", mark.display());
    let mut body = shell(&script);
    body["payload"]["timeoutMs"] = json!(1000);
    let begun = Instant::now();
    let job = run(&node, &body);
    assert_eq!(text(&job, "error"), "timed out after 1000ms");
    assert_eq!(number(&job["result"], "exitCode"), 1);
    let took = begun.elapsed();
    body["payload"] = shell("sleep 0.2")["payload"].clone();
    body["payload"]["timeoutMs"] = json!(3_000_000_000_u64);
    assert_eq!(text(&run(&node, &body), "status"), "completed");
    assert!(took < Duration::from_secs(3), "{took:?}");
    std::thread::sleep(Duration::from_millis(3300).saturating_sub(begun.elapsed()));
    assert!(!mark.exists(), "the grandchild went on");
}

/// F15 F16: nothing of the node's environment, nothing that loads or chooses other code.
#[test]
fn a_job_sees_no_secret_and_chooses_no_program() {
    let node = node();
    let evil = node.folder().join("evil");
    fs::create_dir(&evil).expect("it is writable");
    fs::write(evil.join("sh"), "#!/bin/sh\necho evil\n").expect("it is writable");
    let job = payload(
        &node,
        json!({
            "kind": "shell", "command": "env",
            "env": { "PATH": evil, "LD_PRELOAD": "/x.so", "BASH_ENV": "/x", "MINE": "yes" },
        }),
    );
    let out = text(&job["result"], "stdout");
    assert!(out.contains("MINE=yes\n") && out.contains("LANG=C.UTF-8\n"), "{out}");
    for word in ["node-secret", "leaked", "LD_PRELOAD", "BASH_ENV", "SKYCLAW_", "evil"] {
        assert!(!out.contains(word), "{word} in {out}");
    }
    let job = payload(
        &node,
        json!({
            "kind": "shell", "command": "sh", "args": ["-c", "echo good"], "env": { "PATH": evil },
            "cwd": evil,
        }),
    );
    assert_eq!(text(&job["result"], "stdout"), "good\n");
}

/// D6 D16 D20: openclaw jobs run the openclaw command with their arguments, without a shell.
#[test]
fn openclaw_jobs_run_the_openclaw_command() {
    let node = node();
    let job = payload(&node, json!({ "kind": "openclaw-run", "args": ["%s-%s", "$HOME b", ";c"] }));
    assert_eq!(text(&job["result"], "stdout"), "$HOME b-;c");
    let job = payload(&node, json!({ "kind": "openclaw-run" }));
    assert_eq!(text(&job["result"], "stdout"), "run", "the default argument");
}

/// A job's folder is its own and gone afterwards.
#[test]
fn a_job_leaves_nothing_on_the_disk() {
    let node = node();
    let job = run_shell(&node, "touch here; mkdir -p $HOME/x; pwd; echo $HOME; echo $TMPDIR");
    let out = text(&job["result"], "stdout").to_owned();
    assert_eq!(out.lines().count(), 3, "{out}");
    skyclaw_tests::eventually("its folders are gone", || {
        let left: Vec<_> = out.lines().filter(|dir| fs::metadata(dir).is_ok()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// F07 and load: more jobs than slots, all of them run, once each.
#[test]
fn a_burst_of_jobs_runs_to_the_last() {
    let node = node();
    let mark = node.folder().join("ran");
    let jobs: Vec<_> = (0..60)
        .map(|n| node.api.submit_shell(&format!("echo {n} >> {}", mark.display())))
        .collect();
    for job in &jobs {
        assert_eq!(number(&node.api.until_job_is(job, "completed"), "attempts"), 1);
    }
    let ran = fs::read_to_string(&mark).expect("they ran");
    assert_eq!(ran.lines().count(), jobs.len());
    skyclaw_tests::eventually("no lease is left", || {
        let leased = node.api.metric("skyclaw_jobs_leased");
        if leased == 0.0 { Ok(()) } else { Err(leased.to_string()) }
    });
}

/// A restart of a node that runs jobs itself: what it ran is lost with it and runs again.
#[test]
fn a_killed_node_runs_its_jobs_again_after_its_return() {
    let mut node = Setup::both()
        .env("SKYCLAW_LEASE_MS", 600)
        .env("SKYCLAW_HEARTBEAT_MS", 100)
        .env("SKYCLAW_HOST_ID", "self")
        .start();
    let mark = node.folder().join("second");
    let script = format!("if [ -e {0} ]; then exit 0; fi; touch {0}; sleep 600", mark.display());
    let id = node.api.submit_shell(&script);
    skyclaw_tests::eventually("it runs", || {
        if mark.exists() { Ok(()) } else { Err(node.process.log_tail()) }
    });
    node.kill();
    node.start_again();
    let job = node.api.until_job_is(&id, "completed");
    assert_eq!((text(&job, "assignedHostId"), number(&job, "attempts")), ("self", 2));
    assert_eq!(node.api.until_hosts(1).len(), 1, "it is the same host");
}

/// D8 D21: the input is empty; the result waits for the output to end.
#[test]
fn a_job_reads_nothing_and_is_done_when_its_output_ends() {
    let node = node();
    let job = run_shell(&node, "cat; (sleep 0.3; echo late) & echo early");
    assert_eq!(text(&job["result"], "stdout"), "early\nlate\n");
}

/// F17: a flood of output is cut while it comes; the node does not grow by it.
#[test]
fn a_flood_of_output_does_not_grow_the_node() {
    let node = node();
    run_shell(&node, "true");
    let before = skyclaw_tests::resident_kib(node.process.pid());
    let job = run_shell(&node, "head -c 100000000 /dev/zero; head -c 50000000 /dev/zero >&2");
    assert_eq!(text(&job, "status"), "completed", "{}", job["error"]);
    assert_eq!(text(&job["result"], "stdout").len(), 1000);
    let grown = skyclaw_tests::resident_kib(node.process.pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "grew by {grown} KiB");
}

/// F19: a payload that nobody can run is reported and the slot is free for the next.
#[test]
fn jobs_that_cannot_run_do_not_hold_up_others() {
    let node = node();
    let mut body = shell("true");
    body["payload"]["cwd"] = json!("/no/such/folder");
    for _ in 0..8 {
        let job = run(&node, &body);
        assert_eq!((text(&job, "error"), number(&job, "attempts")), ("spawn sh ENOENT", 1));
    }
    assert_eq!(text(&run_shell(&node, "true"), "status"), "completed");
}

/// A cancelled job is ended at once where the host is in the node, and its tree with it.
#[test]
fn cancelling_ends_a_job_of_the_own_host() {
    let node = node();
    let name = "own_cancelled_83ab";
    let id = node.api.submit_shell(&format!("while :; do : {name}; sleep 0.05; done"));
    skyclaw_tests::eventually("it runs", || {
        if processes_with(name).is_empty() { Err("no".into()) } else { Ok(()) }
    });
    node.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
    skyclaw_tests::eventually("it has ended", || {
        let left = processes_with(name);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(text(&node.api.job(&id), "status"), "failed");
}

/// A host without an id of its own is the same host after a restart: it goes with the node.
#[test]
fn a_restart_leaves_no_host_behind() {
    let mut node = node();
    let hosts = |node: &Node| node.api.get("/v1/hosts").ok()["hosts"].clone();
    let before = text(&hosts(&node)[0], "id").to_owned();
    node.stop();
    node.start_again();
    node.api.until_hosts(1);
    let after = hosts(&node);
    assert_eq!(after.as_array().map(Vec::len), Some(1), "{after}");
    assert_eq!(text(&after[0], "id"), before);
    let job = node.api.submit_shell("true");
    node.api.until_job_is(&job, "completed");
}
