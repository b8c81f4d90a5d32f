//! The records of a large network, and which of them a node holds, as [`Inventory`] of real sessions.
//!
//! Always: all items that a run will ever have are known from its start, in their order, so that a node holds a
//! bit for each and a sum for each [`BLOCK`] of them. Of a job a node holds its newest version alone.

use std::convert::Infallible;

use skyclaw_protocol::JobId;
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::repair::{Inventory, Item, Range, Sum};
use skyclaw_protocol::shards::{Shard, ShardSet};

use crate::dice::Dice;

/// Items summed together.
const BLOCK: usize = 256;

/// Values of a job: queued, leased, done.
pub(super) const VERSIONS: usize = 3;

/// The wall clock at the start of a run, in milliseconds.
const WALL: u64 = 1_800_000_000_000;

/// Nothing there.
const NONE: u32 = u32::MAX;

/// Wall clock of every node, as all clocks are right here.
pub(super) const fn wall(now: u64) -> u64 {
    WALL + now
}

/// One value of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) job: u32,
    pub(super) ver: usize,
    /// When it is made; those before the run at 0.
    pub(super) at: u64,
}

/// All items there will be.
pub(super) struct Records {
    items: Vec<Item>,
    elements: Vec<Sum>,
    pub(super) versions: Vec<Version>,
    of_job: Vec<[u32; VERSIONS]>,
    shards: Vec<Shard>,
}

impl Records {
    /// `old` jobs that ended before the run, and one that begins at each of `begins`.
    pub(super) fn draw(dice: &mut Dice, old: usize, begins: &[u64]) -> Self {
        let mut drawn: Vec<(Item, Version)> = Vec::new();
        let shards = (0..old + begins.len()).map(|_| Shard::of(&id(dice))).collect();
        for job in 0..old {
            // One a second until now.
            let stamp = WALL - 1000 * (old - job) as u64;
            let version = Version { job: number(job), ver: VERSIONS - 1, at: 0 };
            drawn.push((item(dice, stamp), version));
        }
        for (n, begin) in begins.iter().enumerate() {
            let mut at = *begin;
            for ver in 0..VERSIONS {
                drawn.push((item(dice, wall(at)), Version { job: number(old + n), ver, at }));
                at += dice.within(300, 2000);
            }
        }
        drawn.sort_by_key(|(item, _)| *item);
        let mut of_job = vec![[NONE; VERSIONS]; old + begins.len()];
        for (n, (_, version)) in drawn.iter().enumerate() {
            of_job[version.job as usize][version.ver] = number(n);
        }
        let elements = drawn.iter().map(|(item, _)| Sum::of(&[*item])).collect();
        let (items, versions) = drawn.into_iter().unzip();
        Self { items, elements, versions, of_job, shards }
    }

    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn find(&self, item: &Item) -> Option<u32> {
        self.items.binary_search(item).ok().map(number)
    }

    pub(super) fn shard_of(&self, item: u32) -> Shard {
        self.shards[self.versions[item as usize].job as usize]
    }

    fn others(&self, item: u32) -> impl Iterator<Item = u32> {
        let all = self.of_job[self.versions[item as usize].job as usize];
        all.into_iter().filter(move |other| *other != item && *other != NONE)
    }
}

fn id(dice: &mut Dice) -> JobId {
    JobId::new(format!("{:016x}{:016x}", dice.number(), dice.number())).expect("it is short")
}

fn item(dice: &mut Dice, ms: u64) -> Item {
    Item { at: Hlc::at(Wall(ms)).rank(), id: dice.bytes() }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("runs are smaller")
}

