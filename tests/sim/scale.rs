//! Large networks in virtual time: a thousand coordinators and more, how long it takes until all know what one
//! of them says, what that costs each, and how they find together again when a third of them is replaced at once.
//!
//! Gossip is a model ([`gossip`] says of what), repair is the protocol's own code. Each node is connected with some
//! 256 others, as many as a peer book holds; ways take 5 to 95 ms. Nodes that go say nothing: others notice by
//! the silence of the connection. Nodes that come hold nothing.

mod calendar;
mod figures;
mod gossip;
mod handing;
mod mend;
mod network;
mod placed;
mod records;

use std::time::{Duration, Instant};

use skyclaw_node::net::{MAX_BOOK, MESH, Mesh};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{BEAT_MS, MAX_BEAT_PEERS};
use skyclaw_protocol::wire::{Beat, Beaten, Message, Past, Tally};
use skyclaw_protocol::{NodeId, codec};

use calendar::Ms;
use figures::{Bytes, spread};
use network::{Network, Plan, SETTLE};

/// What a run came to.
struct Outcome {
    network: Network,
    /// Sent by each node during the calm, in bytes and second.
    calm: Vec<Bytes>,
    /// From the moment at which nodes were replaced: until all meshes were whole, and all held everything.
    mesh_whole: Option<Ms>,
    converged: Option<Ms>,
    /// Sent by each node from then on.
    after: Vec<u64>,
    /// Sent by all of repair from then on.
    repair: u64,
    /// Sizes of meshes at the end of the calm.
    meshes: Vec<u64>,
}

fn run(plan: Plan) -> Outcome {
    let (calm, busy) = (plan.calm, plan.busy);
    let mut network = Network::new(plan);
    network.run_until(SETTLE);
    let sent = |network: &Network| network.nodes.iter().map(|node| node.sent).collect::<Vec<_>>();
    let settled = sent(&network);
    network.run_until(calm);
    let after_calm = sent(&network);
    let per_second = |n: usize| {
        let Bytes { messages, control, repair } = after_calm[n].minus(settled[n]);
        let second = |bytes: u64| bytes * 1000 / (calm - SETTLE);
        Bytes { messages: second(messages), control: second(control), repair: second(repair) }
    };
    let first = network.plan.nodes;
    let calm_bytes = (0..first).map(per_second).collect();
    let meshes = network.nodes[..first].iter().map(|node| node.mesh.len() as u64).collect();
    network.churn();
    let (mut mesh_whole, mut converged) = (None, None);
    // Jobs begin until `busy`, and their last values come some seconds later.
    let over = busy + 4000;
    for at in (calm..calm + 300_000).step_by(100) {
        network.run_until(at);
        let running = || network.nodes.iter().filter(|node| node.up);
        let joined = network.nodes[first..].iter().all(|node| node.up);
        let dead = |id: u32| !network.nodes[id as usize].up;
        let mut meshes = running().map(|node| &node.mesh);
        let low = network.plan.mesh.low;
        let whole = meshes.all(|mesh| mesh.len() >= low && !mesh.iter().any(|peer| dead(peer.id)));
        if whole && joined {
            mesh_whole.get_or_insert(at - calm);
        }
        let equal = joined && running().all(|node| node.held.all == network.truth.all);
        if at >= over && equal {
            converged.get_or_insert(at - calm);
        }
        if converged.is_some() && mesh_whole.is_some() {
            break;
        }
    }
    let later = sent(&network);
    let since = |n: usize| later[n].minus(after_calm[n]);
    let after = (0..later.len()).filter(|n| network.nodes[*n].up).map(|n| since(n).all()).collect();
    let repair = (0..later.len()).map(|n| since(n).repair).sum();
    Outcome { network, calm: calm_bytes, mesh_whole, converged, after, repair, meshes }
}

/// One kind of what is sent.
type Of = fn(&Bytes) -> u64;

