//! What of ours an original is pushed.

use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_http_compat::snapshot::Kind;
use skyclaw_protocol::clock::Hlc;

use crate::bridge::diff::{Batch, Entry, Seen, State, Table, Tries, Want, missing};
use crate::bridge::limits::{BATCH, MOST_JOBS, TRIES, TRY_AGAIN};

const fn made(ms: u64) -> Hlc {
    Hlc { ms, count: 0 }
}

const fn ours(version: u64, state: State) -> Entry {
    Entry { version, created: made(version), state }
}

const fn seen(version: u64, ended: bool, exported: bool) -> Seen {
    Seen { version, ended, exported }
}

/// What is pushed of one record.
fn version(kind: Kind, entry: Entry, shown: Option<Seen>) -> Option<u64> {
    let (mut here, mut there) = (Table::default(), Table::default());
    here.of_mut(kind).insert("x".to_owned(), entry);
    if let Some(shown) = shown {
        there.of_mut(kind).insert("x".to_owned(), shown);
    }
    let wants = missing(&here, &there, &mut Tries::default(), Instant::now());
    assert!(wants.len() <= 1 && wants.iter().all(|want| want.kind == kind));
    wants.first().map(|want| want.version)
}

#[test]
fn what_is_missing_is_pushed_and_what_is_there_is_not() {
    for kind in Kind::ALL {
        assert_eq!(version(kind, ours(5, State::Live), None), Some(5));
        assert_eq!(version(kind, ours(5, State::Live), Some(seen(5, false, true))), None);
        assert_eq!(version(kind, ours(5, State::Gone), None), None);
        assert_eq!(version(kind, ours(5, State::Private), None), None);
    }
    assert_eq!(version(Kind::Job, ours(5, State::Ended), None), Some(5));
    assert_eq!(version(Kind::Job, ours(5, State::Ended), Some(seen(5, true, true))), None);
}

/// F38: a job that is granted, renewed or waits again looks the same to an original.
#[test]
fn a_job_is_pushed_when_it_comes_and_when_it_ends_and_not_between() {
    assert_eq!(version(Kind::Job, ours(9, State::Live), Some(seen(5, false, true))), None);
    assert_eq!(version(Kind::Job, ours(9, State::Ended), Some(seen(5, false, true))), Some(9));
    // A coordinator that takes over may count from further below.
    assert_eq!(version(Kind::Job, ours(3, State::Ended), Some(seen(5, false, true))), Some(6));
    // Of a stub the end alone is left.
    assert_eq!(version(Kind::Job, ours(3, State::Gone), Some(seen(5, false, true))), Some(6));
}

#[test]
fn a_job_that_was_taken_over_is_told_to_be_ours_and_how_it_ended() {
    assert_eq!(version(Kind::Job, ours(9, State::Live), Some(seen(12, false, false))), Some(13));
    assert_eq!(version(Kind::Job, ours(9, State::Ended), Some(seen(12, false, false))), Some(13));
}

/// F42: what an original says has ended stays so.
#[test]
fn what_has_ended_there_is_left_alone() {
    for exported in [false, true] {
        let shown = Some(seen(12, true, exported));
        assert_eq!(version(Kind::Job, ours(90, State::Live), shown), None);
        assert_eq!(version(Kind::Job, ours(90, State::Ended), shown), None);
    }
}

#[test]
fn services_and_hosts_follow_what_changes_here_and_keep_what_is_theirs() {
    for kind in [Kind::Host, Kind::Service] {
        assert_eq!(version(kind, ours(9, State::Live), Some(seen(5, false, true))), Some(9));
        assert_eq!(version(kind, ours(9, State::Live), Some(seen(5, false, false))), None);
        // A host that talks to an original for a while.
        assert_eq!(version(kind, ours(9, State::Live), Some(seen(15, false, true))), None);
    }
    assert_eq!(version(Kind::Service, ours(9, State::Gone), Some(seen(5, false, true))), Some(9));
    assert_eq!(version(Kind::Service, ours(9, State::Gone), Some(seen(9, false, true))), None);
    assert_eq!(version(Kind::Host, ours(9, State::Gone), Some(seen(5, false, true))), None);
}

#[test]
fn hosts_come_first_and_jobs_by_creation() {
    let mut here = Table::default();
    for (id, at) in [("b", 1), ("a", 2)] {
        here.of_mut(Kind::Job).insert(id.to_owned(), ours(at, State::Live));
    }
    here.of_mut(Kind::Host).insert("h".to_owned(), ours(8, State::Live));
    here.of_mut(Kind::Service).insert("s".to_owned(), ours(1, State::Live));
    let wants = missing(&here, &Table::default(), &mut Tries::default(), Instant::now());
    let ids: Vec<&str> = wants.iter().map(|want| want.id.as_str()).collect();
    assert_eq!(ids, ["h", "b", "a", "s"]);
}

/// F24 F38: an original that answers yes and keeps its own is not asked for ever.
#[test]
fn a_record_that_is_not_taken_rests() {
    let mut here = Table::default();
    here.of_mut(Kind::Job).insert("x".to_owned(), ours(1, State::Live));
    let (mut tries, mut now) = (Tries::default(), Instant::now());
    let pushed = |tries: &mut Tries, now| {
        let wants = missing(&here, &Table::default(), tries, now);
        for want in &wants {
            tries.pushed(want, now);
        }
        wants.len()
    };
    for _ in 0..TRIES {
        assert_eq!(pushed(&mut tries, now), 1);
        now += Duration::from_secs(3);
    }
    assert_eq!((pushed(&mut tries, now), tries.resting()), (0, 1));
    now += TRY_AGAIN;
    assert_eq!((pushed(&mut tries, now), pushed(&mut tries, now)), (1, 0));
    // Once it is there nothing is remembered of it.
    let mut there = Table::default();
    there.of_mut(Kind::Job).insert("x".to_owned(), seen(1, false, true));
    assert!(missing(&here, &there, &mut tries, now).is_empty());
    assert_eq!((tries.resting(), pushed(&mut tries, now)), (0, 1));
}

#[test]
fn of_too_many_jobs_the_oldest_that_have_ended_are_left_out() {
    let mut here = Table::default();
    let jobs = here.of_mut(Kind::Job);
    for n in 0..MOST_JOBS as u64 + 10 {
        let state = if n < 5 { State::Live } else { State::Ended };
        jobs.insert(format!("job_{n}"), ours(n, state));
    }
    let wants = missing(&here, &Table::default(), &mut Tries::default(), Instant::now());
    assert_eq!(wants.len(), MOST_JOBS);
    assert_eq!((wants[4].version, wants[5].version), (4, 15));
}

#[test]
fn a_push_is_bounded_in_records_and_bytes() {
    let want = |n: u64| {
        let mut here = Table::default();
        here.of_mut(Kind::Job).insert(format!("job_{n}"), ours(n, State::Live));
        missing(&here, &Table::default(), &mut Tries::default(), Instant::now()).remove(0)
    };
    let fill = |each: usize| {
        let mut batch = Batch::default();
        let mut n = 0;
        while !batch.is_full_for(each) {
            let one: Want = want(n);
            batch.add(one, json!({}), each);
            n += 1;
        }
        batch.jobs.len()
    };
    assert_eq!(fill(10), BATCH.0);
    assert_eq!(fill(BATCH.1 / 4), 4);
    assert_eq!(fill(8 << 20), 1, "a record that is larger than all goes alone");
}