/// A set of items.
#[derive(Clone, Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    pub(super) fn has(&self, item: u32) -> bool {
        self.0[item as usize / 64] >> (item % 64) & 1 == 1
    }

    /// False if it was there.
    pub(super) fn set(&mut self, item: u32) -> bool {
        let word = &mut self.0[item as usize / 64];
        let before = *word;
        *word |= 1 << (item % 64);
        before != *word
    }

    fn clear(&mut self, item: u32) {
        self.0[item as usize / 64] &= !(1 << (item % 64));
    }

    /// Those from `from` on, below `to`.
    fn within(&self, from: usize, to: usize) -> impl Iterator<Item = u32> {
        let words = from / 64..to.div_ceil(64);
        words.flat_map(move |n| {
            let mut word = self.0[n];
            if n == from / 64 {
                word &= u64::MAX << (from % 64);
            }
            if n == to / 64 {
                word &= !(u64::MAX << (to % 64));
            }
            std::iter::from_fn(move || {
                let at = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(number(n * 64) + at)
            })
        })
    }
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    bits: Bits,
    blocks: Vec<Sum>,
    pub(super) all: Sum,
}

impl Held {
    pub(super) fn new(len: usize) -> Self {
        Self {
            bits: Bits::new(len),
            blocks: vec![Sum::EMPTY; len.div_ceil(BLOCK)],
            all: Sum::EMPTY,
        }
    }

    pub(super) fn has(&self, item: u32) -> bool {
        self.bits.has(item)
    }

    /// True if it is news: neither it nor a later version of its job is here.
    pub(super) fn take(&mut self, records: &Records, item: u32) -> bool {
        let version = records.versions[item as usize];
        let later = |other: &u32| records.versions[*other as usize].ver > version.ver;
        if self.has(item) || records.others(item).any(|other| later(&other) && self.has(other)) {
            return false;
        }
        for other in records.others(item) {
            self.lose(records, other);
        }
        self.bits.set(item);
        let element = records.elements[item as usize];
        let block = &mut self.blocks[item as usize / BLOCK];
        *block = block.plus(element);
        self.all = self.all.plus(element);
        true
    }

    /// It is not kept any more.
    pub(super) fn lose(&mut self, records: &Records, item: u32) {
        if !self.has(item) {
            return;
        }
        self.bits.clear(item);
        let element = records.elements[item as usize];
        let block = &mut self.blocks[item as usize / BLOCK];
        *block = block.minus(element);
        self.all = self.all.minus(element);
    }
}

impl Held {
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.bits.within(0, 64 * self.bits.0.len())
    }
}

/// What a session compares: all that is held, or what of it lies in some shards.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) records: &'a Records,
    pub(super) held: &'a Held,
    pub(super) scope: Option<ShardSet>,
}

impl View<'_> {
    fn bounds(&self, range: Range) -> (usize, usize) {
        let place = |item: Item| self.records.items.partition_point(|other| *other < item);
        let from = place(range.from);
        (from, place(range.to).max(from))
    }

    fn sees(&self, item: u32) -> bool {
        self.scope.is_none_or(|scope| scope.holds(self.records.shard_of(item)))
    }

    fn sum_of(&self, from: usize, to: usize) -> Sum {
        let all = self.held.bits.within(from, to).filter(|item| self.sees(*item));
        all.fold(Sum::EMPTY, |sum, item| sum.plus(self.records.elements[item as usize]))
    }
}

impl Inventory for View<'_> {
    type Error = Infallible;

    fn sum(&self, range: Range) -> Result<Sum, Infallible> {
        let (from, to) = self.bounds(range);
        let (first, last) = (from.div_ceil(BLOCK), to / BLOCK);
        if self.scope.is_some() || first >= last {
            return Ok(self.sum_of(from, to));
        }
        let middle = self.held.blocks[first..last].iter().fold(Sum::EMPTY, |sum, b| sum.plus(*b));
        let (before, after) = (self.sum_of(from, first * BLOCK), self.sum_of(last * BLOCK, to));
        Ok(before.plus(middle).plus(after))
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, Infallible> {
        let (from, to) = self.bounds(range);
        let all = self.held.bits.within(from, to).filter(|item| self.sees(*item));
        Ok(all.take(most).map(|item| self.records.items[item as usize]).collect())
    }
}
