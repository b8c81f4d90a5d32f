//! Lists of jobs.

use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{JobCursor, JobId};

use super::world::{World, created, number, options};
use crate::testing::{Chance, Disk};
use crate::{Opened, Order, Phases, Store};

const PHASES: [Phase; 7] = [
    Phase::Queued,
    Phase::Leased,
    Phase::Succeeded,
    Phase::Failed,
    Phase::Cancelled,
    Phase::Exhausted,
    Phase::Aborted,
];

#[test]
fn expired_jobs_are_listed_and_counted_like_the_others() {
    let mut world = World::new();
    let mut opened = Store::open_backend(Disk::new().backend(), &options()).unwrap();
    let writes = (0..4)
        .flat_map(|n| world.job(&world.id(n), [Phase::Expired, Phase::Queued][n as usize % 2]))
        .collect();
    opened.store.commit(world.batch(writes)).unwrap();
    assert_eq!(page(&opened, None, 9, Phases::of(&[Phase::Expired])).0, [0, 2]);
    assert_eq!(page(&opened, None, 9, Phases::ALL).0, [0, 1, 2, 3]);
    let counts = opened.reader.job_counts().unwrap();
    assert_eq!((counts.of(Phase::Expired), counts.unchosen()), (2, 0));
}

/// A thousand jobs, committed out of order, job `n` in phase `n % 7`.
fn thousand() -> (Opened, World) {
    let mut world = World::new();
    let mut opened = Store::open_backend(Disk::new().backend(), &options()).unwrap();
    let mut order: Vec<u64> = (0..1000).collect();
    let mut chance = Chance::new(1);
    for i in 0..1000 {
        order.swap(i, chance.below(1000) as usize);
    }
    for part in order.chunks(100) {
        let writes =
            part.iter().flat_map(|n| world.job(&world.id(*n), PHASES[(*n % 7) as usize])).collect();
        opened.store.commit(world.batch(writes)).unwrap();
    }
    (opened, world)
}

fn page(
    opened: &Opened,
    after: Option<&JobCursor>,
    limit: usize,
    phases: Phases,
) -> (Vec<u64>, Option<JobCursor>) {
    ordered_page(opened, after, limit, phases, Order::OldestFirst)
}

fn ordered_page(
    opened: &Opened,
    after: Option<&JobCursor>,
    limit: usize,
    phases: Phases,
    order: Order,
) -> (Vec<u64>, Option<JobCursor>) {
    let page = opened.reader.jobs(after, limit, phases, order).unwrap();
    let numbers = page.jobs.iter().map(|job| {
        let skyclaw_protocol::record::spec::Subject::Job(id) = &job.register.spec.body().subject
        else {
            panic!("a job has a job's subject")
        };
        number(id)
    });
    (numbers.collect(), page.next)
}

#[test]
fn jobs_are_listed_by_creation_page_by_page_and_by_phase() {
    let (opened, _) = thousand();
    let ended = Phases::of(&PHASES[2..]);
    let some = Phases::of(&[Phase::Leased, Phase::Aborted]);
    for (phases, limit) in [(Phases::ALL, 64), (Phases::ALL, 1000), (ended, 100), (some, 7)] {
        let expected: Vec<u64> =
            (0..1000).filter(|n| phases.has(PHASES[(n % 7) as usize])).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (numbers, next) = page(&opened, after.as_ref(), limit, phases);
            assert!(numbers.len() <= limit);
            seen.extend(numbers);
            match next {
                Some(cursor) => after = Some(cursor),
                None => break,
            }
        }
        assert_eq!(seen, expected);
    }
    let counts = opened.reader.job_counts().unwrap();
    assert_eq!(counts.all(), 1000);
    assert_eq!(counts.of(Phase::Queued), 143);
    assert_eq!(counts.of(Phase::Aborted), 142);
}

#[test]
fn a_cursor_need_not_name_a_job_that_exists() {
    let (opened, _) = thousand();
    let cursor = JobCursor { created: created(500), id: JobId::new("~").unwrap() };
    let (numbers, next) = page(&opened, Some(&cursor), 2, Phases::ALL);
    assert_eq!(numbers, [501, 502]);
    assert_eq!(next.unwrap().created, created(502));
}

#[test]
fn a_page_that_ends_with_the_list_names_no_next() {
    let (opened, world) = thousand();
    let cursor = JobCursor { created: created(989), id: world.id(989) };
    assert_eq!(page(&opened, Some(&cursor), 10, Phases::ALL).1, None);
    assert!(page(&opened, Some(&cursor), 9, Phases::ALL).1.is_some());
    assert_eq!(page(&opened, None, 9, Phases::of(&[])).0, Vec::<u64>::new());
}

#[test]
fn a_change_of_phase_moves_a_job_to_the_other_list_at_once() {
    let (mut opened, mut world) = thousand();
    let id = world.id(0);
    let row = world.row(&id, Phase::Exhausted);
    opened.store.commit(world.batch(vec![row])).unwrap();
    assert_eq!(page(&opened, None, 1, Phases::of(&[Phase::Queued])).0, [7]);
    assert_eq!(page(&opened, None, 2, Phases::of(&[Phase::Exhausted])).0, [0, 5]);
    assert_eq!(opened.reader.job_counts().unwrap().of(Phase::Queued), 142);
}

#[test]
fn the_newest_come_first_if_asked_for() {
    let (opened, _) = thousand();
    let failed = Phases::of(&[Phase::Failed]);
    let expected: Vec<u64> =
        (0..1000).rev().filter(|n| failed.has(PHASES[(n % 7) as usize])).collect();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (numbers, next) = ordered_page(&opened, after.as_ref(), 10, failed, Order::NewestFirst);
        seen.extend(numbers);
        match next {
            Some(cursor) => after = Some(cursor),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}
