//! Outlines against BLAKE3 itself, and against those who lie.

use proptest::prelude::*;

use super::*;
use crate::codec;

const GROUP: usize = GROUP_BYTES as usize;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 1000) as u8).collect()
}

fn outline_of(bytes: &[u8], step: usize) -> Outline {
    let mut outliner = Outliner::default();
    for part in bytes.chunks(step.max(1)) {
        outliner.update(part).unwrap();
    }
    outliner.finish()
}

fn groups(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (0..).zip(bytes.chunks(GROUP))
}

/// Around every border that the tree has.
#[test]
fn the_hash_is_that_of_blake3_and_each_group_is_known() {
    let borders = [0, 1, 1024, 1025, GROUP, 2 * GROUP, 3 * GROUP, 4 * GROUP, 5 * GROUP, 8 * GROUP];
    for border in borders {
        for len in border.saturating_sub(1)..=border + 1 {
            let bytes = content(len);
            let outline = outline_of(&bytes, 100_000);
            assert_eq!(outline.hash(), Hash::of(&bytes), "{len}");
            assert_eq!(outline.groups(), groups(&bytes).count() as u64, "{len}");
            let told = codec::encode(outline.head());
            assert!(told.len() <= MAX_HEAD_BYTES);
            let heard = codec::decode(&told, MAX_HEAD_BYTES).unwrap();
            assert_eq!(Outline::check(outline.hash(), heard), Ok(outline.clone()), "{len}");
            for (group, part) in groups(&bytes) {
                assert!(outline.is_group(group, part), "{len}: {group}");
                assert!(!outline.is_group(group + 1, part), "{len}: {group}");
            }
        }
    }
}

#[test]
fn the_largest_head_is_within_its_bound() {
    let head = Head { size: MAX_BLOB_BYTES, groups: vec![7; MAX_GROUPS as usize * 32] };
    assert!(codec::encode(&head).len() <= MAX_HEAD_BYTES);
    let want = Want { hash: Hash([7; 32]), from: u64::MAX };
    assert!(codec::encode(&Ask::Get(want)).len() <= MAX_ASK_BYTES);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_hashed() {
    let hash = Hash([1; 32]);
    for size in [MAX_BLOB_BYTES + 1, u64::MAX] {
        let head = Head { size, groups: Vec::new() };
        assert_eq!(Outline::check(hash, head), Err(BlobError::TooLarge));
    }
    let mut outliner = Outliner { size: MAX_BLOB_BYTES, ..Outliner::default() };
    assert_eq!(outliner.update(b"x"), Err(BlobError::TooLarge));
    assert_eq!(outliner.update(b""), Ok(()));
}

/// Nodes above groups are no groups: an outline of a quarter as many gives the same root.
#[test]
fn an_outline_of_higher_nodes_lets_no_content_through() {
    let bytes = content(8 * GROUP);
    let honest = outline_of(&bytes, GROUP);
    let (values, _) = honest.head().groups.as_chunks::<32>();
    let higher: Vec<_> = values.chunks(4).map(|four| subtree(four).unwrap()).collect();
    let head = Head { size: 2 * GROUP_BYTES, groups: higher.concat() };
    let fooled = Outline::check(honest.hash(), head).unwrap();
    for (_, part) in groups(&bytes) {
        assert!(!fooled.is_group(0, part) && !fooled.is_group(1, part));
    }
}

#[test]
fn hashes_have_one_spelling() {
    let hash = Hash::of(b"x");
    assert_eq!(Hash::parse(&hash.hex()), Ok(hash));
    let hex = hash.hex();
    for wrong in
        [hex.to_uppercase(), hex[1..].to_owned(), format!("{hex}0"), "x".repeat(64), String::new()]
    {
        assert_eq!(Hash::parse(&wrong), Err(BlobError::NoHash), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_of_any_size_make_the_same_outline(len in 0..6 * GROUP, step in 1..2 * GROUP) {
        let bytes = content(len);
        let outline = outline_of(&bytes, step);
        prop_assert_eq!(outline.hash(), Hash::of(&bytes));
        prop_assert_eq!(outline, outline_of(&bytes, len));
    }

    #[test]
    fn one_changed_bit_is_noticed_in_its_group(len in 1..5 * GROUP, at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = content(len);
        let outline = outline_of(&bytes, len);
        let at = at.index(len);
        bytes[at] ^= 1 << bit;
        for (group, part) in groups(&bytes) {
            prop_assert_eq!(outline.is_group(group, part), group != (at / GROUP) as u64);
        }
    }

    #[test]
    fn an_outline_that_was_changed_is_refused(
        len in GROUP + 1..6 * GROUP,
        at: prop::sample::Index,
        size in prop::option::of(0..7 * GROUP_BYTES),
    ) {
        let outline = outline_of(&content(len), len);
        let mut head = outline.head().clone();
        let at = at.index(head.groups.len());
        head.groups[at] ^= 1;
        head.size = size.unwrap_or(head.size);
        prop_assert_eq!(Outline::check(outline.hash(), head), Err(BlobError::WrongOutline));
    }

    #[test]
    fn a_cut_or_grown_outline_is_refused(len in GROUP + 1..6 * GROUP, cut in 0..4 * 32_usize, more in 0..4 * 32_usize) {
        let outline = outline_of(&content(len), len);
        let mut head = outline.head().clone();
        head.groups.truncate(head.groups.len().saturating_sub(cut));
        head.groups.extend(std::iter::repeat_n(0, more));
        let same = head == *outline.head();
        prop_assert_eq!(Outline::check(outline.hash(), head).is_ok(), same);
    }

    #[test]
    fn heads_of_any_kind_are_taken_or_refused(hash: [u8; 32], size: u64, groups: Vec<u8>, from: u64) {
        if let Ok(outline) = Outline::check(Hash(hash), Head { size, groups }) {
            prop_assert!(outline.groups() <= MAX_GROUPS);
            prop_assert!(!outline.is_group(from, &[]));
        }
    }
}