fn show(outcome: &Outcome, began: Instant) {
    let network = &outcome.network;
    let plan = &network.plan;
    println!(
        "{} nodes, seed {}: {} events in {:.1} s",
        plan.nodes,
        plan.seed,
        network.events,
        began.elapsed().as_secs_f64()
    );
    println!("  to all by gossip, calm: {} ({} arrivals)", network.calm, network.calm.count());
    println!("  to all by gossip, nodes replaced: {} ({})", network.later, network.later.count());
    let kinds: [(&str, Of); 4] = [
        ("messages", |bytes| bytes.messages),
        ("told of", |bytes| bytes.control),
        ("repair", |bytes| bytes.repair),
        ("all", Bytes::all),
    ];
    for (kind, of) in kinds {
        let (p50, p99, most) = spread(outcome.calm.iter().map(of).collect());
        println!("  sent by a node a second, {kind}: p50 {p50} B, p99 {p99} B, most {most} B");
    }
    println!("  beats, by the size of their frames: {} B a second", beats(MAX_BOOK));
    println!("  meshes: {:?}; came again {}", spread(outcome.meshes.clone()), network.doubles);
    println!("  newcomers know all jobs of their start after: {}", network.caught_up);
    println!(
        "  {} of {} replaced: meshes whole after {:?} ms, all hold all after {:?} ms; \
         sent by a node meanwhile {:?} B; by repair in all {} B; brought to the old ones by it {}",
        network.nodes.len() - plan.nodes,
        plan.nodes,
        outcome.mesh_whole,
        outcome.converged,
        spread(outcome.after.clone()),
        outcome.repair,
        network.mended,
    );
}

/// Bytes that a node sends a second to say that it lives: to so many others at most, whom it lists to each.
fn beats(peers: usize) -> usize {
    let peers = peers.min(MAX_BEAT_PEERS);
    let alive = vec![NodeId([0xff; 32]); peers];
    let beat = Beat { run: u64::MAX, seq: u64::MAX, alive, wall: Wall(u64::MAX), written: 1 << 40 };
    let owed = Tally { count: 1 << 20, sum: u64::MAX };
    let past = Past { written: 1 << 40, twice: false, proof: None };
    let beaten = Beaten { run: u64::MAX, seq: u64::MAX, owed, past };
    let bytes =
        codec::encode(&Message::Beat(beat)).len() + codec::encode(&Message::Beaten(beaten)).len();
    peers * bytes * 1000 / usize::try_from(BEAT_MS).expect("a second")
}

fn plan(nodes: usize, seed: u64) -> Plan {
    let (calm, busy, churn) = (20_000, 30_000, 300);
    Plan { seed, nodes, mesh: MESH, old: 500, jobs: 40, calm, busy, churn, placed: false }
}

/// What must hold of a run, whatever its size.
fn check(outcome: &Outcome) {
    let network = &outcome.network;
    let plan = &network.plan;
    // Each value told during the calm reached each of the others by gossip alone.
    let told = network.records.versions.iter().filter(|v| v.at > 0 && v.at < plan.calm).count();
    let wanted = (told * (plan.nodes - 1)) as u64;
    let heard = network.calm.count();
    assert!(heard * 1000 >= wanted * 999 && heard <= wanted, "{heard} of {wanted}");
    assert!(network.calm.within(500) <= 250, "{}", network.calm);
    assert!(network.calm.within(990) <= 500, "{}", network.calm);
    assert!(network.later.within(990) <= 2000, "{}", network.later);
    let (low, high) = (plan.mesh.low as u64, plan.mesh.high as u64);
    assert!(
        outcome.meshes.iter().all(|mesh| (low..=high + 2).contains(mesh)),
        "{:?}",
        outcome.meshes
    );
    let whole = outcome.mesh_whole.expect("meshes become whole");
    assert!(whole <= 15_000, "{whole}");
    let joined = network.nodes.len() - plan.nodes;
    assert_eq!(network.caught_up.count(), joined as u64);
    assert!(network.caught_up.within(990) <= 30_000, "{}", network.caught_up);
    let converged = outcome.converged.expect("all hold the same in the end");
    assert!(converged <= plan.busy - plan.calm + 30_000, "{converged}");
    // What the newcomers have to be brought at least, and at most twice.
    let least = (joined * plan.old * mend::RECORD) as u64;
    assert!((least..=2 * least).contains(&outcome.repair), "{least}: {}", outcome.repair);
    let (_, p99, _) = spread(outcome.calm.iter().map(Bytes::all).collect());
    let messages = told as u64 * 1000 / (plan.calm - SETTLE);
    // A message to each of the mesh, and now and then to all that are connected.
    assert!(p99 <= 200_000 * messages.max(1), "{p99} B a second at {messages} messages a second");
}

#[test]
fn a_thousand_nodes_hear_of_everything_and_find_together_again() {
    let began = Instant::now();
    let outcome = run(plan(1000, 1));
    show(&outcome, began);
    check(&outcome);
}

/// `SKYCLAW_NODES` and `SKYCLAW_SEED` change what is run.
#[test]
#[ignore = "some minutes and 0.4 GiB of memory: cargo test --workspace --test sim -- --ignored ten_thousand --nocapture"]
fn ten_thousand_nodes_hear_of_everything_and_find_together_again() {
    let began = Instant::now();
    let nodes = crate::number("SKYCLAW_NODES").and_then(|n| n.try_into().ok()).unwrap_or(10_000);
    let seed = crate::number("SKYCLAW_SEED").unwrap_or(1);
    let outcome = run(Plan { jobs: 15, ..plan(nodes, seed) });
    show(&outcome, began);
    check(&outcome);
}

