//! Runs that follow each other under one shim: the next one finds nothing of the one before, and whatever
//! was not as usual is followed by nobody.

use serde_json::{Value, json};
use skyclaw_tests::{Node, eventually, processes_with};

use super::{Who, kept, run, stdout};
use crate::text;

const LEVELS: [&str; 2] = ["basic", "landlock"];

fn node(level: &str) -> Node {
    let node = kept(level, Who::Root).start();
    node.api.until_hosts(1);
    node
}

/// The shim of a run that ends as most do.
fn usual(node: &Node) -> u32 {
    let job = run(node, "echo $PPID");
    stdout(&job).trim().parse().unwrap_or_else(|_| unreachable!("{job}"))
}

/// Until runs follow each other under one shim: a machine that is busy may let a short one take long.
fn followed(node: &Node) -> u32 {
    eventually("a run follows another under its shim", || {
        let shims = [usual(node), usual(node)];
        if shims[0] == shims[1] { Ok(shims[0]) } else { Err(format!("{shims:?}")) }
    })
}

fn job(node: &Node, payload: Value) -> Value {
    let submitted = node.api.submit(&json!({ "payload": payload }));
    node.api.until_job_ended(text(&submitted, "id"))
}

/// Everything that it can be asked for: environment, arguments, open files, folders, processes, its user,
/// its groups, limits and priority, and what the kernel shows of the shim.
#[test]
fn a_run_finds_nothing_of_the_one_before_it_under_its_shim() {
    if !Who::Root.can_be() {
        return;
    }
    for level in LEVELS {
        let node = node(level);
        let look = "echo $PPID; id -u; env; echo args: \"$@\"; ls -l /proc/self/fd | grep -c socket; \
                    find . $HOME $TMPDIR -mindepth 1; nice; ulimit -c; umask; \
                    for g in memory pids cpu; do wc -l < /sys/fs/cgroup/$g/skyclaw-run-$PPID/cgroup.procs; \
                    done 2>/dev/null | sort -u | tr '\\n' ' '; echo; \
                    for f in environ mem maps fd/0; do cat /proc/$PPID/$f >/dev/null 2>&1 && echo seen $f; done; \
                    exit 0";
        let told = |name: &str| {
            let before = "renice -n 7 -p $$ >/dev/null 2>&1; ulimit -n 64; umask 0; \
                          for d in . $HOME $TMPDIR; do echo planted-in-file > $d/planted; done; echo $PPID; id -u";
            let first = job(
                &node,
                json!({ "kind": "shell", "command": "sh", "args": ["-c", before, "sh", "planted-in-args"],
                        "env": { "PLANTED": "planted-in-env" } }),
            );
            let second = job(
                &node,
                json!({ "kind": "shell", "command": "sh", "args": ["-c", look, "sh", name] }),
            );
            let ids =
                |job: &Value| stdout(job).lines().take(2).map(str::to_owned).collect::<Vec<_>>();
            (ids(&first), ids(&second), second)
        };
        let (first, second, said) = eventually("they have one shim", || {
            let (first, second, said) = told("own");
            if first[0] == second[0] { Ok((first, second, said)) } else { Err(said.to_string()) }
        });
        assert_ne!(first[1], second[1], "{level}: each has a user of its own");
        let out = stdout(&said);
        assert_eq!(text(&said, "status"), "completed", "{level}: {said}");
        assert!(out.contains("args: own\n"), "{level}: {out}");
        for of_before in ["planted", "PLANTED", "seen "] {
            assert!(!out.contains(of_before), "{level}: {of_before} in {out}");
        }
        let after = out.split("args: own\n").nth(1).unwrap_or_default();
        // No socket; nothing in its folders; priority, core files and mask as ever.
        assert!(after.starts_with("0\n0\n0\n0022\n"), "{level}: {out}");
    }
}

