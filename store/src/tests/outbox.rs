//! Results that wait in a host's own file.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Completion, HostId, JobId, Milli, NodeId};

use super::world::options;
use crate::testing::{Chance, Disk};
use crate::{CommitError, OpenError, Outbox, OutboxChange, OutboxEntry, OutboxKey, Store};

pub(super) fn entry(n: u64, attempt: u32, output: usize) -> OutboxEntry {
    let completion = Completion {
        attempt: None,
        job: JobId::new(format!("job_{n}")).unwrap(),
        host: HostId::new("h").unwrap(),
        success: true,
        duration: Some(Milli::whole(n)),
        exit_code: Some(0),
        stdout: Some("x".repeat(output)),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    };
    OutboxEntry { completion, attempt, owner: NodeId([9; 32]), expires_at: Wall(1_000_000) }
}

fn put(entry: &OutboxEntry) -> OutboxChange {
    OutboxChange::Put(Arc::new(entry.clone()))
}

fn remove(entry: &OutboxEntry) -> OutboxChange {
    OutboxChange::Remove(entry.completion.job.clone(), entry.attempt)
}

fn get(outbox: &Outbox, entry: &OutboxEntry) -> Option<OutboxEntry> {
    outbox.get(&entry.completion.job, entry.attempt).unwrap()
}

fn jobs(keys: &[OutboxKey]) -> Vec<(&str, u32)> {
    keys.iter().map(|key| (key.job.as_str(), key.attempt)).collect()
}

#[test]
fn results_wait_over_a_restart_until_they_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/for/it/node.db");
    let (one, two, other) = (entry(1, 1, 10), entry(1, 2, 20), entry(2, 1, 0));
    let mut opened = Outbox::open(&path, &options()).unwrap();
    assert!(opened.created);
    let node = opened.key.id();
    opened.outbox.apply(&[put(&one), put(&two)]).unwrap();
    opened.outbox.apply(&[put(&other), remove(&one)]).unwrap();
    assert_eq!(get(&opened.outbox, &one), None);
    drop(opened);

    let mut opened = Outbox::open(&path, &options()).unwrap();
    assert_eq!((opened.created, opened.key.id()), (false, node), "the same node");
    let listed = opened.outbox.list().unwrap();
    assert_eq!(jobs(&listed), [("job_1", 2), ("job_2", 1)]);
    assert_eq!((listed[0].owner, listed[0].expires_at), (two.owner, two.expires_at));
    assert!(listed[0].bytes > 20);
    assert_eq!(get(&opened.outbox, &two), Some(two.clone()));
    opened.outbox.apply(&[remove(&two), remove(&other), remove(&other)]).unwrap();
    assert_eq!(opened.outbox.list().unwrap(), []);
}

#[test]
fn a_file_in_use_or_damaged_is_said_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let opened = Outbox::open(&path, &options()).unwrap();
    assert!(matches!(Outbox::open(&path, &options()), Err(OpenError::InUse { .. })));
    assert!(matches!(Store::open(&path, &options()), Err(OpenError::InUse { .. })));
    drop(opened);
    std::fs::write(&path, b"redb").unwrap();
    let error = Outbox::open(&path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }) && !error.can_heal());
    assert_eq!(std::fs::read(&path).unwrap(), b"redb");
}

#[test]
fn a_file_of_before_there_were_outboxes_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let opened = Store::open(&path, &options()).unwrap();
    let shared = opened.store.shared();
    let txn = shared.begin_write().unwrap();
    assert!(txn.delete_table(crate::tables::OUTBOX).unwrap());
    txn.commit().unwrap();
    drop(opened);
    let mut opened = Outbox::open(&path, &options()).unwrap();
    opened.outbox.apply(&[put(&entry(1, 1, 0))]).unwrap();
    assert_eq!(opened.outbox.list().unwrap().len(), 1);
}

#[test]
fn an_entry_that_could_not_be_read_back_is_refused_and_the_rest_goes_on() {
    let disk = Disk::new();
    let mut outbox = Outbox::open_backend(disk.backend(), &options()).unwrap().outbox;
    let error = outbox.apply(&[put(&entry(1, 1, 5 << 20))]).unwrap_err();
    assert!(matches!(error, CommitError::TooLong { .. }), "{error}");
    outbox.apply(&[put(&entry(2, 1, 4 << 20))]).unwrap();
    assert_eq!(jobs(&outbox.list().unwrap()), [("job_2", 1)]);
}

#[test]
fn a_full_disk_refuses_a_result_and_keeps_those_it_has() {
    let disk = Disk::new();
    let mut outbox = Outbox::open_backend(disk.backend(), &options()).unwrap().outbox;
    let kept = entry(1, 1, 1000);
    outbox.apply(&[put(&kept)]).unwrap();
    disk.set_quota(Some(disk.used()));
    let large = entry(2, 1, 4 << 20);
    let error = outbox.apply(&[put(&large)]).unwrap_err();
    assert!(matches!(error, CommitError::Full { .. }), "{error}");
    let again = outbox.apply(&[remove(&kept)]).unwrap_err();
    assert!(matches!(again, CommitError::Unusable { .. }), "{again}");
    drop(outbox);
    disk.set_quota(None);
    let mut outbox = Outbox::open_backend(disk.backend(), &options()).unwrap().outbox;
    assert_eq!(get(&outbox, &kept), Some(kept));
    outbox.apply(&[put(&large)]).unwrap();
}

