//! Blobs: content of any kind that is named by its BLAKE3 hash, and checked while it arrives.
//!
//! The hash of a blob is the root of a tree over its chunks. A blob of more than one *group* of
//! [`GROUP_BYTES`] has an *outline*: the value of the tree's node above each group. Whoever fetches
//! the blob checks the outline against the hash first, and each group against the outline when it is
//! there. So one wrong group is noticed as soon as it has come, whoever sent it, and what was
//! right before need not be fetched again.
//!
//! Always: an [`Outline`] was checked against the hash it holds, or made from the content itself.
//! Its size is only what somebody said until the last group was checked.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use crate::id::Hash;
use crate::limits::MAX_BLOB_BYTES;

/// Bytes of a group: large enough that an outline is an eight-thousandth of the content, small enough
/// that a wrong one costs little and that some dozens are held in memory. A power of two, so that
/// each is a whole subtree.
pub const GROUP_BYTES: u64 = 256 << 10;

/// Most groups of a blob.
pub const MAX_GROUPS: u64 = MAX_BLOB_BYTES.div_ceil(GROUP_BYTES);

/// Longest [`Head`], in bytes: the values of all groups, and what says that they are.
pub const MAX_HEAD_BYTES: usize = (MAX_GROUPS as usize) * 32 + 64;

/// Longest [`Ask`] or [`Reply`], in bytes.
pub const MAX_ASK_BYTES: usize = 512;

/// Why something is no blob, or not the one it should be. Nothing was taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than any may be.
    #[error("a blob must not be larger than {MAX_BLOB_BYTES} bytes")]
    TooLarge,
    /// The outline does not fit the size, or does not belong to the hash.
    #[error("the outline is not that of this blob")]
    WrongOutline,
    /// A text that is no hash.
    #[error("a hash is 64 hexadecimal digits")]
    NoHash,
}

/// What is asked of who has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// Which blob.
    pub hash: Hash,
    /// The first group that is wanted; what is before it is there already.
    pub from: u64,
}

/// What opens a stream about a blob between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Ask {
    /// The opener wants it.
    Get(Want),
    /// The opener has it, and would have the other one hold it too.
    Offer(Hash),
}

/// What is said to an [`Ask::Offer`], and once more when the content has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Reply {
    /// It is here.
    Held,
    /// Let it come.
    Send,
    /// It is not wanted, and why.
    No(String),
}

/// What comes before the content: how much there is, and the outline. Not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Bytes of the whole blob.
    pub size: u64,
    /// The values of its groups, 32 bytes each; none if there is one group or less.
    #[serde(with = "serde_bytes")]
    pub groups: Vec<u8>,
}

/// The hashes by which each group of a blob is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    hash: Hash,
    head: Head,
}

impl Outline {
    /// Takes an outline from somebody else, if it is that of `hash`.
    ///
    /// # Errors
    /// [`BlobError`] if it is not, or too large.
    pub fn check(hash: Hash, head: Head) -> Result<Self, BlobError> {
        if head.size > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge);
        }
        let count = head.size.div_ceil(GROUP_BYTES);
        let right = match count {
            0 => head.groups.is_empty() && hash == Hash::of(&[]),
            1 => head.groups.is_empty(),
            _ => {
                let (values, rest) = head.groups.as_chunks();
                rest.is_empty() && values.len() as u64 == count && root(values) == Some(hash)
            }
        };
        if right { Ok(Self { hash, head }) } else { Err(BlobError::WrongOutline) }
    }

    /// Of which blob.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// What tells it to others.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes of the whole blob.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.size
    }

    /// How many groups there are.
    #[must_use]
    pub const fn groups(&self) -> u64 {
        self.head.size.div_ceil(GROUP_BYTES)
    }

    /// Bytes of a group; 0 for one that there is none of.
    #[must_use]
    pub fn group_len(&self, group: u64) -> usize {
        let begins = group.saturating_mul(GROUP_BYTES);
        let len = self.head.size.saturating_sub(begins).min(GROUP_BYTES);
        usize::try_from(len).unwrap_or(0)
    }

    /// Whether `bytes` are this group.
    #[must_use]
    pub fn is_group(&self, group: u64, bytes: &[u8]) -> bool {
        if bytes.is_empty() || bytes.len() != self.group_len(group) {
            return false;
        }
        if self.head.groups.is_empty() {
            return Hash::of(bytes) == self.hash;
        }
        let (values, _) = self.head.groups.as_chunks::<32>();
        let value = usize::try_from(group).ok().and_then(|group| values.get(group));
        let mut hasher = group_hasher(group);
        hasher.update(bytes);
        value == Some(&hasher.finalize_non_root())
    }
}

/// Makes hash and outline of content that passes by.
#[derive(Debug)]
pub struct Outliner {
    done: Vec<[u8; 32]>,
    /// Of the group that content comes for.
    current: Hasher,
    filled: u64,
    size: u64,
}

impl Default for Outliner {
    fn default() -> Self {
        Self { done: Vec::new(), current: Hasher::new(), filled: 0, size: 0 }
    }
}

impl Outliner {
    /// Takes the next bytes, however many.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] if there are more than a blob may have; they were not taken.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge);
        }
        self.size = size;
        while !bytes.is_empty() {
            if self.filled == GROUP_BYTES {
                self.done.push(self.current.finalize_non_root());
                self.current = group_hasher(self.done.len() as u64);
                self.filled = 0;
            }
            let room = usize::try_from(GROUP_BYTES - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.filled += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What the content is named, and how it is checked.
    #[must_use]
    pub fn finish(mut self) -> Outline {
        if !self.done.is_empty() {
            self.done.push(self.current.finalize_non_root());
        }
        let single = || Hash(*self.current.finalize().as_bytes());
        let hash = root(&self.done).unwrap_or_else(single);
        Outline { hash, head: Head { size: self.size, groups: self.done.concat() } }
    }
}

fn group_hasher(group: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(group.saturating_mul(GROUP_BYTES));
    hasher
}

/// The hash of a blob of two groups or more.
fn root(values: &[[u8; 32]]) -> Option<Hash> {
    if values.len() < 2 {
        return None;
    }
    let (left, right) = values.split_at(left_groups(values.len()));
    let hash = merge_subtrees_root(&subtree(left)?, &subtree(right)?, Mode::Hash);
    Some(Hash(*hash.as_bytes()))
}

fn subtree(values: &[[u8; 32]]) -> Option<[u8; 32]> {
    if values.len() < 2 {
        return values.first().copied();
    }
    let (left, right) = values.split_at(left_groups(values.len()));
    Some(merge_subtrees_non_root(&subtree(left)?, &subtree(right)?, Mode::Hash))
}

/// The largest power of two below `count`: what BLAKE3 has on the left side of a node.
const fn left_groups(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

impl Hash {
    /// The hash as text: 64 hexadecimal digits in lower case.
    #[must_use]
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// The hash that a text names. Lower case alone, so that one blob has one name.
    ///
    /// # Errors
    /// [`BlobError::NoHash`].
    pub fn parse(text: &str) -> Result<Self, BlobError> {
        if text.len() != 64 {
            return Err(BlobError::NoHash);
        }
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
        let hash = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or(BlobError::NoHash)
    }
}

#[cfg(test)]
mod tests;
