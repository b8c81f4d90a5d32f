//! The asker's side: a session with one other node, as a state machine.
//!
//! Call [`Session::step`]; send what it asks and hand the answer to [`Session::hear`]; repeat until
//! it is done, then call [`Session::end`]. A session may be dropped at any point. Memory stays bounded, since what a page
//! brought is moved before the next is asked for.
//!
//! Ranges in which nothing is held here are copied, not compared ([`RepairAsk::Copy`]), after
//! everything else; ranges in which the other holds nothing are left to its own sessions. A page of which less than half was taken ends copying for this session and, from
//! this peer, for ten minutes: then [`Memory`] decides item by item.

use std::collections::VecDeque;

use super::{
    COPY_FROM, Claim, Copied, FEW_ITEMS, Fetched, Inventory, Item, MAX_ASKS, MAX_ITEMS, MAX_OPEN,
    MAX_PAGE, MAX_RANGES, MAX_RECORDS, Memory, Page, Part, Range, Records, RepairAsk, RepairTell,
    SPLIT, Sum, Verdict,
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
    /// Ranges to be copied; the oldest first, so that a copy that breaks off leaves one range.
    copies: Vec<Range>,
    /// The last page copied: its range, and how many records came.
    copied: Option<(Range, u64)>,
    pending: Pending,
    asks: u32,
    /// The oldest item that was moved because of comparing.
    oldest: Option<Item>,
    /// Something held here was not seen to be held there.
    differs: bool,
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
    Copy(Range),
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
    pub fn begin<I: Inventory>(
        me: NodeId,
        peer: NodeId,
        inventory: &I,
        memory: &Memory,
        now: Mono,
    ) -> Result<Self, I::Error> {
        let all = Open { range: Range::ALL, sum: inventory.sum(Range::ALL)? };
        // Whoever holds nothing has nothing to compare.
        let empty = all.sum.is_empty() && memory.may_copy(peer, now);
        let (open, copies) = if empty { (vec![], vec![all.range]) } else { (vec![all], vec![]) };
        Ok(Self {
            me,
            peer,
            open,
            wanted: VecDeque::new(),
            spare: VecDeque::new(),
            copies,
            copied: None,
            pending: Pending::Nothing,
            asks: 0,
            oldest: None,
            differs: !all.sum.is_empty(),
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
        if let Some(range) = self.copies.pop_if(|_| last) {
            return self.ask(RepairAsk::Copy(range), Pending::Copy(range));
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
            (Pending::Copy(range), RepairTell::Copied(copied)) => {
                return self.took_page(inventory, memory, now, range, copied);
            }
            (Pending::Offer(items), RepairTell::Taken) => {
                items.iter().for_each(|item| memory.note(self.peer, *item, now));
                self.moved(&items);
            }
            _ => return Err(Broken("is to another question").into()),
        }
        Ok(Records::default())
    }

    fn moved(&mut self, items: &[Item]) {
        self.oldest = self.oldest.into_iter().chain(items.iter().copied()).min();
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
        self.moved(&items);
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
        if self.asks == 1 {
            self.differs = verdicts.iter().any(|verdict| *verdict != Verdict::Same);
        }
        let mut listed = 0;
        for (open, verdict) in opened.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Same => {}
                Verdict::Later => self.open.push(open),
                Verdict::Parts(parts) => {
                    let copies = memory.may_copy(self.peer, now);
                    self.split(inventory, open.range, &parts, copies)?;
                }
                // Whoever holds next to nothing has asked about everything, and was told that there
                // is more than a page: the page is not needed.
                Verdict::Items(page)
                    if page.more
                        && open.sum.count() <= FEW_ITEMS
                        && memory.may_copy(self.peer, now) =>
                {
                    listed += page.items.len();
                    self.copy_later(open.range);
                }
                // They hold next to nothing, and copy in a session of their own. Of a newcomer all that it is
                // connected with think so.
                Verdict::Items(page)
                    if !page.more
                        && (page.items.is_empty() && open.sum.count() >= COPY_FROM
                            || page.items.len() as u64 <= FEW_ITEMS
                                && open.sum.count() > MAX_ITEMS as u64) => {}
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
        copies: bool,
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
            let they_copy = part.fingerprint.count == 0 && sum.count() >= COPY_FROM;
            if they_copy {
                // In their own session: offered as well, everything would come twice.
            } else if copies && sum.is_empty() && part.fingerprint.count >= COPY_FROM {
                self.copy_later(range);
            } else if sum.fingerprint() != part.fingerprint {
                self.open.push(Open { range, sum });
            }
            from = part.to;
        }
        Ok(())
    }

    /// The range is copied once nothing else is left to do.
    fn copy_later(&mut self, range: Range) {
        match self.copies.last_mut() {
            // Parts come in order.
            Some(last) if last.to == range.from => last.to = range.to,
            _ => self.copies.push(range),
        }
    }

    /// A page of a range that is copied.
    fn took_page<I: Inventory>(
        &mut self,
        inventory: &I,
        memory: &mut Memory,
        now: Mono,
        range: Range,
        Copied { next, records }: Copied,
    ) -> Result<Records, Trouble<I::Error>> {
        let forward = next.is_none_or(|next| range.from < next && next < range.to);
        if !forward || records.len() > MAX_PAGE {
            return Err(Broken("does not go on in the range").into());
        }
        // By now the engine has taken the page before.
        if self.was_vain(inventory, memory, now).map_err(Trouble::Inventory)? {
            self.copies.clear();
            self.over = true;
            return Ok(Records::default());
        }
        let page = Range { from: range.from, to: next.unwrap_or(range.to) };
        self.copied = Some((page, records.len() as u64));
        if let Some(next) = next {
            self.copies.push(Range { from: next, to: range.to });
        }
        Ok(records)
    }

    /// Whether next to nothing was taken of the last page copied; then it is noted.
    fn was_vain<I: Inventory>(
        &mut self,
        inventory: &I,
        memory: &mut Memory,
        now: Mono,
    ) -> Result<bool, I::Error> {
        let Some((page, count)) = self.copied.take() else { return Ok(false) };
        let vain = inventory.sum(page)?.count().saturating_mul(2) < count;
        if vain {
            memory.note_vain(self.peer, now);
        }
        Ok(vain)
    }

    /// True if the other side was seen to hold all that was held here when the session began, and nothing had to be
    /// moved for that. Nodes do not ask; simulations do.
    #[must_use]
    pub const fn found_equal(&self) -> bool {
        !self.differs
    }

    /// To be called at [`Step::Done`]. Returns the oldest item that was moved because one side was
    /// found to lack it. Records that were copied do not count: whoever copies was not there when
    /// they were news.
    ///
    /// # Errors
    /// The inventory's own.
    pub fn end<I: Inventory>(
        mut self,
        inventory: &I,
        memory: &mut Memory,
        now: Mono,
    ) -> Result<Option<Item>, I::Error> {
        self.was_vain(inventory, memory, now)?;
        Ok(self.oldest)
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
