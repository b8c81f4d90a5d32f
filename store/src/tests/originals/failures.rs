//! Disks that fail under the copy, and processes that are killed: what a merge said is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Command;

use skyclaw_protocol::JobStatus;

use super::{NOW, get, ids, job, on};
use crate::originals::{Class, Held, MergeError, Originals, OriginalsOptions};
use crate::testing::{Chance, Disk, Health};
use crate::{CommitError, OpenError};

#[test]
fn a_power_cut_loses_nothing_of_a_merge_that_was_answered() {
    for seed in 0..60 {
        let disk = Disk::new();
        let mut chance = Chance::new(seed);
        let mut kept: BTreeMap<String, Held> = BTreeMap::new();
        let originals = on(&disk);
        disk.cut_power_after(5 + chance.below(120));
        // What was under way when the power went may be there or not.
        let mut open: Vec<String> = Vec::new();
        for version in 0..40 {
            let batch: Vec<_> = (0..1 + chance.below(4))
                .map(|n| {
                    let id = format!("job_{}", (chance.below(3) + n * 3) % 9);
                    let raw = vec![b'x'; chance.below(9000) as usize];
                    Held { raw, ..job(&id, version, JobStatus::Leased) }
                })
                .collect();
            open = batch.iter().map(|record| record.id.clone()).collect();
            if originals.merge(batch.clone(), NOW).is_err() {
                break;
            }
            // Of two of one id the first of equal ones stays.
            batch.into_iter().rev().for_each(|record| drop(kept.insert(record.id.clone(), record)));
            open.clear();
        }
        drop(originals);
        disk.crash(seed);
        let originals = on(&disk);
        for n in (0..9).map(|n| format!("job_{n}")).filter(|id| !open.contains(id)) {
            let found = originals.get(Class::Job, &n).unwrap();
            assert_eq!(found.as_ref(), kept.get(&n), "seed {seed}, {n}");
        }
    }
}

#[test]
fn after_a_failed_merge_the_file_is_opened_again_and_goes_on() {
    let disk = Disk::new();
    let originals = on(&disk);
    let kept = job("job_1", 1, JobStatus::Queued);
    originals.merge(vec![kept.clone()], NOW).unwrap();
    let large = |n: u64| Held {
        raw: vec![b'x'; 1 << 20],
        ..job(&format!("large_{n}"), 1, JobStatus::Queued)
    };
    disk.set_quota(Some(disk.used() + (6 << 20)));
    let error = originals.merge((0..40).map(large).collect(), NOW).unwrap_err();
    assert!(matches!(error, MergeError::Commit(CommitError::Full { .. })), "{error}");
    let again = originals.merge(vec![job("job_2", 1, JobStatus::Queued)], NOW).unwrap_err();
    assert!(matches!(again, MergeError::Commit(CommitError::Unusable { .. })), "{again}");
    drop(originals);
    disk.set_quota(None);
    let originals = on(&disk);
    assert_eq!(get(&originals, &kept), Some(kept));
    assert_eq!(originals.merge((0..40).map(large).collect(), NOW).unwrap().full, 0);
    assert_eq!(originals.count(Class::Job), 41);

    disk.set_health(Health::ReadOnly);
    let error = originals.merge(vec![job("job_3", 1, JobStatus::Queued)], NOW).unwrap_err();
    assert!(matches!(error, MergeError::Commit(CommitError::ReadOnly { .. })), "{error}");
}

#[test]
fn nothing_is_taken_where_the_disk_is_nearly_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.originals");
    let options = OriginalsOptions { min_free_bytes: 1 << 60, ..OriginalsOptions::default() };
    let originals = Originals::open(&path, options).unwrap();
    let error = originals.merge(vec![job("job_1", 1, JobStatus::Queued)], NOW).unwrap_err();
    assert!(matches!(error, MergeError::Space(_)), "{error}");
    assert_eq!(originals.count(Class::Job), 0);
}

#[test]
fn a_row_that_rotted_is_dropped_and_taken_again() {
    let disk = Disk::new();
    let originals = on(&disk);
    let (one, two) = (job("job_1", 1, JobStatus::Queued), job("job_2", 1, JobStatus::Queued));
    originals.merge(vec![one.clone(), two.clone()], NOW).unwrap();
    let txn = originals.shared.begin_write().unwrap();
    txn.open_table(crate::originals::row::ROWS)
        .unwrap()
        .insert(&b"jjob_1"[..], &b"rot"[..])
        .unwrap();
    txn.commit().unwrap();
    assert_eq!(get(&originals, &one), None);
    drop(originals);
    let originals = on(&disk);
    assert_eq!(ids(&originals, false), ["job_2"]);
    assert_eq!(originals.merge(vec![one.clone(), two], NOW).unwrap().changed, 1);
    assert_eq!(get(&originals, &one), Some(one));
}

#[test]
fn a_file_in_use_is_said_and_one_that_is_damaged_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.originals");
    let open = || Originals::open(&path, OriginalsOptions::default());
    let originals = open().unwrap();
    originals.merge(vec![job("job_1", 1, JobStatus::Queued)], NOW).unwrap();
    assert!(matches!(open(), Err(OpenError::InUse { .. })));
    drop(originals);
    let whole = std::fs::read(&path).unwrap();
    for bytes in
        [b"redb".to_vec(), b"SQLite format 3\0".to_vec(), whole[..whole.len() / 2].to_vec()]
    {
        std::fs::write(&path, &bytes).unwrap();
        let error = open().unwrap_err();
        assert!(!error.can_heal(), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open().unwrap().count(Class::Job), 1);
}

#[test]
fn on_a_disk_that_rots_records_are_lost_and_none_is_altered() {
    let mut lost = 0;
    for seed in 0..60 {
        let disk = Disk::new();
        let originals = on(&disk);
        let all: Vec<_> = (0..200)
            .map(|n| Held {
                raw: vec![n as u8; 500],
                ..job(&format!("job_{n}"), 1, JobStatus::Leased)
            })
            .collect();
        originals.merge(all.clone(), NOW).unwrap();
        drop(originals);
        disk.rot(seed);
        let Ok(originals) = Originals::open_backend(disk.backend(), OriginalsOptions::default())
        else {
            lost += 1;
            continue;
        };
        for record in &all {
            let found = get(&originals, record);
            assert!(found.as_ref().is_none_or(|found| found == record), "seed {seed}");
        }
    }
    assert!(lost > 0, "the damage was looked for");
}

/// The process that is killed below: it merges and says so.
#[test]
#[ignore = "started by the next test"]
fn merges_until_it_is_killed() {
    let Some(path) = std::env::var_os("ORIGINALS_OF_A_TEST") else { return };
    let originals = Originals::open(path, OriginalsOptions::default()).unwrap();
    for n in 0.. {
        let record =
            Held { raw: vec![n as u8; 3000], ..job(&format!("job_{n}"), n, JobStatus::Leased) };
        originals.merge(vec![record], NOW).unwrap();
        println!("merged {n}");
    }
}

#[test]
fn a_killed_process_leaves_every_record_it_said_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.originals");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("tests::originals::failures::merges_until_it_is_killed")
        .env("ORIGINALS_OF_A_TEST", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = |line: String| line.strip_prefix("merged ")?.parse::<u64>().ok();
    let last = lines.filter_map(|line| said(line.unwrap())).find(|n| *n >= 20).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let originals = Originals::open(&path, OriginalsOptions::default()).unwrap();
    for n in 0..=last {
        let found = originals.get(Class::Job, &format!("job_{n}")).unwrap();
        assert_eq!(found.unwrap().raw, vec![n as u8; 3000], "{n} of {last}");
    }
}
