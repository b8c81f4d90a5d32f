//! The copy of what originals hold: what is kept of it, over restarts and crashes, within bounds.

mod failures;

use std::collections::BTreeMap;

use skyclaw_protocol::JobStatus;
use skyclaw_protocol::clock::Wall;

use crate::originals::{Class, Held, Merge, Originals, OriginalsOptions, mark};
use crate::testing::{Chance, Disk};

const DAY: u64 = 86_400_000;
pub(super) const NOW: Wall = Wall(100 * DAY);

pub(super) fn job(id: &str, version: u64, status: JobStatus) -> Held {
    Held {
        class: Class::Job,
        id: id.to_owned(),
        created: Wall(90 * DAY + version % 7),
        updated: Wall(99 * DAY),
        version,
        updated_by: "node_a".to_owned(),
        status: Some(status),
        required: vec!["shell".to_owned()],
        raw: format!("{id} {version} {status:?}").into_bytes(),
    }
}

fn host(id: &str, version: u64, by: &str) -> Held {
    Held {
        class: Class::Host,
        id: id.to_owned(),
        created: Wall(5),
        updated: Wall(0),
        version,
        updated_by: by.to_owned(),
        status: None,
        required: Vec::new(),
        raw: format!("{id} {version} {by}").into_bytes(),
    }
}

pub(super) fn on(disk: &Disk) -> Originals {
    Originals::open_backend(disk.backend(), OriginalsOptions::default()).unwrap()
}

fn get(originals: &Originals, record: &Held) -> Option<Held> {
    originals.get(record.class, &record.id).unwrap()
}

fn ids(originals: &Originals, newest_first: bool) -> Vec<String> {
    let places = originals.places(None, newest_first, usize::MAX, |_| true);
    places.iter().map(|place| place.id.to_string()).collect()
}

#[test]
fn what_was_merged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coordinator.db.originals");
    let records = vec![
        job("job_1", 3, JobStatus::Queued),
        job("job_2", 4, JobStatus::Completed),
        host("job_1", 5, "node_a"),
        Held { class: Class::Service, ..host("svc_1", 9, "node_b") },
    ];
    let originals = Originals::open(&path, OriginalsOptions::default()).unwrap();
    let merge = originals.merge(records.clone(), NOW).unwrap();
    assert_eq!(merge, Merge { changed: 4, ..Merge::default() });
    let look = |originals: &Originals| {
        for record in &records {
            assert_eq!(get(originals, record).as_ref(), Some(record));
            assert!(originals.knows(&mark(record.class, &record.raw)));
        }
        assert_eq!(originals.all(Class::Host).unwrap(), records[2..3]);
        assert_eq!(originals.highest_version(), 9);
        let counts = [Class::Host, Class::Job, Class::Service].map(|class| originals.count(class));
        assert_eq!(counts, [1, 2, 1]);
        let queued = originals.queued();
        assert_eq!((queued.len(), &*queued[0].id), (1, "job_1"));
        assert_eq!(*queued[0].required, ["shell".to_owned()]);
        assert_eq!(originals.status("job_2"), Some(JobStatus::Completed));
        assert_eq!(originals.status("job_3"), None);
    };
    look(&originals);
    drop(originals);
    let originals = Originals::open(&path, OriginalsOptions::default()).unwrap();
    look(&originals);
    let again = originals.merge(records.clone(), NOW).unwrap();
    assert_eq!(again, Merge { held: 4, ..Merge::default() });
    originals.clear().unwrap();
    assert_eq!((originals.count(Class::Job), get(&originals, &records[0])), (0, None));
    assert_eq!(originals.merge(records.clone(), NOW).unwrap().changed, 4);
}

#[test]
fn f42_what_has_ended_is_not_taken_back_whatever_the_version() {
    let originals = on(&Disk::new());
    let (done, requeued) =
        (job("job_1", 5, JobStatus::Completed), job("job_1", 900, JobStatus::Queued));
    originals.merge(vec![done.clone()], NOW).unwrap();
    assert_eq!(originals.merge(vec![requeued.clone()], NOW).unwrap().held, 1);
    assert_eq!(get(&originals, &done), Some(done.clone()));
    assert!(originals.knows(&mark(Class::Job, &requeued.raw)), "it needs no second look");
    let later = job("job_1", 6, JobStatus::Failed);
    assert_eq!(originals.merge(vec![later.clone()], NOW).unwrap().changed, 1);
    assert_eq!(get(&originals, &done), Some(later));
    assert_eq!(originals.queued(), []);
}

