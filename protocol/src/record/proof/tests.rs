//! Records that are signed together are as good as those that are signed alone.

use super::*;
use crate::clock::Wall;
use crate::codec::{decode, encode};
use crate::record::host::HostDesc;
use crate::record::tests::samples::{AT, host, network, signer};

const NOW: Wall = Wall(AT.ms);

fn described(n: usize) -> HostDesc {
    HostDesc { name: format!("host {n}"), ..host() }
}

fn together(count: usize) -> Vec<Signed<HostDesc>> {
    let mut sealing = Sealing::default();
    let all = (0..count).map(|n| sealing.seal(&signer(), network(), described(n))).collect();
    sealing.sign();
    all
}

#[test]
fn each_record_of_a_batch_is_proven_alone_by_few_signatures() {
    for count in [1, 2, 3, 5, 15, 16, 17, 40, 256] {
        let all = together(count);
        let mut signatures: Vec<_> = all.iter().map(|one| one.raw().proof.signature().0).collect();
        signatures.dedup();
        assert_eq!(signatures.len(), count.div_ceil(SIGNED_TOGETHER), "{count}");
        for (n, one) in all.iter().enumerate() {
            let bytes = encode(one.raw());
            let raw: Raw = decode(&bytes, 64 << 10).unwrap();
            assert_eq!(raw, *one.raw());
            assert!(raw.proof.path().len() <= MAX_RECORD_PATH);
            assert_eq!(raw.verify::<HostDesc>(network(), NOW).unwrap().body(), &described(n));
        }
    }
}

#[test]
fn no_record_borrows_the_way_of_another() {
    let all = together(5);
    for (one, other) in all.iter().zip(all.iter().skip(1)) {
        let stolen = Raw { proof: other.raw().proof.clone(), ..one.raw().clone() };
        assert!(stolen.verify::<HostDesc>(network(), NOW).is_err());
        let mut as_other_kind = Proven::default();
        assert!(!one.raw().is_signed_as(network(), "spec", &mut as_other_kind));
        let (elsewhere, kind) = (NetworkId([1; 16]), HostDesc::KIND);
        assert!(!one.raw().is_signed(elsewhere, kind));
        let stranger = Raw { signer: NodeId([7; 32]), ..one.raw().clone() };
        assert!(!stranger.is_signed(network(), kind));
    }
    let proof = &all[0].raw().proof;
    let mut path = proof.path().to_vec();
    path.pop();
    let shorter = Raw { proof: Proof::read(proof.signature(), path), ..all[0].raw().clone() };
    assert!(!shorter.is_signed(network(), HostDesc::KIND));
}

#[test]
fn a_way_longer_than_a_batch_is_none() {
    let leaf = Hash([3; 32]);
    let path = vec![Turn::Left(leaf); MAX_RECORD_PATH + 1];
    let record = Signed::seal(&signer(), network(), host());
    let statement = statement(network(), HostDesc::KIND, &record.raw().body);
    let signature = signer().sign_hash(RECORDS.climb(statement, &path));
    let raw = Raw { proof: Proof::read(signature, path), ..record.raw().clone() };
    assert!(!raw.is_signed(network(), HostDesc::KIND));
}

#[test]
fn what_was_found_to_hold_proves_nothing_else() {
    let mut proven = Proven::default();
    let (all, kind) = (together(40), HostDesc::KIND);
    for _ in 0..2 {
        for one in &all {
            assert!(one.raw().is_signed_as(network(), kind, &mut proven));
            let mut altered = one.raw().clone();
            altered.body[20] ^= 1;
            assert!(!altered.is_signed_as(network(), kind, &mut proven));
            let stranger = Raw { signer: NodeId([7; 32]), ..one.raw().clone() };
            assert!(!stranger.is_signed_as(network(), kind, &mut proven));
        }
    }
    for n in 0..3 * REMEMBERED {
        let alone = Signed::seal(&signer(), network(), described(n));
        assert!(alone.raw().is_signed_as(network(), kind, &mut proven));
        assert!(proven.last.len() <= REMEMBERED);
    }
}

#[test]
fn whoever_asks_before_the_batch_is_done_gets_the_signature_that_stays() {
    let mut sealing = Sealing::default();
    let early = sealing.seal(&signer(), network(), described(0));
    let late = sealing.seal(&signer(), network(), described(1));
    let asked = encode(early.clone().raw());
    sealing.sign();
    assert_eq!(encode(early.raw()), asked);
    assert!(early.raw().is_signed(network(), HostDesc::KIND));
    assert!(late.raw().is_signed(network(), HostDesc::KIND) && late.raw().proof.path().is_empty());
}

#[test]
fn the_key_that_owes_a_signature_is_not_shown() {
    let mut sealing = Sealing::default();
    let _record = sealing.seal(&NodeKey::from_seed(&[9; 32]), network(), host());
    assert!(!format!("{sealing:?}").contains("9, 9"));
}
