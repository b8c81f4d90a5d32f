//! Jobs that take all they can get, beside one that must not notice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, can};

use super::{Who, kept, run, stdout};
use crate::text;

/// A second job may take so long: what it does takes a few milliseconds on a quiet machine, and tests
/// share theirs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs small jobs while `script` does its worst; the record of that one.
fn beside(node: &Node, script: &str) -> Value {
    let worst = node.api.submit_shell(script);
    let begun = Instant::now();
    let mut served = 0;
    loop {
        let one = Instant::now();
        let job =
            run(node, "echo here; dd if=/dev/zero of=file bs=64k count=16 2>/dev/null; ls file");
        assert_eq!(stdout(&job), "here\nfile\n", "{job}");
        assert!(one.elapsed() < PATIENCE, "a job beside it took {:?}", one.elapsed());
        served += 1;
        let record = node.api.job(&worst);
        if text(&record, "status") != "leased" && text(&record, "status") != "queued" {
            assert!(served > 0);
            return record;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "it goes on: {record}");
    }
}

fn each(test: impl Fn(&Node, Who)) {
    for who in Who::BOTH {
        if who.can_be() && can(&[Need::Tool("perl")]) {
            let node = kept("isolated", who).start();
            node.api.until_hosts(1);
            test(&node, who);
        }
    }
}

#[test]
fn a_fork_bomb_does_not_disturb_a_second_job() {
    each(|node, who| {
        // It goes on for three seconds, as fast as it can.
        let bomb = "perl -e '$SIG{ALRM} = sub { kill 9, -getpgrp(0) }; alarm 3; while (1) { fork }'; \
                    echo over; sleep 0.5";
        let job = beside(node, bomb);
        assert_ne!(job["result"]["exitCode"], Value::Null, "{who:?}: {job}");
    });
}

#[test]
fn an_allocator_of_100_gib_is_ended_and_does_not_disturb_a_second_job() {
    each(|node, who| {
        let eat =
            "perl -e '@all; for (1 .. 100 * 1024) { push @all, \"x\" x (1 << 20) } print \"all\"'";
        let job = beside(node, eat);
        assert_eq!(text(&job, "status"), "failed", "{who:?}: {job}");
        let error = job["error"].as_str().unwrap_or_default();
        assert!(error.contains("bytes of memory"), "{who:?}: {job}");
    });
}

/// Its parent is gone, and then the run's first process, too.
#[test]
fn what_left_its_tree_is_watched_where_runs_have_no_processes_of_their_own() {
    if !can(&[Need::Tool("perl")]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("policy.json");
    let allowed = json!({ "version": 1, "memoryBytes": 300_000_000_u64,
        "jobs": { "allowlist": [{ "pattern": "sh" }] } });
    fs::write(&rules, allowed.to_string()).expect("it is writable");
    for (path, mode) in [(folder.path(), 0o755), (rules.as_path(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let eat = "perl -e '@all; push @all, \"x\" x (1 << 20) for 1 .. 1000; sleep 60'";
    for (level, who) in
        [("basic", Who::Ordinary), ("landlock", Who::Ordinary), ("basic", Who::Root)]
    {
        if !who.can_be() {
            continue;
        }
        let node = kept(level, who)
            .env("SKYCLAW_ALLOWED_COMMANDS", "")
            .env("SKYCLAW_POLICY", rules.display())
            .start();
        node.api.until_hosts(1);
        for rest in ["sleep 60", "sleep 0.5; exit 0"] {
            let job = run(&node, &format!("({eat} &); {rest}"));
            let error = job["error"].as_str().unwrap_or_default();
            assert!(error.contains("bytes of memory"), "{level} as {who:?}: {job}");
        }
    }
}

#[test]
fn a_disk_filler_is_ended_and_does_not_disturb_a_second_job() {
    each(|node, who| {
        // Files of one gigabyte that take their room at once, and have no names.
        let fill = "i=0; while [ $i -lt 40 ]; do fallocate -l 1G f$i || exit 3; i=$((i + 1)); sleep 0.05; \
                    done; sleep 30; echo all";
        let job = beside(node, fill);
        assert_eq!(text(&job, "status"), "failed", "{who:?}: {job}");
        let error = job["error"].as_str().unwrap_or_default();
        assert!(error.contains("bytes of disk"), "{who:?}: {job}");
    });
}

#[test]
fn a_folder_for_temporary_files_has_its_bound() {
    each(|node, who| {
        let job = run(node, "head -c 800M /dev/zero > $TMPDIR/x; wc -c < $TMPDIR/x; echo after");
        let bytes: u64 =
            stdout(&job).lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
        assert!((1..=512 << 20).contains(&bytes), "{who:?}: {job}");
        assert!(stdout(&job).ends_with("after\n"), "{who:?}: {job}");
    });
}
