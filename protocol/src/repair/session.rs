//! The asker's side: a session with one other node, as a state machine.
//!
//! Call [`Session::step`]; send what it asks and hand the answer to [`Session::hear`]; repeat until
//! it is done. A session may be dropped at any point. Memory stays bounded, since what a page
//! brought is moved before the next is asked for.

use std::collections::VecDeque;

use super::{
    Claim, Fetched, Inventory, Item, MAX_ASKS, MAX_ITEMS, MAX_OPEN, MAX_RANGES, MAX_RECORDS,
    Memory, Page, Part, Range, Records, RepairAsk, RepairTell, SPLIT, Sum, Verdict,
};
use crate::clock::Mono;
use crate::id::NodeId;

/// See the module.
#[derive(Debug)]
pub struct Session {
    me: NodeId,
    peer: NodeId,
    /// Ranges to compare, in order, with what is held here. The newest are compared first.
    open: Vec<Open>,
    /// Held there, not here.
    wanted: VecDeque<Item>,
    /// Held here, not there.
    spare: VecDeque<Item>,
    pending: Pending,
    asks: u32,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    range: Range,
    sum: Sum,
}

/// What the next answer is to.
#[derive(Debug)]
enum Pending {
    Nothing,
    Compare(Vec<Open>),
    Fetch(Vec<Item>),
    Offer(Vec<Item>),
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Ask(RepairAsk),
    /// Gather records of these items, from the first on, and call [`Session::hand`].
    Hand(Vec<Item>),
    /// Nothing is left to do.
    Done,
}

/// No honest node answers like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer {0}")]
pub struct Broken(&'static str);

/// A session cannot go on. Both sides are as if it had ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble<E> {
    /// The other side broke a rule.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The inventory here did not answer.
    #[error("{0}")]
    Inventory(E),
}

impl Session {
    /// A session of `me` with `peer` over all items.
    ///
    /// # Errors
    /// The inventory's own.
    pub fn begin<I: Inventory>(me: NodeId, peer: NodeId, inventory: &I) -> Result<Self, I::Error> {
        let all = Open { range: Range::ALL, sum: inventory.sum(Range::ALL)? };
        Ok(Self {
            me,
            peer,
            open: vec![all],
            wanted: VecDeque::new(),
            spare: VecDeque::new(),
            pending: Pending::Nothing,
            asks: 0,
            over: false,
        })
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if self.over || self.asks >= MAX_ASKS {
            return Step::Done;
        }
        let last = self.open.is_empty();
        let due = |queue: &VecDeque<Item>| queue.len() >= MAX_RECORDS || last && !queue.is_empty();
        if due(&self.wanted) {
            let items = take(&mut self.wanted);
            return self.ask(RepairAsk::Fetch(items.clone()), Pending::Fetch(items));
        }
        if due(&self.spare) {
            return Step::Hand(take(&mut self.spare));
        }
        if last {
            return Step::Done;
        }
        let compared = self.open.split_off(self.open.len().saturating_sub(MAX_RANGES));
        let claim = |open: &Open| Claim { range: open.range, fingerprint: open.sum.fingerprint() };
        let claims = compared.iter().map(claim).collect();
        self.ask(RepairAsk::Compare(claims), Pending::Compare(compared))
    }

    fn ask(&mut self, ask: RepairAsk, pending: Pending) -> Step {
        self.asks += 1;
        self.pending = pending;
        Step::Ask(ask)
    }

    /// The records of the first `done` of the items that [`Step::Hand`] named. Those that are not
    /// held any more, or cannot be sent, are not among them. `None` if nothing is to be sent.
    pub fn hand(
        &mut self,
        memory: &mut Memory,
        now: Mono,
        mut items: Vec<Item>,
        done: usize,
        records: Records,
    ) -> Option<RepairAsk> {
        for item in items.split_off(done.clamp(1, items.len())).into_iter().rev() {
            self.spare.push_front(item);
        }
        if records.is_empty() {
            // What cannot be sent is not looked at again and again.
            items.iter().for_each(|item| memory.note(self.peer, *item, now));
            return None;
        }
        self.asks += 1;
        self.pending = Pending::Offer(items);
        Some(RepairAsk::Offer(records))
    }

    /// An answer came. Returns records to be checked and learned.
    ///
    /// # Errors
    /// [`Trouble`]; drop the session.
    pub fn hear<I: Inventory>(
        &mut self,
        inventory: &I,
        memory: &mut Memory,
        now: Mono,
        tell: RepairTell,
    ) -> Result<Records, Trouble<I::Error>> {
        match (std::mem::replace(&mut self.pending, Pending::Nothing), tell) {
            (_, RepairTell::Busy) => self.over = true,
            (Pending::Compare(opened), RepairTell::Compared(verdicts)) => {
                self.compared(inventory, memory, now, opened, verdicts)?;
            }
            (Pending::Fetch(items), RepairTell::Records(fetched)) => {
                return Ok(self.fetched(memory, now, items, fetched)?);
            }
            (Pending::Offer(items), RepairTell::Taken) => {
                items.iter().for_each(|item| memory.note(self.peer, *item, now));
            }
            _ => return Err(Broken("is to another question").into()),
        }
        Ok(Records::default())
    }

