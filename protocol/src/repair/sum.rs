//! Fingerprints of sets of items: count and sum, so that they can be kept up and put together.

use serde::{Deserialize, Serialize};

use super::Item;

/// Count and sum of a set of items. The sum is over their hashes, modulo 2^256: an item comes and
/// goes in constant time, and the sum of two disjoint sets is the sum of their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    count: u64,
    /// Least significant first.
    total: [u64; 4],
}

/// What two sets of items are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// How many items.
    pub count: u64,
    /// First half of a hash over sum and count: sums alone could be steered.
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 16],
}

impl Sum {
    /// Of no items.
    pub const EMPTY: Self = Self { count: 0, total: [0; 4] };

    /// Of these items.
    #[must_use]
    pub fn of(items: &[Item]) -> Self {
        let mut sum = Self::default();
        items.iter().for_each(|item| sum.add(item));
        sum
    }

    /// How many items.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// An item came.
    pub fn add(&mut self, item: &Item) {
        *self = self.plus(Self { count: 1, total: element(item) });
    }

    /// An item went.
    pub fn remove(&mut self, item: &Item) {
        *self = self.minus(Self { count: 1, total: element(item) });
    }

    /// Both sets together; they share no item.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut carry = false;
        let mut total = [0; 4];
        for (n, limb) in total.iter_mut().enumerate() {
            let (sum, first) = self.total[n].overflowing_add(other.total[n]);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
        Self { count: self.count.wrapping_add(other.count), total }
    }

    /// What is left without `other`, a part of this set.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        let mut total = [0; 4];
        for (n, limb) in total.iter_mut().enumerate() {
            let (rest, first) = self.total[n].overflowing_sub(other.total[n]);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, first || second);
        }
        Self { count: self.count.wrapping_sub(other.count), total }
    }

    /// What is sent of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = blake3::Hasher::new();
        for limb in self.total {
            hash.update(&limb.to_le_bytes());
        }
        hash.update(&self.count.to_le_bytes());
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Fingerprint { count: self.count, digest }
    }
}

fn element(item: &Item) -> [u64; 4] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&item.at.to_be_bytes());
    bytes[8..].copy_from_slice(&item.id);
    let hash = blake3::hash(&bytes);
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        *limb = u64::from_le_bytes(eight);
    }
    limbs
}
