//! Two holders of versioned subjects, and sessions between them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use rand_chacha::ChaCha12Rng;

use super::super::{
    Copied, Fetched, Inventory, Item, MAX_PAGE, Memory, Range, Records, RepairAsk, RepairTell,
    Session, Step, Sum, compare, short_hash,
};
use super::{ME, PEER, below};
use crate::clock::Mono;
use crate::codec::{decode, encode};
use crate::id::NodeId;
use crate::key::Signature;
use crate::record::{Proof, Raw};
use crate::wire::Known;

/// Records in a page of a copy here.
pub(super) const PAGE: usize = 500;

/// Versions by subject. The higher one replaces the lower, as the fold would have it.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) held: BTreeMap<u64, u64>,
    items: BTreeSet<Item>,
    by_item: BTreeMap<Item, u64>,
    pub(super) refuses: bool,
}

fn item(subject: u64, version: u64) -> Item {
    // Some share a stamp, and versions do not rise with time everywhere.
    Item { at: subject / 3 + version % 5 * 1000, id: short_hash(&encode(&(subject, version))) }
}

impl Holder {
    pub(super) fn put(&mut self, subject: u64, version: u64) {
        let old = self.held.get(&subject).copied();
        if old.is_some_and(|old| old >= version) {
            return;
        }
        if let Some(old) = old {
            self.items.remove(&item(subject, old));
            self.by_item.remove(&item(subject, old));
        }
        self.held.insert(subject, version);
        self.items.insert(item(subject, version));
        self.by_item.insert(item(subject, version), subject);
    }

    fn gather(&self, items: &[Item], most: usize) -> (usize, Records) {
        let mut records = Records::default();
        for item in &items[..items.len().min(most)] {
            let Some(subject) = self.by_item.get(item) else { continue };
            let body = encode(&(*subject, self.held[subject]));
            let proof = Proof::alone(Signature([0; 64]));
            let certificate = Raw { body, signer: NodeId([0; 32]), proof };
            records.registers.push(Known { certificate, spec: None, result: None });
        }
        (items.len().min(most), records)
    }

    fn learn(&mut self, records: Records) {
        for known in records.registers {
            let Ok((subject, version)) = decode(&known.certificate.body, 100) else { continue };
            if !self.refuses {
                self.put(subject, version);
            }
        }
    }

    /// What a node answers.
    pub(super) fn answer(&mut self, ask: RepairAsk) -> Option<RepairTell> {
        if !ask.holds() {
            return None;
        }
        Some(match ask {
            RepairAsk::Compare(claims) => {
                let Ok(verdicts) = compare(self, &claims);
                RepairTell::Compared(verdicts)
            }
            RepairAsk::Fetch(items) => {
                let (done, records) = self.gather(&items, 200);
                RepairTell::Records(Fetched { done: done as u32, records })
            }
            RepairAsk::Offer(records) => {
                self.learn(records);
                RepairTell::Taken
            }
            RepairAsk::Copy(range) => {
                let Ok(mut items) = self.items(range, PAGE + 1);
                let next = items.get(PAGE).copied();
                items.truncate(PAGE);
                let (_, records) = self.gather(&items, PAGE);
                RepairTell::Copied(Copied { next, records })
            }
        })
    }
}

impl Inventory for Holder {
    type Error = Infallible;

    fn sum(&self, range: Range) -> Result<Sum, Infallible> {
        let items: Vec<Item> = self.items.range(range.from..range.to).copied().collect();
        Ok(Sum::of(&items))
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, Infallible> {
        Ok(self.items.range(range.from..range.to).take(most).copied().collect())
    }
}

#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) here: Holder,
    pub(super) there: Holder,
    pub(super) memory: Memory,
    pub(super) now: Mono,
    pub(super) asks: u32,
    pub(super) bytes: usize,
    /// Of the asks those that compare, and their bytes in both directions.
    pub(super) rounds: u32,
    pub(super) comparing: usize,
    pub(super) fetched: usize,
    pub(super) offered: usize,
}

impl Pair {
    /// Each holds some of `size` subjects, at one of a few versions.
    pub(super) fn random(chance: &mut ChaCha12Rng, size: u64) -> Self {
        let mut pair = Self::default();
        let shared = below(chance, 100);
        for subject in 0..below(chance, size) {
            let version = below(chance, 4);
            if below(chance, 100) < shared {
                pair.here.put(subject, version);
                pair.there.put(subject, version);
            }
            match below(chance, 8) {
                0 => pair.here.put(subject, below(chance, 6)),
                1 => pair.there.put(subject, below(chance, 6)),
                _ => {}
            }
        }
        pair
    }

    /// What both should hold in the end.
    pub(super) fn best(&self) -> BTreeMap<u64, u64> {
        let mut best = self.here.held.clone();
        for (subject, version) in &self.there.held {
            let held = best.entry(*subject).or_insert(*version);
            *held = (*held).max(*version);
        }
        best
    }

    /// One session; `passes` says which of the messages, numbered, get through. `None` if one did
    /// not.
    pub(super) fn run(&mut self, mut passes: impl FnMut(u32) -> bool) -> Option<()> {
        let Ok(mut session) = Session::begin(ME, PEER, &self.here, &self.memory, self.now);
        let mut messages = 0;
        let mut passes = || {
            messages += 1;
            passes(messages)
        };
        loop {
            let ask = match session.step() {
                Step::Done => {
                    let Ok(_) = session.end(&self.here, &mut self.memory, self.now);
                    return Some(());
                }
                Step::Ask(ask) => ask,
                Step::Hand(items) => {
                    let (done, records) = self.here.gather(&items, 150);
                    self.offered += records.len();
                    let handed = session.hand(&mut self.memory, self.now, items, done, records);
                    let Some(ask) = handed else { continue };
                    ask
                }
            };
            self.asks += 1;
            let compares = matches!(ask, RepairAsk::Compare(_));
            let before = self.bytes;
            let bytes = encode(&ask);
            self.bytes += bytes.len();
            if !passes() {
                return None;
            }
            let tell = self.there.answer(decode(&bytes, 1 << 20).unwrap()).unwrap();
            let bytes = encode(&tell);
            assert!(bytes.len() < 200 << 10, "{} bytes", bytes.len());
            self.bytes += bytes.len();
            if compares {
                self.rounds += 1;
                self.comparing += self.bytes - before;
            }
            if !passes() {
                return None;
            }
            let heard = session.hear(&self.here, &mut self.memory, self.now, tell).unwrap();
            assert!(heard.len() <= MAX_PAGE);
            self.fetched += heard.len();
            self.here.learn(heard);
        }
    }
}
