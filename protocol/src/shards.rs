//! Who keeps which jobs, once a network is too large for everybody to keep all.
//!
//! Jobs fall into [`SHARDS`] shards by a hash of their ids. Up to a size ([`Limits`]) every coordinator keeps every
//! shard. Beyond it a shard is kept by the first [`copies`] coordinators in rendezvous order of it
//! ([`Placement`]). Services, hosts and control records are few and
//! are kept by everybody at any size.
//!
//! Always: this decides who keeps *copies*. Votes and promises rest on a register's own voters, which were drawn
//! when it was made and stay what they are; whoever votes on a register keeps it whatever stands here. Nodes that know
//! different coordinators place differently for a while, and then a shard has more copies, since what one keeps it
//! gives away only after all who should have it said that they do ([`Round`]).

mod ask;
mod duties;
mod handover;
mod mode;
mod placement;

use serde::{Deserialize, Serialize};

use crate::id::JobId;

pub use ask::{ShardAsk, ShardTell};
pub use duties::Duties;
pub use handover::{HeldJob, Holding, Round, ToMove};
pub use mode::{Limits, Mode, Settings, Switch};
pub use placement::Placement;

/// How many there are: of ten million jobs each has ten thousand, a minute of copying; of fifty coordinators each
/// keeps a hundred, so that loads differ by a tenth.
pub const SHARDS: usize = 1 << SHARD_BITS;

const SHARD_BITS: u32 = 10;

/// Fewest coordinators that keep a shard: two may be lost at once, and a third be away meanwhile, before what those
/// hold who vote (three, where two copies are asked for) is all there is.
pub const LEAST_COPIES: usize = 5;

/// How many coordinators keep each shard where a job asks for `replicas` copies: all of its voters can be of them.
#[must_use]
pub const fn copies(replicas: usize) -> usize {
    let voters = (2 * replicas).saturating_sub(1);
    if voters > LEAST_COPIES { voters } else { LEAST_COPIES }
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The shard of a job: the upper bits of a hash of its id, which callers may choose.
    #[must_use]
    pub fn of(job: &JobId) -> Self {
        let hash = blake3::hash(job.as_str().as_bytes());
        let [high, low, ..] = *hash.as_bytes();
        Self(u16::from_be_bytes([high, low]) >> (16 - SHARD_BITS))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u16::MAX).take(SHARDS).map(Self)
    }

    /// From 0, below [`SHARDS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct ShardSet([u64; SHARDS / 64]);

impl ShardSet {
    /// All.
    pub const ALL: Self = Self([u64::MAX; SHARDS / 64]);

    /// None.
    pub const NONE: Self = Self([0; SHARDS / 64]);

    /// True if `shard` is in it.
    #[must_use]
    pub const fn holds(&self, shard: Shard) -> bool {
        self.0[shard.index() / 64] >> (shard.index() % 64) & 1 == 1
    }

    /// Adds a shard.
    pub const fn insert(&mut self, shard: Shard) {
        self.0[shard.index() / 64] |= 1 << (shard.index() % 64);
    }

    /// Those in both.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & other.0[n]))
    }

    /// Those in either.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] | other.0[n]))
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & !other.0[n]))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(|shard| self.holds(*shard))
    }
}

impl std::fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {SHARDS} shards", self.count())
    }
}

impl From<ShardSet> for serde_bytes::ByteBuf {
    fn from(scope: ShardSet) -> Self {
        Self::from(scope.0.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>())
    }
}

impl TryFrom<serde_bytes::ByteBuf> for ShardSet {
    type Error = &'static str;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Self::Error> {
        if bytes.len() != SHARDS / 8 {
            return Err("a set of shards has a bit for each");
        }
        let mut words = [0; SHARDS / 64];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Ok(Self(words))
    }
}

#[cfg(test)]
mod tests;