#[test]
fn r3_of_equal_versions_the_later_change_counts_then_the_larger_name() {
    let originals = on(&Disk::new());
    let mut record = job("job_1", 5, JobStatus::Queued);
    for (updated, by, taken) in [
        (10, "b", true),
        (10, "a", false),
        (10, "b", false),
        (10, "c", true),
        (9, "z", false),
        (11, "a", true),
    ] {
        record.updated = Wall(updated);
        record.updated_by = by.to_owned();
        record.raw = format!("{updated} {by}").into_bytes();
        let merge = originals.merge(vec![record.clone()], NOW).unwrap();
        assert_eq!(merge.changed == 1, taken, "{updated} {by}");
    }
}

/// R1-R6.
#[test]
fn in_whatever_order_and_however_often_records_come_the_highest_are_held() {
    for seed in 0..20 {
        let mut chance = Chance::new(seed);
        let mut all: Vec<Held> = (0..200)
            .map(|_| {
                let id = format!("job_{}", chance.below(20));
                let status = match chance.below(3) {
                    0 => JobStatus::Queued,
                    1 => JobStatus::Leased,
                    _ => JobStatus::Failed,
                };
                let mut record = job(&id, chance.below(6), status);
                record.updated = Wall(99 * DAY + chance.below(2));
                record.updated_by = format!("node_{}", chance.below(2));
                // The bytes of a record follow from the rest of it.
                record.raw =
                    format!("{id} {:?} {}", record.standing(), record.created.0).into_bytes();
                record
            })
            .collect();
        let mut highest: BTreeMap<&str, &Held> = BTreeMap::new();
        for record in &all {
            let best = highest.entry(&record.id).or_insert(record);
            if record.standing() > best.standing() {
                *best = record;
            }
        }
        let mut expected: Vec<_> =
            highest.values().map(|it| (it.id.clone(), it.standing())).collect();
        expected.sort();
        let disk = Disk::new();
        let mut originals = on(&disk);
        for _ in 0..2 {
            for at in (1..all.len()).rev() {
                all.swap(at, chance.below(at as u64 + 1) as usize);
            }
            let mut rest = all.as_slice();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.len().min(1 + chance.below(60) as usize));
                originals.merge(part.to_vec(), NOW).unwrap();
                rest = after;
            }
            if chance.below(2) == 0 {
                drop(originals);
                originals = on(&disk);
            }
        }
        let mut found: Vec<_> = originals.all(Class::Job).unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let found: Vec<_> = found.iter().map(|it| (it.id.clone(), it.standing())).collect();
        assert_eq!(found, expected, "seed {seed}");
        assert_eq!(ids(&originals, false).len(), expected.len(), "seed {seed}");
    }
}

#[test]
fn jobs_are_listed_by_creation_from_either_end_and_by_state() {
    let originals = on(&Disk::new());
    let made = |n: u64, status| {
        let created = Wall(90 * DAY + n / 2);
        Held { created, ..job(&format!("job_{n}"), 1, status) }
    };
    let all: Vec<_> = (0..6)
        .map(|n| made(n, if n % 3 == 0 { JobStatus::Queued } else { JobStatus::Completed }))
        .collect();
    originals.merge(all.iter().rev().cloned().collect(), NOW).unwrap();
    let names = ["job_0", "job_1", "job_2", "job_3", "job_4", "job_5"];
    assert_eq!(ids(&originals, false), names);
    assert!(ids(&originals, true).iter().rev().eq(names.iter()));
    let after = Some((all[1].created, "job_1"));
    let page = originals.places(after, false, 2, |status| status == JobStatus::Completed);
    assert_eq!(page.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["job_2", "job_4"]);
    let page = originals.places(after, true, 9, |_| true);
    assert_eq!(page.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["job_0"]);
    let some = originals.get_all(Class::Job, ["job_5", "none", "job_0"], usize::MAX).unwrap();
    assert_eq!(some, [all[5].clone(), all[0].clone()]);
    assert_eq!(originals.get_all(Class::Job, names, 1).unwrap().len(), 1, "too many bytes");
}

#[test]
fn a_job_that_moves_in_the_list_stands_there_once() {
    let originals = on(&Disk::new());
    let first = job("job_1", 1, JobStatus::Queued);
    let second = Held { created: Wall(1), ..job("job_1", 2, JobStatus::Leased) };
    originals.merge(vec![first], NOW).unwrap();
    originals.merge(vec![second.clone()], NOW).unwrap();
    let places = originals.places(None, false, 9, |_| true);
    assert_eq!((places.len(), places[0].created), (1, Wall(1)));
    assert_eq!(originals.queued(), []);
}

