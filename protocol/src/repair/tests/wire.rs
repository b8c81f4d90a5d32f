//! The bytes of repair: frozen, and altered ones do no harm.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_chacha::rand_core::Rng;

use super::super::{
    Claim, Copied, Fetched, Item, Page, Part, Range, Records, RepairAsk, RepairTell, Sum, Verdict,
};
use super::pair::Holder;
use super::{ME, PEER, below, chance};
use crate::clock::Mono;
use crate::codec::{decode, encode};
use crate::record::Signed;
use crate::record::spec::Subject;
use crate::record::tests::samples::{AT, ballot, certificate, host, job, network, signer, val};
use crate::repair::Memory;
use crate::wire::Known;

/// As the test below writes them when it fails.
const VECTORS: &str = include_str!("../../../vectors/repair-1.hex");
const MUTATIONS: usize = 10_000;

fn items() -> Vec<Item> {
    let register = Item::of_value(&Subject::Job(job()), ballot(), &val());
    let mut all = vec![register, Item::of_host(&host(), signer().id())];
    all.sort_unstable();
    all
}

fn records() -> Records {
    let certificate = Signed::seal(&signer(), network(), certificate()).raw().clone();
    let host = Signed::seal(&signer(), network(), host()).raw().clone();
    let registers = vec![Known { certificate, spec: None, result: None }];
    Records { registers, stubs: Vec::new(), hosts: vec![host], ..Records::default() }
}

fn asks() -> Vec<(&'static str, RepairAsk)> {
    let claim = Claim { range: Range::ALL, fingerprint: Sum::of(&items()).fingerprint() };
    vec![
        ("compare", RepairAsk::Compare(vec![claim])),
        ("fetch", RepairAsk::Fetch(items())),
        ("offer", RepairAsk::Offer(records())),
        ("copy", RepairAsk::Copy(Range { from: items()[0], to: Item::END })),
    ]
}

fn tells() -> Vec<(&'static str, RepairTell)> {
    let part = |to| Part { to, fingerprint: Sum::of(&items()).fingerprint() };
    let verdicts = vec![
        Verdict::Same,
        Verdict::Parts(vec![part(items()[0]), part(Item::END)]),
        Verdict::Items(Page { items: items(), more: true }),
        Verdict::Later,
    ];
    vec![
        ("compared", RepairTell::Compared(verdicts)),
        (
            "parts",
            RepairTell::Compared(vec![Verdict::Parts(vec![part(items()[0]), part(Item::END)])]),
        ),
        ("items", RepairTell::Compared(vec![Verdict::Items(Page { items: items(), more: false })])),
        ("records", RepairTell::Records(Fetched { done: 2, records: records() })),
        ("copied", RepairTell::Copied(Copied { next: Some(items()[1]), records: records() })),
        ("taken", RepairTell::Taken),
        ("busy", RepairTell::Busy),
    ]
}

/// Nodes of two versions compare these: a change needs another name of the protocol.
#[test]
fn questions_and_answers_are_written_as_they_always_were() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let asks = asks().into_iter().map(|(name, ask)| (name, encode(&ask)));
    let tells = tells().into_iter().map(|(name, tell)| (name, encode(&tell)));
    let now: String = asks.chain(tells).map(|(name, b)| format!("{name} {}\n", hex(&b))).collect();
    assert!(now == VECTORS, "the encoding changed; now it is:\n{now}");
}

#[test]
fn an_item_is_of_one_value_of_one_record() {
    let (subject, val) = (Subject::Job(job()), val());
    let this = Item::of_value(&subject, ballot(), &val);
    assert_eq!(this.at >> 16, val.at.ms);
    let mut later = val.clone();
    later.ver += 1;
    assert_ne!(Item::of_value(&subject, ballot(), &later), this);
    let mut ballot = ballot();
    ballot.round += 1;
    assert_ne!(Item::of_value(&subject, ballot, &val), this);
    let mut host = host();
    let item = Item::of_host(&host, ME);
    assert_ne!(Item::of_host(&host, PEER), item);
    host.at.count += 1;
    assert_ne!(Item::of_host(&host, ME), item);
    assert_eq!(item.at >> 16, AT.ms);
}

fn mutate(chance: &mut rand_chacha::ChaCha12Rng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = below(chance, bytes.len() as u64) as usize;
    match below(chance, 6) {
        0 => out.truncate(at),
        1 => drop(out.splice(at..at, [0x1b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9])),
        2 => drop(out.drain(at..(at + 8).min(bytes.len()))),
        3 => {
            let part = bytes[at..(at + 34).min(bytes.len())].to_vec();
            out.splice(at..at, part);
        }
        _ => {
            for _ in 0..=below(chance, 4) {
                let at = below(chance, bytes.len() as u64) as usize;
                out[at] ^= 1 << below(chance, 8);
            }
        }
    }
    out
}

#[test]
fn altered_asks_are_refused_or_answered() {
    let mut holder = Holder::default();
    (0..200).for_each(|n| holder.put(n, 1));
    for (n, (name, ask)) in asks().into_iter().enumerate() {
        let (mut chance, bytes) = (chance(n as u64), encode(&ask));
        let mut read = 0;
        for _ in 0..MUTATIONS {
            let altered = mutate(&mut chance, &bytes);
            let Ok(ask) = decode::<RepairAsk>(&altered, 1 << 20) else { continue };
            read += 1;
            let act = || holder.answer(ask);
            let answered = catch_unwind(AssertUnwindSafe(act));
            assert!(answered.is_ok(), "{name}: panic at {altered:02x?}");
        }
        assert!(read > MUTATIONS / 20, "{name}: only {read} could be read");
    }
}

#[test]
fn altered_answers_are_refused_or_heard() {
    let mut holder = Holder::default();
    (0..200).for_each(|n| holder.put(n, 1));
    for (n, (name, tell)) in tells().into_iter().enumerate() {
        let (mut chance, bytes) = (chance(100 + n as u64), encode(&tell));
        for _ in 0..MUTATIONS {
            let altered = mutate(&mut chance, &bytes);
            let Ok(tell) = decode::<RepairTell>(&altered, 1 << 20) else { continue };
            let mut memory = Memory::default();
            let mut session = super::begin(&holder);
            let act = || {
                let _ = session.step();
                let _ = session.hear(&holder, &mut memory, Mono(chance.next_u64() >> 2), tell);
                let _ = session.step();
            };
            let heard = catch_unwind(AssertUnwindSafe(act));
            assert!(heard.is_ok(), "{name}: panic at {altered:02x?}");
        }
    }
}
