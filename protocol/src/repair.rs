//! Repair between coordinators: two nodes find out which records one of them lacks, and move those.
//!
//! Each record a node could hand on is an [`Item`]: when its value was made, and a hash of which
//! value it is. A newer value of a register is another item, in place of the old one. Both sides
//! order their items alike, so two ranges hold the same if their [`Fingerprint`]s are equal:
//!
//! ```text
//!   asker:     Compare [range, fingerprint]...
//!   answerer:  same | parts of the range, with fingerprints | its items in the range
//!   asker:     Fetch items it lacks             answerer: Records
//!   asker:     Copy a range it holds nothing of answerer: Copied, a page of records and where it ends
//!   asker:     Offer records the other lacks    answerer: Taken
//! ```
//!
//! Splitting differing ranges is range-based set reconciliation (Meyer, 2023). Where the asker holds
//! nothing, no items are exchanged beforehand: it asks for pages of records in the order of items (a
//! snapshot). The end of a page is the cursor; a copy that broke off is found by the next session as
//! a smaller range in which nothing is held. What changed behind the cursor, comparing finds.
//!
//! Always: a session decides nothing. Which of two values is newer is decided by who learns them
//! ([`fold::order`](crate::fold::order)), so any message may be lost, late or doubled. The answerer
//! keeps no session: each ask stands for itself. What was moved and is still missing is not moved
//! again for a while ([`Memory`]).

mod answer;
mod memory;
mod session;
mod sum;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::NodeId;
use crate::limits::MAX_BATCH_OPS;
use crate::record::control::{Control, OFFENCE};
use crate::record::host::HostDesc;
use crate::record::spec::Subject;
use crate::record::{Raw, Signed};
use crate::register::{Ballot, Val};
use crate::retention::StubRaw;
use crate::wire::Known;

pub use answer::compare;
pub use memory::Memory;
pub use session::{Broken, Session, Step, Trouble};
pub use sum::{Fingerprint, Sum};

/// Items in one answer: 33 bytes each, so about 132 KiB, sixteen fetches.
pub const MAX_ITEMS: usize = 4096;

/// Ranges in one ask: their parts stay below 100 KiB.
pub const MAX_RANGES: usize = 64;

/// Parts of a split range: as many as bring a million items down to [`FEW_ITEMS`] in four rounds.
pub const SPLIT: usize = 16;

/// A range in which one side holds no more than this is listed instead of split: the list is then
/// about as long as the parts would be.
pub const FEW_ITEMS: u64 = 64;

/// Records in one fetch or offer.
pub const MAX_RECORDS: usize = MAX_BATCH_OPS;

/// Bytes of records in one fetch or offer, beyond which no second one joins.
pub const BATCH_BYTES: usize = 1 << 20;

/// A range in which the asker holds nothing is copied if the answerer holds at least this many:
/// below it the list of items costs less than a page that brings what is known to be unwanted.
pub const COPY_FROM: u64 = 256;

/// Records in one page of a copied range: so many that small ones fill [`BATCH_BYTES`].
pub const MAX_PAGE: usize = 1024;

/// Longest ask or answer: one record with a spec of 8 MiB and room for its result. A record that
/// does not fit (largest spec together with largest output) is left out and counted.
pub const MAX_MESSAGE: usize = 12 << 20;

/// Asks of one session: enough to move four million records; a peer that splits without end is
/// left there.
pub const MAX_ASKS: u32 = 20_000;

/// Ranges a session may still have to compare. One ask adds at most [`MAX_RANGES`] times [`SPLIT`]
/// at each of sixteen depths, which 2^64 items would need.
pub const MAX_OPEN: usize = 16_384;

/// How long a record that was moved is not moved again, in milliseconds: it may not be committed
/// yet, or be lost with a crash.
pub const MOVED_MS: u64 = 30_000;

/// The same once it was moved a second time, in milliseconds: the other does not want it.
pub const UNWANTED_MS: u64 = 600_000;

/// Records remembered as moved; beyond it the oldest are forgotten, and at worst moved once more.
pub const MAX_MOVED: usize = 65_536;

/// One record that can be handed on. Ordered by time, so that most differences stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// [`Hlc::rank`](crate::clock::Hlc::rank) of the record's stamp.
    pub at: u64,
    /// First half of a hash of what it is.
    #[serde(with = "serde_bytes")]
    pub id: [u8; 16],
}

impl Item {
    /// Before every item.
    pub const FIRST: Self = Self { at: 0, id: [0; 16] };

    /// After every item: no record is stamped so late.
    pub const END: Self = Self { at: u64::MAX, id: [0xff; 16] };

    /// The item of a register at a chosen value. A (ballot, version) of one register is one value;
    /// two registers of one name differ in the ballot's owner or in the stamp.
    #[must_use]
    pub fn of_value(subject: &Subject, ballot: Ballot, val: &Val) -> Self {
        let what = ("register", subject, ballot, val.ver, val.at);
        Self { at: val.at.rank(), id: short_hash(&codec::encode(&what)) }
    }

