//! Power cuts, full disks and disks that fail.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableHandle};
use skyclaw_protocol::batch::{Batch, KeyAnswer, KeyRow, Write};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{Hash, HostId};

use super::world::{World, options};
use crate::seal::Found;
use crate::tables::{
    COMMIT_OF, COMMITS, DUE, Head, JOBS_BY_CREATED, KEYS_BY_EXPIRY, LIVE, META, META_FORMAT,
    META_HEAD, META_JOURNAL, SEALED,
};
use crate::testing::{Chance, Disk, Health};
use crate::{CommitError, OpenError, Opened, Reader, Store};

/// Everything a file holds, by table and key.
pub(super) type Dump = BTreeMap<(String, Vec<u8>), Vec<u8>>;

pub(super) fn dump(reader: &Reader) -> Dump {
    let txn = reader.shared().begin_read().unwrap();
    let mut all = Dump::new();
    for name in SEALED {
        for entry in txn.open_table(name).unwrap().iter().unwrap() {
            let (key, value) = entry.unwrap();
            // Whether a journal belongs to it.
            if name.name() == META.name() && [META_FORMAT, META_JOURNAL].contains(&key.value()) {
                continue;
            }
            all.insert((name.name().to_owned(), key.value().to_vec()), value.value().to_vec());
        }
    }
    for entry in txn.open_table(JOBS_BY_CREATED).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        let key = format!("{:?}", key.value()).into_bytes();
        let (code, item, due) = value.value();
        let filed = [&[code], &item[..], &due.to_be_bytes()].concat();
        all.insert((JOBS_BY_CREATED.name().to_owned(), key), filed);
    }
    for entry in txn.open_table(LIVE).unwrap().iter().unwrap() {
        let key = format!("{:?}", entry.unwrap().0.value()).into_bytes();
        all.insert((LIVE.name().to_owned(), key), vec![]);
    }
    for entry in txn.open_table(DUE).unwrap().iter().unwrap() {
        let key = format!("{:?}", entry.unwrap().0.value()).into_bytes();
        all.insert((DUE.name().to_owned(), key), vec![]);
    }
    for entry in txn.open_table(KEYS_BY_EXPIRY).unwrap().iter().unwrap() {
        let key = format!("{:?}", entry.unwrap().0.value()).into_bytes();
        all.insert((KEYS_BY_EXPIRY.name().to_owned(), key), vec![]);
    }
    for entry in txn.open_table(COMMITS).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        let place = (COMMITS.name().to_owned(), key.value().to_vec());
        all.insert(place, value.value().to_vec());
    }
    for entry in txn.open_table(COMMIT_OF).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        let place = (COMMIT_OF.name().to_owned(), key.value().to_vec());
        all.insert(place, value.value().to_vec());
    }
    all
}

/// Up to which batch a file goes: each counts the version up by one.
fn version(reader: &Reader) -> u64 {
    let shared = reader.shared();
    let meta = shared.begin_read().unwrap().open_table(META).unwrap();
    let head: Found<Head> = shared.refusals.get(&meta, &META, META_HEAD).unwrap();
    head.ok().unwrap().version
}

/// A batch of a few random writes.
pub(super) fn random_batch(world: &mut World, chance: &mut Chance) -> Batch {
    const PHASES: [Phase; 4] = [Phase::Queued, Phase::Leased, Phase::Succeeded, Phase::Failed];
    let mut writes = Vec::new();
    for _ in 0..=chance.below(5) {
        let id = world.id(chance.below(12));
        let phase = PHASES[chance.below(4) as usize];
        let scope = Hash::of(&[chance.below(4) as u8]);
        let expires_at = Wall(chance.below(3));
        let host = ["a", "b", "c"][chance.below(3) as usize];
        match chance.below(15) {
            0 | 1 => writes.extend(world.job(&id, phase)),
            2 => writes.push(world.row(&id, phase)),
            3 => writes.push(world.certificate(&id, phase)),
            4 => writes.push(Write::Result(Box::new(world.result(&id, chance.below(3) as u32)))),
            5 => writes.push(Write::Host(Box::new(world.host(host)))),
            6 => writes.push(Write::ForgetHost(HostId::new(host).unwrap())),
            7 => {
                let answer = KeyAnswer::Removed;
                let row = KeyRow { fingerprint: scope, expires_at, answer };
                writes.push(Write::Key { scope, row: Box::new(row) });
            }
            // A register that this node does not vote on.
            8 => writes.extend([world.spec(&id), world.certificate(&id, phase)]),
            9 => writes.extend(world.service(host, phase == Phase::Failed)),
            // A job of its own: one that was shrunk is not written to any more.
            10 => {
                let id = world.id(100 + chance.below(3));
                writes.push(Write::Drop(Subject::Job(id.clone())));
                writes.extend(world.job(&id, phase));
                if chance.below(2) == 0 {
                    writes.push(Write::Shrink(Box::new(world.stub(&id))));
                }
            }
            11 => writes.push(Write::Drop(Subject::Job(world.id(100 + chance.below(3))))),
            // Too low for any of these to be compared no longer.
            12 => writes.extend([
                Write::GcFloor(Wall(chance.below(1_000_000))),
                Write::Refile(Subject::Job(id)),
            ]),
            _ => {
                writes.push(Write::ForgetKey { scope, expires_at });
                writes.push(Write::LeaseNote { job: id, until: Some(Wall(4)) });
            }
        }
    }
    world.batch(writes)
}

/// Registers of one voter, or of three.
pub(super) fn start(seed: u64) -> (World, Chance) {
    let mut world = World::new();
    world.voters = if seed.is_multiple_of(2) { 1 } else { 3 };
    (world, Chance::new(seed))
}