    fn fetched(
        &mut self,
        memory: &mut Memory,
        now: Mono,
        mut items: Vec<Item>,
        Fetched { done, records }: Fetched,
    ) -> Result<Records, Broken> {
        let done = done as usize;
        if done == 0 || done > items.len() || records.len() > done {
            return Err(Broken("holds other records than were asked for"));
        }
        for item in items.split_off(done).into_iter().rev() {
            self.wanted.push_front(item);
        }
        items.iter().for_each(|item| memory.note(self.me, *item, now));
        Ok(records)
    }

    fn compared<I: Inventory>(
        &mut self,
        inventory: &I,
        memory: &Memory,
        now: Mono,
        opened: Vec<Open>,
        verdicts: Vec<Verdict>,
    ) -> Result<(), Trouble<I::Error>> {
        if verdicts.len() != opened.len() || verdicts.first() == Some(&Verdict::Later) {
            return Err(Broken("does not fit the ranges").into());
        }
        let mut listed = 0;
        for (open, verdict) in opened.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Same => {}
                Verdict::Later => self.open.push(open),
                Verdict::Parts(parts) => self.split(inventory, open.range, &parts)?,
                Verdict::Items(page) => {
                    listed += page.items.len();
                    self.list(inventory, memory, now, open, &page)?;
                }
            }
        }
        if self.open.len() > MAX_OPEN || listed > MAX_ITEMS {
            return Err(Broken("is too long").into());
        }
        Ok(())
    }

    /// Keeps those parts of a range in which something else is held here.
    fn split<I: Inventory>(
        &mut self,
        inventory: &I,
        range: Range,
        parts: &[Part],
    ) -> Result<(), Trouble<I::Error>> {
        let rising = parts.windows(2).all(|pair| pair[0].to < pair[1].to);
        let starts = parts.first().is_some_and(|part| range.from < part.to);
        let ends = parts.last().is_some_and(|part| part.to == range.to);
        if !(2..=SPLIT).contains(&parts.len()) || !rising || !starts || !ends {
            return Err(Broken("splits a range otherwise than it may").into());
        }
        let mut from = range.from;
        for part in parts {
            let range = Range { from, to: part.to };
            let sum = inventory.sum(range).map_err(Trouble::Inventory)?;
            if sum.fingerprint() != part.fingerprint {
                self.open.push(Open { range, sum });
            }
            from = part.to;
        }
        Ok(())
    }

    /// Notes what one side lacks of the items listed; what comes after them stays to be compared.
    fn list<I: Inventory>(
        &mut self,
        inventory: &I,
        memory: &Memory,
        now: Mono,
        open: Open,
        page: &Page,
    ) -> Result<(), Trouble<I::Error>> {
        let theirs = &page.items[..];
        let rising = theirs.windows(2).all(|pair| pair[0] < pair[1]);
        let within = theirs.iter().all(|item| open.range.holds(item));
        if !rising || !within || theirs.len() > MAX_ITEMS || page.more && theirs.is_empty() {
            return Err(Broken("lists items that are not in the range").into());
        }
        let mut to = match theirs.last() {
            Some(last) if page.more => last.next(),
            _ => open.range.to,
        };
        let covered = Range { from: open.range.from, to };
        let mut ours = inventory.items(covered, MAX_ITEMS + 1).map_err(Trouble::Inventory)?;
        if let Some(beyond) = ours.get(MAX_ITEMS).copied() {
            to = beyond;
            ours.truncate(MAX_ITEMS);
        }
        let theirs = &theirs[..theirs.partition_point(|item| *item < to)];
        let free = |taker: NodeId, item: &&Item| !memory.holds(taker, item, now);
        let lacking = |all: &[Item], item: &&Item| all.binary_search(item).is_err();
        let wanted = theirs.iter().filter(|item| lacking(&ours, item));
        self.wanted.extend(wanted.filter(|item| free(self.me, item)));
        let spare = ours.iter().filter(|item| lacking(theirs, item));
        self.spare.extend(spare.filter(|item| free(self.peer, item)));
        if to < open.range.to {
            let rest = Range { from: to, to: open.range.to };
            // What is held here may have changed since it was summed: then the rest does not look
            // the same, and is looked at once more.
            self.open.push(Open { range: rest, sum: open.sum.minus(Sum::of(&ours)) });
        }
        Ok(())
    }
}

fn take(queue: &mut VecDeque<Item>) -> Vec<Item> {
    queue.drain(..queue.len().min(MAX_RECORDS)).collect()
}