/// What the design has for 50 nodes and more.
#[test]
#[ignore = "a comparison: cargo test --workspace --test sim -- --ignored wider_mesh --nocapture"]
fn a_wider_mesh_without_flooding_spreads_as_well() {
    let began = Instant::now();
    let heartbeat = Duration::from_secs(1);
    let mesh = Mesh { n: 8, low: 6, outbound_min: 3, heartbeat, flood: false, ..MESH };
    let outcome = run(Plan { mesh, ..plan(1000, 1) });
    show(&outcome, began);
    check(&outcome);
}

/// The sizes that are counted here are those of what machines say in the other simulation.
#[test]
fn sizes_are_those_of_machines() {
    let (mut gossiped, mut moved) = ((0, 0), (0, 0));
    for seed in 0..20 {
        let report = crate::run(seed, None, false).unwrap_or_else(|why| unreachable!("{why}"));
        for (sum, sizes) in [(&mut gossiped, &report.gossiped), (&mut moved, &report.moved)] {
            *sum = (sum.0 + sizes.count, sum.1 + sizes.bytes);
        }
    }
    for ((count, bytes), expected) in [(gossiped, gossip::MESSAGE), (moved, mend::RECORD as u64)] {
        let mean: u64 = bytes / count;
        println!("{count} of {mean} bytes; taken for {expected}");
        assert!(
            (expected * 3 / 4..=expected * 5 / 4).contains(&mean),
            "{mean} instead of {expected}"
        );
    }
}

/// Nodes come and go for a minute, a third of them in all; each record stays with as many as it should, and each node
/// holds and sends its share alone.
#[test]
fn where_shards_are_placed_each_record_keeps_its_copies_while_nodes_come_and_go() {
    let began = Instant::now();
    let (calm, busy) = (20_000, 80_000);
    let mut network =
        Network::new(Plan { old: 5000, jobs: 300, calm, busy, placed: true, ..plan(1000, 1) });
    let share = (network.plan.old * placed::COPIES) as u64 / network.plan.nodes as u64;
    assert_eq!(network.copies(1).iter().rposition(|count| *count > 0), Some(placed::COPIES));
    assert!(network.is_placed());
    network.run_until(calm);
    let sent = |network: &Network| network.nodes.iter().map(|node| node.sent.all()).collect();
    let (sent_calm, _, most_calm) = spread(sent(&network));
    network.churn_slowly(busy - calm);
    let mut fewest = placed::COPIES;
    let mut placed_at = None;
    for at in (calm..busy + 180_000).step_by(1000) {
        network.run_until(at);
        fewest = fewest.min(network.copies(1).iter().position(|count| *count > 0).unwrap_or(0));
        if at > busy + 15_000 && network.is_placed() {
            placed_at = Some(at - busy);
            break;
        }
    }
    let (sent_all, _, most_all) = spread(sent(&network));
    let running = || network.nodes.iter().filter(|node| node.up);
    let (held, _, most_held) = spread(running().map(|node| node.held.all.count()).collect());
    println!(
        "{} nodes with shards, seed {}: {} events in {:.1} s",
        network.plan.nodes,
        network.plan.seed,
        network.events,
        began.elapsed().as_secs_f64()
    );
    println!("  to a replica: {} ({} arrivals)", network.calm, network.calm.count());
    println!("  records held by a node: p50 {held}, most {most_held}; a share is {share}");
    println!(
        "  sent by a node in {} s at rest: p50 {sent_calm} B, most {most_calm} B",
        calm / 1000
    );
    println!("  and with those who came and went: p50 {sent_all} B, most {most_all} B");
    println!(
        "  fewest copies of a record meanwhile: {fewest}; all placed {placed_at:?} ms after the last change"
    );
    let copies = network.copies(Ms::MAX);
    assert!(copies[..placed::COPIES].iter().all(|count| *count == 0), "{copies:?}");
    assert!(fewest >= 1, "a record was lost");
    assert!(placed_at.is_some_and(|at| at <= 150_000), "{placed_at:?}");
    // Loads differ as those of shards do: at five shards a node, by up to some four times.
    assert!(held <= 2 * share && most_held <= 5 * share, "{held}, {most_held}, {share}");
    assert!(copies.iter().skip(placed::COPIES + 3).all(|count| *count == 0), "{copies:?}");
}