    /// The item of a host as `signer` described it.
    #[must_use]
    pub fn of_host(host: &HostDesc, signer: NodeId) -> Self {
        let what = ("host", &host.id, host.at, signer);
        Self { at: host.at.rank(), id: short_hash(&codec::encode(&what)) }
    }

    /// The item of a control record.
    #[must_use]
    pub fn of_control(signed: &Signed<Control>) -> Self {
        if signed.body().kind == OFFENCE {
            // Each node keeps the proof that it had first.
            return Self { at: 0, id: short_hash(&codec::encode(&(OFFENCE, &signed.body().id))) };
        }
        let what = ("control", signed.hash(), signed.signer());
        Self { at: signed.body().at.rank(), id: short_hash(&codec::encode(&what)) }
    }

    /// The least item above this one.
    #[must_use]
    pub fn next(self) -> Self {
        match u128::from_be_bytes(self.id).checked_add(1) {
            Some(id) => Self { at: self.at, id: id.to_be_bytes() },
            None => Self { at: self.at.saturating_add(1), id: [0; 16] },
        }
    }
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    id
}

/// Items from `from` on, below `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first that may be in it.
    pub from: Item,
    /// The first that is not.
    pub to: Item,
}

impl Range {
    /// All items.
    pub const ALL: Self = Self { from: Item::FIRST, to: Item::END };

    /// True if `item` is in it.
    #[must_use]
    pub fn holds(&self, item: &Item) -> bool {
        self.from <= *item && *item < self.to
    }
}

/// The ordered set of items that a node holds. It may change between two calls.
pub trait Inventory {
    /// The disk did not answer.
    type Error;

    /// Count and sum of the items in `range`.
    ///
    /// # Errors
    /// [`Inventory::Error`].
    fn sum(&self, range: Range) -> Result<Sum, Self::Error>;

    /// The first `most` items in `range`, in order.
    ///
    /// # Errors
    /// [`Inventory::Error`].
    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, Self::Error>;
}

/// What a coordinator asks another. It stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairAsk {
    /// Do you hold the same here? Ranges in order, none overlapping.
    Compare(Vec<Claim>),
    /// Send these.
    Fetch(Vec<Item>),
    /// Take these.
    Offer(Records),
    /// Send the records in this range, from its start on.
    Copy(Range),
}

/// What the asker holds in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Where.
    pub range: Range,
    /// What.
    pub fingerprint: Fingerprint,
}

/// Records to be checked and learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Registers, each with its spec and, where its value names one, its result.
    pub registers: Vec<Known>,
    /// What is left of jobs whose content is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stubs: Vec<StubRaw>,
    /// Signed descriptions of hosts.
    pub hosts: Vec<Raw>,
    /// Signed control records; only where those are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Raw>,
}

impl Records {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.registers.len() + self.stubs.len() + self.hosts.len() + self.controls.len()
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer to a [`RepairAsk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairTell {
    /// To `Compare`: one for each range.
    Compared(Vec<Verdict>),
    /// To `Fetch`.
    Records(Fetched),
    /// To `Copy`.
    Copied(Copied),
    /// To `Offer`: they are on their way to being learned.
    Taken,
    /// To any: not now.
    Busy,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetched {
    /// Of the items asked for, this many from the first on were looked at, at least one; what is
    /// not among the records is not held any more. The others are to be asked for again.
    pub done: u32,
    /// The records.
    pub records: Records,
}

/// The first records of a range that was to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// From here on the range is still to be copied; what is held before it is here, or cannot be
    /// sent. None at the end.
    pub next: Option<Item>,
    /// The records.
    pub records: Records,
}

/// What the answerer holds in one range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The same.
    Same,
    /// Something else: the range in 2 to [`SPLIT`] parts.
    Parts(Vec<Part>),
    /// Something else: its items.
    Items(Page),
    /// The answer was long enough without this one: ask again. Never the first.
    Later,
}

/// A part of a range, beginning where the one before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The first item that is not in it; of the last part the end of the range.
    pub to: Item,
    /// What the answerer holds in it.
    pub fingerprint: Fingerprint,
}

/// Items in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// All from the start of the range on.
    pub items: Vec<Item>,
    /// True if it goes on after the last of them.
    pub more: bool,
}

impl RepairAsk {
    /// True if an honest node could have asked this: counts within bounds, ranges in order.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self {
            Self::Compare(claims) => {
                (1..=MAX_RANGES).contains(&claims.len())
                    && claims.iter().all(|claim| claim.range.from < claim.range.to)
                    && claims.windows(2).all(|pair| pair[0].range.to <= pair[1].range.from)
            }
            Self::Fetch(items) => (1..=MAX_RECORDS).contains(&items.len()),
            Self::Offer(records) => (1..=MAX_RECORDS).contains(&records.len()),
            Self::Copy(range) => range.from < range.to,
        }
    }
}

#[cfg(test)]
mod tests;