#[test]
fn a_row_that_rotted_counts_as_absent_and_is_not_handed_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut opened = Outbox::open(&path, &options()).unwrap();
    opened.outbox.apply(&[put(&entry(1, 1, 10)), put(&entry(2, 1, 10))]).unwrap();
    opened
        .outbox
        .store
        .change(|txn| {
            let key = crate::tables::result_key(&JobId::new("job_1").unwrap(), 1);
            txn.open_table(crate::tables::OUTBOX)?.insert(key.as_slice(), &b"rot"[..])?;
            Ok(())
        })
        .unwrap();
    assert_eq!(get(&opened.outbox, &entry(1, 1, 10)), None);
    assert_eq!(jobs(&opened.outbox.list().unwrap()), [("job_2", 1)]);
}

#[test]
fn a_power_cut_loses_no_result_that_was_kept_and_leaves_none_by_halves() {
    let mut waited = 0;
    for seed in 0..120 {
        let disk = Disk::new();
        let mut chance = Chance::new(seed);
        let mut kept: BTreeMap<u64, OutboxEntry> = BTreeMap::new();
        let mut outbox = Outbox::open_disk(&disk, &options()).unwrap().outbox;
        disk.cut_power_after(5 + chance.below(160));
        // What was under way when the power went may be there or not.
        let mut open = Vec::new();
        for _ in 0..60 {
            let n = chance.below(8);
            // Some are larger than the journal takes.
            let longest = if chance.below(10) == 0 { 90_000 } else { 9000 };
            let item = entry(n, 1, chance.below(longest) as usize);
            let change = if chance.below(3) == 0 { remove(&item) } else { put(&item) };
            open = vec![n];
            if outbox.apply(std::slice::from_ref(&change)).is_err() {
                break;
            }
            match change {
                OutboxChange::Put(_) => kept.insert(n, item),
                OutboxChange::Remove(..) => kept.remove(&n),
            };
            open.clear();
            waited += u64::from(outbox.store.shared().behind.count() > 0);
            for n in 0..8 {
                assert_eq!(get(&outbox, &entry(n, 1, 0)).as_ref(), kept.get(&n), "seed {seed}");
            }
            if let Some(steps) = outbox.store.steps().filter(|_| chance.below(3) == 0) {
                steps.take();
            }
        }
        drop(outbox);
        disk.crash(seed);
        let outbox = Outbox::open_disk(&disk, &options()).unwrap().outbox;
        let listed = outbox.list().unwrap().len();
        assert!(listed.abs_diff(kept.len()) <= open.len(), "seed {seed}");
        for n in (0..8).filter(|n| !open.contains(n)) {
            let found = outbox.get(&JobId::new(format!("job_{n}")).unwrap(), 1).unwrap();
            assert_eq!(found.as_ref(), kept.get(&n), "seed {seed}, job {n}");
        }
    }
    assert!(waited > 1000, "{waited}");
}

#[test]
fn a_change_of_the_outbox_is_one_sync() {
    let disk = Disk::new();
    let mut outbox = Outbox::open_disk(&disk, &options()).unwrap().outbox;
    outbox.apply(&[put(&entry(0, 1, 10))]).unwrap();
    disk.before_changes(|_| panic!("the database is left alone"));
    for n in 1..4 {
        outbox.apply(&[put(&entry(n, 1, 10)), remove(&entry(n - 1, 1, 0))]).unwrap();
        assert_eq!(get(&outbox, &entry(n, 1, 10)), Some(entry(n, 1, 10)));
        assert_eq!(get(&outbox, &entry(n - 1, 1, 0)), None);
    }
    disk.without_calls();
    assert_eq!(jobs(&outbox.list().unwrap()), [("job_3", 1)]);
}

/// The process that is killed below: it keeps result after result and says so.
#[test]
#[ignore = "started by the next test"]
fn keeps_results_until_it_is_killed() {
    let Some(path) = std::env::var_os("OUTBOX_OF_A_TEST") else { return };
    let mut outbox = Outbox::open(path, &options()).unwrap().outbox;
    for n in 0.. {
        outbox.apply(&[put(&entry(n, 1, 3000))]).unwrap();
        println!("kept {n}");
    }
}

#[test]
fn a_killed_process_leaves_every_result_it_said_it_kept() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("tests::outbox::keeps_results_until_it_is_killed")
        .env("OUTBOX_OF_A_TEST", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = |line: String| line.strip_prefix("kept ")?.parse::<u64>().ok();
    let last = lines.filter_map(|line| said(line.unwrap())).find(|n| *n >= 20).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let outbox = Outbox::open(&path, &options()).unwrap().outbox;
    for n in 0..=last {
        let entry = entry(n, 1, 3000);
        assert_eq!(get(&outbox, &entry), Some(entry), "{n} of {last}");
    }
}