/// The same batches on two disks: one that never fails, one that does.
pub(super) struct Twins {
    pub(super) seed: u64,
    /// What a file holds after each number of batches.
    pub(super) truth: Vec<Dump>,
    batches: u64,
}

impl Twins {
    pub(super) fn new(seed: u64, batches: u64) -> Self {
        let disk = Disk::new();
        let mut healthy = Store::open_disk(&disk, &options()).unwrap();
        let mut truth = vec![dump(&healthy.reader)];
        let (mut world, mut chance) = start(seed);
        for _ in 0..batches {
            healthy.store.commit(random_batch(&mut world, &mut chance)).unwrap();
            truth.push(dump(&healthy.reader));
        }
        healthy.store.rebuild_indexes().unwrap();
        let kept = Some(&dump(&healthy.reader)) == truth.last();
        assert!(kept, "seed {seed}: upkeep and rebuilding derive the same");
        Self { seed, truth, batches }
    }

    /// Commits the batches from the first on that is not there, until one fails. Returns how many
    /// are durable.
    fn commit_on(&self, opened: &mut Opened, from: u64) -> (u64, Option<CommitError>) {
        let (mut world, mut chance) = start(self.seed);
        let mut when = Chance::new(self.seed ^ from);
        let mut durable = from;
        for n in 1..=self.batches {
            let batch = random_batch(&mut world, &mut chance);
            if n <= from {
                continue;
            }
            match opened.store.commit(batch) {
                Ok(proof) => durable = proof.seq(),
                Err(error) => return (durable, Some(error)),
            }
            // The settler comes when it can.
            if when.below(3) == 0
                && let Some(steps) = opened.store.steps()
            {
                steps.take();
            }
        }
        (durable, None)
    }

    /// What was promised is there, and nothing by halves.
    pub(super) fn check(&self, opened: &Opened, durable: u64) -> u64 {
        let seed = self.seed;
        let there = version(&opened.reader);
        assert!(there >= durable, "seed {seed}: {durable} durable, {there} there");
        assert!(there <= durable + 1, "seed {seed}: {there} was never committed");
        let held = dump(&opened.reader);
        assert!(
            held == self.truth[there as usize],
            "seed {seed}: batch {there} is there by halves"
        );
        assert_eq!(opened.reader.refused_records(), 0, "seed {seed}");
        there
    }
}

#[test]
fn a_power_cut_at_any_instant_keeps_what_was_durable_and_halves_nothing() {
    let mut cut = 0;
    for seed in 0..240 {
        let twins = Twins::new(seed, 14);
        let mut chance = Chance::new(!seed);
        let disk = Disk::new();
        let mut opened = Store::open_disk(&disk, &options()).unwrap();
        let mut durable = 0;
        for _ in 0..3 {
            disk.cut_power_after(1 + chance.below(30));
            (durable, _) = twins.commit_on(&mut opened, durable);
            cut += u64::from(disk.is_cut());
            drop(opened);
            disk.crash(chance.number());
            // Power may fail again while the file is repaired.
            disk.cut_power_after(1 + chance.below(40));
            if let Ok(opened) = Store::open_disk(&disk, &options()) {
                durable = twins.check(&opened, durable);
            }
            disk.crash(chance.number());
            opened = Store::open_disk(&disk, &options())
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            durable = twins.check(&opened, durable);
        }
        let (durable, error) = twins.commit_on(&mut opened, durable);
        assert!(error.is_none() && durable == 14, "seed {seed}");
        twins.check(&opened, 14);
    }
    assert!(cut > 300, "the power was cut in {cut} runs only");
}

#[test]
fn a_full_disk_fails_the_commit_whole_and_opens_again() {
    let twins = Twins::new(5, 60);
    let disk = Disk::new();
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    disk.set_quota(Some(disk.used() + 24 * 4096));
    let (durable, error) = twins.commit_on(&mut opened, 0);
    let error = error.expect("the quota is small");
    assert!(matches!(error, CommitError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(!opened.store.is_usable());
    let again = opened.store.commit(World::new().batch(vec![])).unwrap_err();
    assert!(matches!(again, CommitError::Unusable { .. }));
    assert_eq!(opened.reader.stats().failures(), 2);
    drop(opened);

    disk.set_quota(None);
    let mut opened = Store::open_disk(&disk, &options()).unwrap();
    assert_eq!(twins.check(&opened, durable), durable, "nothing of the failed batch is kept");
    assert!(twins.commit_on(&mut opened, durable).1.is_none());
    twins.check(&opened, 60);
}

#[test]
fn a_disk_that_turns_read_only_or_fails_is_named_as_such() {
    for health in [Health::ReadOnly, Health::Broken] {
        let twins = Twins::new(9, 2);
        let disk = Disk::new();
        let mut opened = Store::open_disk(&disk, &options()).unwrap();
        disk.set_health(health);
        let (durable, error) = twins.commit_on(&mut opened, 0);
        let error = error.expect("the disk fails");
        match health {
            Health::ReadOnly => assert!(matches!(error, CommitError::ReadOnly { .. }), "{error:?}"),
            _ => assert!(matches!(error, CommitError::Io { .. }), "{error:?}"),
        }
        drop(opened);
        let refused = Store::open_disk(&disk, &options()).unwrap_err();
        assert!(matches!(refused, OpenError::Environment { .. }), "{refused:?}");
        assert!(refused.can_heal());
        disk.set_health(Health::Good);
        let opened = Store::open_disk(&disk, &options()).unwrap();
        twins.check(&opened, durable);
    }
}