#[test]
fn jobs_that_ended_longer_ago_than_the_retention_are_neither_taken_nor_kept() {
    let disk = Disk::new();
    let originals = on(&disk);
    let mut old = job("job_old", 1, JobStatus::Completed);
    old.updated = Wall(NOW.0 - 7 * DAY - 1);
    let mut kept = job("job_kept", 1, JobStatus::Failed);
    kept.updated = Wall(NOW.0 - 7 * DAY);
    let mut waiting = job("job_waiting", 1, JobStatus::Queued);
    waiting.updated = Wall(1);
    let merge = originals.merge(vec![old.clone(), kept.clone(), waiting], NOW).unwrap();
    assert_eq!(merge, Merge { changed: 2, expired: 1, ..Merge::default() });
    assert_eq!(get(&originals, &old), None);
    assert!(originals.knows(&mark(Class::Job, &old.raw)), "it needs no second look");

    assert_eq!(originals.sweep(NOW).unwrap(), 0);
    assert_eq!(originals.sweep(NOW.plus_ms(1)).unwrap(), 1);
    assert_eq!(get(&originals, &kept), None);
    assert_eq!(ids(&originals, false), ["job_waiting"]);
    let again = originals.merge(vec![kept.clone()], NOW.plus_ms(1)).unwrap();
    assert_eq!(again, Merge { expired: 1, ..Merge::default() });
    drop(originals);
    assert_eq!(ids(&on(&disk), false), ["job_waiting"]);
}

#[test]
fn a_job_that_is_heard_to_have_ended_long_ago_no_longer_waits() {
    let originals = on(&Disk::new());
    originals.merge(vec![job("job_1", 9, JobStatus::Queued)], NOW).unwrap();
    let mut ended = job("job_1", 3, JobStatus::Completed);
    ended.updated = Wall(1);
    let merge = originals.merge(vec![ended], NOW).unwrap();
    assert_eq!(merge, Merge { changed: 1, expired: 1, ..Merge::default() });
    assert_eq!(originals.queued(), []);
}

#[test]
fn beyond_the_bounds_known_records_change_and_new_ones_are_refused() {
    let options = OriginalsOptions { max_records: 3, ..OriginalsOptions::default() };
    let originals = Originals::open_backend(Disk::new().backend(), options).unwrap();
    let all: Vec<_> = (0..5).map(|n| job(&format!("job_{n}"), 1, JobStatus::Queued)).collect();
    let merge = originals.merge(all, NOW).unwrap();
    assert_eq!(merge, Merge { changed: 3, full: 2, ..Merge::default() });
    let known = ids(&originals, false).remove(0);
    let newer = job(&known, 2, JobStatus::Completed);
    assert_eq!(originals.merge(vec![newer.clone()], NOW).unwrap().changed, 1);
    assert_eq!(get(&originals, &newer), Some(newer.clone()));
    let new = job("job_new", 1, JobStatus::Queued);
    assert_eq!(originals.merge(vec![new.clone()], NOW).unwrap().full, 1);
    assert!(!originals.knows(&mark(Class::Job, &new.raw)), "there may be room some day");
    originals.sweep(NOW.plus_ms(30 * DAY)).unwrap();
    assert_eq!(originals.merge(vec![new], NOW).unwrap().changed, 1);

    let options = OriginalsOptions { max_bytes: 1000, ..OriginalsOptions::default() };
    let originals = Originals::open_backend(Disk::new().backend(), options).unwrap();
    let large =
        |n: u64| Held { raw: vec![b'x'; 400], ..job(&format!("job_{n}"), 1, JobStatus::Queued) };
    let merge = originals.merge((0..4).map(large).collect(), NOW).unwrap();
    assert_eq!((merge.changed, merge.full), (2, 2));
    // What is replaced makes room for what replaces it; nothing that is held grows beyond the bound.
    let known = ids(&originals, false);
    let grown = |name: &str, version, length| Held {
        raw: vec![b'y'; length],
        ..job(name, version, JobStatus::Queued)
    };
    let merge = originals.merge(vec![grown(&known[0], 2, 600)], NOW).unwrap();
    assert_eq!((merge.changed, merge.full), (1, 0));
    let merge = originals.merge(vec![grown(&known[1], 2, 600)], NOW).unwrap();
    assert_eq!((merge.changed, merge.full), (0, 1));
    let merge = originals.merge(vec![grown(&known[0], 3, 100)], NOW).unwrap();
    assert_eq!((merge.changed, merge.full), (1, 0));
    assert_eq!(originals.merge(vec![large(9)], NOW).unwrap().changed, 1);
}
