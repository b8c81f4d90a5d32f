//! Sessions between inventories in memory: they end equal, whatever is lost, doubled or altered.

mod pair;
mod wire;

use pair::{Holder, Pair};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{
    Claim, Copied, FEW_ITEMS, Fetched, Item, MAX_ITEMS, MAX_MOVED, MOVED_MS, Memory, Page, Part,
    Range, Records, RepairAsk, RepairTell, SPLIT, Session, Step, Sum, Trouble, UNWANTED_MS,
    Verdict, compare,
};
use crate::clock::Mono;
use crate::id::NodeId;

const ME: NodeId = NodeId([1; 32]);
const PEER: NodeId = NodeId([2; 32]);

fn begin(holder: &Holder) -> Session {
    let Ok(session) = Session::begin(ME, PEER, holder, &Memory::default(), Mono(0));
    session
}

fn chance(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

fn below(chance: &mut ChaCha12Rng, n: u64) -> u64 {
    chance.next_u64() % n
}

#[test]
fn two_inventories_end_equal_after_one_session() {
    for seed in 0..300 {
        let mut chance = chance(seed);
        let size = [3, 60, 70, 300, 5000][(seed % 5) as usize];
        let mut pair = Pair::random(&mut chance, size);
        let best = pair.best();
        pair.run(|_| true).unwrap();
        assert_eq!(pair.here.held, best, "seed {seed}");
        assert_eq!(pair.there.held, best, "seed {seed}");
        // And the next session finds nothing to do.
        let moved = (pair.fetched, pair.offered);
        pair.run(|_| true).unwrap();
        assert_eq!((pair.fetched, pair.offered), moved, "seed {seed}");
    }
}

#[test]
fn a_node_that_holds_nothing_gets_all_in_pages_and_no_items_before() {
    let mut pair = Pair::default();
    (0..20_000).for_each(|n| pair.there.put(n, 1));
    pair.run(|_| true).unwrap();
    assert_eq!(pair.here.held.len(), 20_000);
    assert_eq!(pair.here.held, pair.there.held);
    assert!(pair.asks as usize <= 20_000 / pair::PAGE + 1, "{} asks", pair.asks);
    assert_eq!(pair.rounds, 0);
}

/// Both hold a session when they meet: the newcomer copies, so nothing comes twice.
#[test]
fn a_node_that_holds_all_leaves_it_to_the_newcomer_to_copy() {
    for held in [0, 10, 3000] {
        let mut pair = Pair::default();
        (0..20_000).for_each(|n| pair.here.put(n, 1));
        // The newcomer copies from the oldest on.
        (0..held).for_each(|n| pair.there.put(n, 1));
        pair.run(|_| true).unwrap();
        assert!(pair.offered < 2000, "{} offered to one with {held}", pair.offered);
        std::mem::swap(&mut pair.here, &mut pair.there);
        pair.run(|_| true).unwrap();
        assert_eq!(pair.here.held.len(), 20_000);
        pair.run(|_| true).unwrap();
        assert_eq!(pair.here.held, pair.there.held);
    }
}

#[test]
fn one_difference_among_many_costs_little() {
    let mut pair = Pair::default();
    for n in 0..50_000 {
        pair.here.put(n, 1);
        pair.there.put(n, 1);
    }
    pair.run(|_| true).unwrap();
    assert_eq!((pair.asks, pair.fetched, pair.offered), (1, 0, 0));
    assert!(pair.bytes < 400, "{} bytes in sync", pair.bytes);
    (pair.asks, pair.bytes) = (0, 0);
    pair.there.put(31_000, 2);
    pair.run(|_| true).unwrap();
    assert_eq!(pair.here.held, pair.there.held);
    assert!(pair.asks <= 8 && pair.bytes < 16_000, "{} asks, {} bytes", pair.asks, pair.bytes);
}

/// Bytes and rounds of comparing alone, and of the records that were moved.
#[derive(Debug)]
struct Cost {
    rounds: u32,
    comparing: usize,
    moving: usize,
}

impl Pair {
    fn cost(&mut self) -> Cost {
        (self.asks, self.bytes, self.rounds, self.comparing) = (0, 0, 0, 0);
        self.run(|_| true).unwrap();
        let moving = self.bytes - self.comparing;
        Cost { rounds: self.rounds, comparing: self.comparing, moving }
    }
}

/// The figures that this scheme was chosen for. Wherever the newest hundred stand.
#[test]
fn with_a_hundred_thousand_records_a_round_stays_small() {
    const ALL: u64 = 100_000;
    let both = || {
        let mut pair = Pair::default();
        for n in 0..ALL {
            pair.here.put(n, 1);
            pair.there.put(n, 1);
        }
        pair
    };
    let mut pair = both();
    let equal = pair.cost();
    println!("100,000 equal: {equal:?}");
    assert!(equal.rounds == 1 && equal.moving == 0 && equal.comparing < 1000, "{equal:?}");

    // A hundred more than the other has, on one side or on both; or other values of the newest.
    for (name, here, there, version) in [
        ("more here", ALL..ALL + 100, 0..0, 1),
        ("more there", 0..0, ALL..ALL + 100, 1),
        ("more on both", ALL..ALL + 50, ALL + 50..ALL + 100, 1),
        ("in turns", ALL..ALL + 50, ALL..ALL + 50, 6),
        ("newer values here", ALL - 100..ALL, 0..0, 6),
        ("newer values there", 0..0, ALL - 100..ALL, 6),
    ] {
        let mut pair = both();
        here.for_each(|n| pair.here.put(if name == "in turns" { 2 * n } else { n }, version));
        there.for_each(|n| pair.there.put(if name == "in turns" { 2 * n + 1 } else { n }, version));
        let best = pair.best();
        let cost = pair.cost();
        println!("100,000 and the newest 100 differ, {name}: {cost:?}");
        assert_eq!((&pair.here.held, &pair.there.held), (&best, &best), "{name}");
        assert!(cost.rounds <= 4 && cost.comparing < 10_000 && cost.moving > 0, "{name}: {cost:?}");
    }
}

/// What broke off is found as a range in which nothing is held; what changed meanwhile, by comparing.
#[test]
fn a_copy_that_broke_off_goes_on_where_it_stopped() {
    for broken_at in [1, 2, 7, 30, 61] {
        let mut pair = Pair::default();
        (0..20_000).for_each(|n| pair.there.put(n, 1));
        assert_eq!(pair.run(|message| message < broken_at), None);
        let (before, asked) = (pair.here.held.len(), pair.asks);
        assert_eq!(before, (broken_at as usize - 1) / 2 * pair::PAGE);
        // The other goes on as well: new ones, and other values of what was copied.
        (20_000..20_100).for_each(|n| pair.there.put(n, 1));
        (0..50).for_each(|n| pair.there.put(n, 2));
        pair.here.put(90_000, 1);
        pair.fetched = 0;
        pair.run(|_| true).unwrap();
        assert_eq!(pair.here.held.len(), 20_101);
        pair.run(|_| true).unwrap();
        assert_eq!(pair.here.held, pair.there.held);
        let again = pair.fetched - (20_100 - before);
        assert!(again < 700, "{again} records came twice; {broken_at}");
        assert!(asked + pair.asks < 2 * asked + 20_000 / 500 + 30, "{}", pair.asks);
    }
}

/// Whatever is refused is not copied again and again.
#[test]
fn a_copy_that_is_not_wanted_ends_after_two_pages_and_rests_for_ten_minutes() {
    let mut pair = Pair::default();
    (0..20_000).for_each(|n| pair.there.put(n, 1));
    pair.here.refuses = true;
    pair.run(|_| true).unwrap();
    assert_eq!((pair.asks, pair.fetched), (2, pair::PAGE));
    // Items are listed and asked for one by one then, twice at most.
    let mut moved = Vec::new();
    for _ in 0..120 {
        pair.now = pair.now.plus_ms(5000);
        pair.run(|_| true).unwrap();
        moved.push(pair.fetched);
    }
    assert_eq!(*moved.last().unwrap(), pair::PAGE + 2 * 20_000 + pair::PAGE, "{moved:?}");
}

#[test]
fn pages_that_do_not_go_on_end_the_session() {
    let end = Item { at: 9, id: [0; 16] };
    for next in [Item::FIRST, Item::END, end.next()] {
        let holder = Holder::default();
        let mut session = begin(&holder);
        let Step::Ask(RepairAsk::Copy(range)) = session.step() else { panic!("it copies") };
        assert_eq!(range, Range::ALL);
        let tell = RepairTell::Copied(Copied { next: Some(next), records: Records::default() });
        let heard = session.hear(&holder, &mut Memory::default(), Mono(0), tell);
        assert_eq!(heard.is_err(), next != end.next());
    }
}

/// The session ends there, or an answer is lost after the other side acted; both go on later.
#[test]
fn a_lost_message_leaves_both_sides_valid() {
    for seed in 0..200 {
        let mut chance = chance(seed);
        let mut pair = Pair::random(&mut chance, 800);
        let best = pair.best();
        let mut sessions = 0;
        loop {
            let lossy = sessions < 6;
            let ended = pair.run(|_| !lossy || below(&mut chance, 6) > 0);
            for (n, version) in pair.here.held.iter().chain(&pair.there.held) {
                assert!(best[n] >= *version, "seed {seed}: nothing is made up");
            }
            sessions += 1;
            pair.now = pair.now.plus_ms(MOVED_MS);
            if ended.is_some() && pair.here.held == best && pair.there.held == best {
                break;
            }
            assert!(sessions < 12, "seed {seed}: no end");
        }
    }
}

#[test]
fn what_the_other_does_not_take_is_moved_twice_and_then_left_for_ten_minutes() {
    let mut pair = Pair::default();
    pair.here.put(1, 1);
    pair.there.put(2, 1);
    pair.here.refuses = true;
    pair.there.refuses = true;
    let mut moved = Vec::new();
    for _ in 0..140 {
        pair.run(|_| true).unwrap();
        moved.push(pair.fetched + pair.offered);
        pair.now = pair.now.plus_ms(5000);
    }
    let at = |seconds: usize| moved[seconds / 5];
    assert_eq!((at(0), at(25), at(30), at(625), at(630)), (2, 2, 4, 4, 6), "{moved:?}");
}

#[test]
fn what_was_moved_is_remembered_within_a_bound() {
    let mut memory = Memory::default();
    let item = |n: u64| Item { at: n, id: [7; 16] };
    let now = Mono(0);
    for n in 0..(MAX_MOVED as u64 + 10) {
        memory.note(PEER, item(n), now);
    }
    assert_eq!(memory.len(), MAX_MOVED);
    assert!(!memory.holds(PEER, &item(0), now), "the oldest is forgotten");
    assert!(memory.holds(PEER, &item(10), now) && !memory.holds(ME, &item(10), now));
    assert!(!memory.holds(PEER, &item(10), now.plus_ms(MOVED_MS)));
    memory.note(PEER, item(MAX_MOVED as u64 + 9), now.plus_ms(MOVED_MS + UNWANTED_MS));
    assert_eq!(memory.len(), 1, "what is over does not stay");
}

#[test]
fn sums_of_parts_are_sums_of_wholes() {
    for seed in 0..50 {
        let mut chance = chance(seed);
        let items: Vec<Item> = (0..below(&mut chance, 200))
            .map(|_| {
                let mut id = [0; 16];
                chance.fill_bytes(&mut id);
                Item { at: chance.next_u64(), id }
            })
            .collect();
        let all = Sum::of(&items);
        let (left, right) = items.split_at(below(&mut chance, items.len() as u64 + 1) as usize);
        assert_eq!(Sum::of(left).plus(Sum::of(right)), all);
        assert_eq!(all.minus(Sum::of(left)), Sum::of(right));
        let mut emptied = all;
        items.iter().for_each(|item| emptied.remove(item));
        assert_eq!(emptied, Sum::default());
        assert!(items.is_empty() || all.fingerprint() != Sum::default().fingerprint());
    }
}

#[test]
fn the_next_item_is_the_least_above() {
    let last = Item { at: 4, id: [0xff; 16] };
    assert_eq!(last.next(), Item { at: 5, id: [0; 16] });
    let mut id = [0; 16];
    id[15] = 0xff;
    let next = Item { at: 4, id }.next();
    assert_eq!((next.at, next.id[14], next.id[15]), (4, 1, 0));
    assert!(Item::END.next() <= Item::END || Item::END.next().at == u64::MAX);
}

#[test]
fn answers_stay_within_their_bounds() {
    let mut holder = Holder::default();
    (0..30_000).for_each(|n| holder.put(n, 1));
    let nothing = Sum::default().fingerprint();
    // Sixty ranges of which the asker holds nothing: one page of items is all there is room for.
    let items = super::Inventory::items(&holder, Range::ALL, 30_000).unwrap();
    let edges: Vec<Item> = items.chunks(500).map(|chunk| chunk[0]).collect();
    let claims: Vec<Claim> = edges
        .windows(2)
        .map(|edge| Claim { range: Range { from: edge[0], to: edge[1] }, fingerprint: nothing })
        .collect();
    assert!(RepairAsk::Compare(claims.clone()).holds());
    let verdicts = compare(&holder, &claims).unwrap();
    let listed = |verdict: &Verdict| match verdict {
        Verdict::Items(page) => page.items.len(),
        _ => 0,
    };
    assert_eq!(verdicts.iter().map(listed).sum::<usize>(), MAX_ITEMS);
    assert_eq!(verdicts.last(), Some(&Verdict::Later));
    // And one range that differs comes in as many parts as allowed.
    let mut other = Sum::of(&items[..=FEW_ITEMS as usize]).fingerprint();
    other.digest[0] ^= 1;
    let claim = Claim { range: Range::ALL, fingerprint: other };
    let verdicts = compare(&holder, &[claim]).unwrap();
    assert!(matches!(&verdicts[0], Verdict::Parts(parts) if parts.len() == SPLIT));
}

#[test]
fn asks_out_of_bounds_do_not_hold() {
    let range =
        |from, to| Range { from: Item { at: from, id: [0; 16] }, to: Item { at: to, id: [0; 16] } };
    let claim =
        |from, to| Claim { range: range(from, to), fingerprint: Sum::default().fingerprint() };
    for claims in [
        vec![],
        vec![claim(4, 4)],
        vec![claim(5, 4)],
        vec![claim(1, 4), claim(3, 5)],
        vec![claim(3, 5), claim(1, 2)],
        (0..65).map(|n| claim(n, n + 1)).collect(),
    ] {
        assert!(!RepairAsk::Compare(claims).holds());
    }
    assert!(RepairAsk::Compare(vec![claim(1, 3), claim(3, 5)]).holds());
    assert!(!RepairAsk::Fetch(vec![]).holds());
    assert!(!RepairAsk::Fetch(vec![Item::FIRST; 257]).holds());
    assert!(!RepairAsk::Offer(Records::default()).holds());
}

/// Answers no honest node gives end the session with a reason.
#[test]
fn answers_that_break_a_rule_end_the_session() {
    let mut holder = Holder::default();
    (0..300).for_each(|n| holder.put(n, 1));
    let hear = |tell| {
        let mut session = begin(&holder);
        let Step::Ask(RepairAsk::Compare(_)) = session.step() else { panic!("it compares") };
        session.hear(&holder, &mut Memory::default(), Mono(0), tell)
    };
    let part = |to| Part { to, fingerprint: Sum::default().fingerprint() };
    let (low, high) = (Item { at: 3, id: [0; 16] }, Item { at: 9, id: [0; 16] });
    let page = |items, more| Verdict::Items(Page { items, more });
    for verdicts in [
        vec![],
        vec![Verdict::Same, Verdict::Same],
        vec![Verdict::Later],
        vec![Verdict::Parts(vec![])],
        vec![Verdict::Parts(vec![part(Item::END)])],
        vec![Verdict::Parts(vec![part(high), part(low), part(Item::END)])],
        vec![Verdict::Parts(vec![part(low), part(high)])],
        vec![Verdict::Parts(vec![part(Item::FIRST), part(Item::END)])],
        vec![page(vec![high, low], false)],
        vec![page(vec![low, low], false)],
        vec![page(vec![Item::END], false)],
        vec![page(vec![], true)],
    ] {
        let heard = hear(RepairTell::Compared(verdicts.clone()));
        assert!(matches!(heard, Err(Trouble::Broken(_))), "{verdicts:?}");
    }
    let fetched = Fetched { done: 1, records: Records::default() };
    assert!(hear(RepairTell::Records(fetched)).is_err());
    assert!(hear(RepairTell::Taken).is_err());
    assert!(hear(RepairTell::Busy).unwrap().is_empty());
}

/// A peer that splits for ever is left after a bounded number of asks, with bounded memory.
#[test]
fn a_peer_without_end_is_left() {
    let mut holder = Holder::default();
    (0..300).for_each(|n| holder.put(n, 1));
    let mut memory = Memory::default();
    let mut session = begin(&holder);
    let mut asks = 0;
    while let Step::Ask(RepairAsk::Compare(claims)) = session.step() {
        asks += 1;
        let verdict = |claim: &Claim| {
            let (from, to) = (claim.range.from, claim.range.to);
            let middle = Item { at: from.at + (to.at - from.at) / 2, id: [9; 16] };
            let odd = super::Fingerprint { count: 77, digest: [3; 16] };
            let part = |to| Part { to, fingerprint: odd };
            Verdict::Parts(vec![part(middle), part(to)])
        };
        let tell = RepairTell::Compared(claims.iter().map(verdict).collect());
        if session.hear(&holder, &mut memory, Mono(0), tell).is_err() {
            break;
        }
    }
    assert!(asks > 10 && asks <= super::MAX_ASKS, "{asks}");
}
