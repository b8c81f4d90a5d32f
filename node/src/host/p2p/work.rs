//! Where jobs wait, by what coordinators announce. Hints: a claim there finds out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use skyclaw_protocol::NodeId;
use skyclaw_protocol::clock::{Hlc, Mono};
use skyclaw_protocol::placement::meets;
use skyclaw_protocol::record::work::{Work, WorkClass};
use tokio::sync::watch;

use super::limits::{MAX_HOMES, OTHERS_FIRST, WORK_AGE};

/// What one home said last.
#[derive(Debug)]
struct Said {
    at: Hlc,
    heard: Mono,
    classes: Vec<WorkClass>,
}

/// What is known, without a clock or chance.
#[derive(Debug, Default)]
struct Table(BTreeMap<NodeId, Said>);

impl Table {
    /// True if it is news.
    fn hear(&mut self, now: Mono, work: Work) -> bool {
        self.0.retain(|_, said| said.heard.until(now) < WORK_AGE);
        if self.0.get(&work.home).is_some_and(|said| said.at >= work.at) {
            return false;
        }
        if self.0.len() >= MAX_HOMES && !self.0.contains_key(&work.home) {
            let oldest = self.0.iter().min_by_key(|(_, said)| said.heard);
            if let Some(home) = oldest.map(|(home, _)| *home) {
                self.0.remove(&home);
            }
        }
        let said = Said { at: work.at, heard: now, classes: work.classes };
        self.0.insert(work.home, said);
        true
    }

    /// Jobs at `home` that a host of these capabilities may run.
    fn fitting(said: &Said, now: Mono, capabilities: &[String]) -> u64 {
        if said.heard.until(now) >= WORK_AGE {
            return 0;
        }
        let fitting = said.classes.iter().filter(|class| meets(capabilities, &class.required));
        fitting.map(|class| u64::from(class.queued)).sum()
    }

    /// Of two random homes with work the one with more.
    fn pick(
        &self,
        now: Mono,
        capabilities: &[String],
        may: impl Fn(&NodeId) -> bool,
        chance: [usize; 2],
    ) -> Option<NodeId> {
        let count = |(home, said): (&NodeId, &Said)| {
            let queued = Self::fitting(said, now, capabilities);
            (queued > 0 && may(home)).then_some((queued, *home))
        };
        let all: Vec<_> = self.0.iter().filter_map(count).collect();
        let one = |chance: usize| all.get(chance.checked_rem(all.len())?);
        chance.into_iter().filter_map(one).max().map(|(_, home)| *home)
    }

    /// It had none after all: nothing is looked for there until it speaks again.
    fn zero(&mut self, home: NodeId) {
        if let Some(said) = self.0.get_mut(&home) {
            said.classes.clear();
        }
    }
}

/// What is known of work, shared between those that hear and the one that claims.
#[derive(Debug)]
pub struct WorkBoard {
    table: Mutex<Table>,
    news: watch::Sender<()>,
}

impl Default for WorkBoard {
    fn default() -> Self {
        Self { table: Mutex::default(), news: watch::Sender::new(()) }
    }
}

impl WorkBoard {
    /// An announcement that was checked.
    pub fn hear(&self, now: Mono, work: Work) {
        if self.with(|table| table.hear(now, work)) {
            self.news.send_replace(());
        }
    }

    pub(super) fn pick(
        &self,
        now: Mono,
        capabilities: &[String],
        may: impl Fn(&NodeId) -> bool,
        chance: u64,
    ) -> Option<NodeId> {
        let chance = [chance & 0xffff, chance >> 16 & 0xffff].map(|part| part as usize);
        self.with(|table| table.pick(now, capabilities, may, chance))
    }

    fn said_at(&self, home: NodeId) -> Option<Hlc> {
        self.with(|table| table.0.get(&home).map(|said| said.at))
    }

    pub(super) fn zero(&self, home: NodeId) {
        self.with(|table| table.zero(home));
    }

    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends once work for these capabilities goes on waiting at a home that `may` be asked: its
/// coordinators ask it in the name of their parked claims, and as a rule that is faster.
pub(super) async fn goes_on_waiting(
    board: &WorkBoard,
    clock: impl Fn() -> Mono,
    capabilities: &[String],
    may: impl Fn(&NodeId) -> bool,
) {
    let mut news = board.news();
    let mut noticed: Option<(NodeId, Hlc, Mono)> = None;
    loop {
        let now = clock();
        let word = board.pick(now, capabilities, &may, 0).and_then(|home| {
            let at = board.said_at(home)?;
            Some((home, at))
        });
        match (word, noticed) {
            (Some((home, at)), Some((same, first, since))) if home == same => {
                if at > first && since.until(now) >= OTHERS_FIRST {
                    return;
                }
            }
            (word, _) => noticed = word.map(|(home, at)| (home, at, now)),
        }
        if news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> NodeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn work(home: u32, at: u64, classes: &[(&str, u32)]) -> Work {
        let class = |(word, queued): &(&str, u32)| WorkClass {
            required: word.split_whitespace().map(Into::into).collect(),
            queued: *queued,
        };
        let classes = classes.iter().map(class).collect();
        Work { home: node(home), at: Hlc { ms: at, count: 0 }, classes }
    }

    fn at(ms: u64) -> Mono {
        Mono::default().plus_ms(ms)
    }

    fn pick(table: &Table, now: u64, chance: [usize; 2]) -> Option<NodeId> {
        table.pick(at(now), &["openclaw".into(), "shell".into()], |_| true, chance)
    }

    #[test]
    fn only_work_that_fits_is_found_and_of_two_homes_the_fuller() {
        let mut table = Table::default();
        assert!(table.hear(at(0), work(1, 1, &[("gpu", 9)])));
        assert_eq!(pick(&table, 0, [0, 1]), None);
        assert!(table.hear(at(0), work(2, 1, &[("gpu", 9), ("shell", 1), ("", 1)])));
        assert!(table.hear(at(0), work(3, 1, &[("shell", 3)])));
        assert_eq!(pick(&table, 0, [0, 1]), Some(node(3)));
        assert_eq!(pick(&table, 0, [0, 2]), Some(node(2)), "both draws may be the same");
        table.zero(node(3));
        assert_eq!(pick(&table, 0, [0, 1]), Some(node(2)));
    }

    #[test]
    fn the_newest_word_of_a_home_counts_and_only_for_a_while() {
        let mut table = Table::default();
        assert!(table.hear(at(0), work(1, 5, &[("", 1)])));
        assert!(!table.hear(at(1), work(1, 5, &[])), "told twice");
        assert!(!table.hear(at(1), work(1, 4, &[])), "overtaken");
        assert_eq!(pick(&table, 2999, [0, 0]), Some(node(1)));
        assert_eq!(pick(&table, 3000, [0, 0]), None);
        assert!(table.hear(at(3000), work(1, 6, &[("", 1)])));
        table.zero(node(1));
        assert!(!table.hear(at(3001), work(1, 6, &[("", 1)])), "zeroed until it speaks again");
        assert!(table.hear(at(3002), work(1, 7, &[("", 1)])));
        assert_eq!(pick(&table, 3002, [0, 0]), Some(node(1)));
    }

    #[test]
    fn homes_are_bounded_and_the_one_heard_least_lately_goes() {
        let mut table = Table::default();
        for n in 0..MAX_HOMES as u32 + 10 {
            table.hear(at(u64::from(n)), work(n, 1, &[("", 1)]));
        }
        assert_eq!(table.0.len(), MAX_HOMES);
        assert!(!table.0.contains_key(&node(9)) && table.0.contains_key(&node(10)));
    }
}