/// Stopped by a signal, with a process left behind, over its time, or long: its shim keeps no other.
#[test]
fn what_did_not_end_as_most_do_is_followed_by_nobody() {
    if !Who::Root.can_be() {
        return;
    }
    for level in LEVELS {
        let node = node(level);
        followed(&node);
        let odd = |script: &str| {
            let job = job(
                &node,
                json!({ "kind": "shell", "command": "sh", "args": ["-c", script], "timeoutMs": 1000 }),
            );
            let shim = stdout(&job).lines().next().and_then(|line| line.parse::<u32>().ok());
            let shim = shim.unwrap_or_else(|| unreachable!("{level}: {script}: {job}"));
            for _ in 0..3 {
                assert_ne!(usual(&node), shim, "{level}: {script}");
            }
            eventually("its shim is gone", || {
                if lives(shim) { Err(shim.to_string()) } else { Ok(()) }
            });
        };
        odd("echo $PPID; kill -9 $$");
        odd("echo $PPID; setsid sleep 4243.5 >/dev/null 2>&1 & exit 0");
        assert!(processes_with("4243.5").is_empty(), "{level}");
        odd("echo $PPID; sleep 60");
        odd("echo $PPID; sleep 0.3");
        // An exit code is the run's own affair.
        eventually("a run follows one that failed", || {
            let failed = run(&node, "echo $PPID; exit 3");
            let next = usual(&node).to_string();
            if stdout(&failed).trim() == next { Ok(()) } else { Err(next) }
        });
    }
}

fn lives(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

/// Under a shim that has kept others, too.
#[test]
fn a_node_that_is_killed_takes_along_what_follows_another_run() {
    if !Who::Root.can_be() {
        return;
    }
    let mut node = node("basic");
    let shim = eventually("a long run follows others", || {
        let shim = followed(&node);
        let script = "setsid sh -c 'trap \"\" TERM; sleep 4244.5' & sleep 4244.5";
        let id = node.api.submit_shell(script);
        let all = eventually("it runs", || {
            let all = processes_with("4244.5");
            if all.len() >= 3 { Ok(all) } else { Err(format!("{all:?}")) }
        });
        if all.into_iter().any(|pid| parent(pid) == Some(shim)) {
            return Ok(shim);
        }
        // It came to another one, on a machine that is busy.
        node.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
        eventually("it is ended", || {
            let left = processes_with("4244.5");
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        Err(shim.to_string())
    });
    node.kill();
    eventually("nothing of it is left", || {
        let (left, shim) = (processes_with("4244.5"), lives(shim));
        if left.is_empty() && !shim { Ok(()) } else { Err(format!("{left:?}, shim: {shim}")) }
    });
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Runs that share their user with the shim, or whose shim has made a namespace, have one each.
#[test]
fn where_a_run_could_reach_its_shim_it_is_followed_by_nobody() {
    if !Who::Ordinary.can_be() {
        return;
    }
    let node = kept("basic", Who::Ordinary).start();
    node.api.until_hosts(1);
    let mut shims: Vec<_> = (0..4).map(|_| usual(&node)).collect();
    shims.dedup();
    assert_eq!(shims.len(), 4, "{shims:?}");
}

/// As many wait as jobs came at once, but not for long.
#[test]
fn on_a_host_with_nothing_to_do_one_shim_waits() {
    if !Who::Root.can_be() {
        return;
    }
    let node = node("basic");
    let shims = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.process.pid()));
        let children = tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.map(|all| all.split_whitespace().count()).sum::<usize>()
    };
    eventually("more than one waits", || {
        let jobs: Vec<_> = (0..8).map(|_| node.api.submit_shell("sleep 0.02")).collect();
        jobs.iter().for_each(|job| drop(node.api.until_job_ended(job)));
        let waiting = shims();
        if waiting > 1 { Ok(()) } else { Err(waiting.to_string()) }
    });
    assert!(shims() <= 5, "{} for four at once", shims());
    eventually("one is left", || {
        let waiting = shims();
        if waiting == 1 { Ok(()) } else { Err(waiting.to_string()) }
    });
    assert_eq!(text(&run(&node, "true"), "status"), "completed");
}
