//! Receipts that come with reports.

use super::world::{World, host_id, network, node_key, subject};
use crate::batch::{KeyAnswer, Shelf};
use crate::clock::Wall;
use crate::command::{Command, Completion, Refusal};
use crate::id::{Hash, NetworkId, NodeId};
use crate::record::Signed;
use crate::record::receipt::Receipt;
use crate::record::tests::samples;
use crate::register::Phase;
use crate::view::Milli;

/// A world with a job that a host has, attached over libp2p or not, and what it would report.
fn leased(node: Option<NodeId>) -> (World, Completion, Receipt) {
    let mut world = World::of(3, 2);
    let command = Command::RegisterHost {
        id: Some(host_id("h")),
        name: "h".into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli::whole(1),
        node,
        openclaw: None,
    };
    assert!(matches!(world.call(0, command), Ok(KeyAnswer::Host(_))));
    let job = world.submit(0);
    world.claim(0, "h");
    let Command::Complete(report) = World::completion(&job, "h", true) else { panic!() };
    let spec = world.nodes[0].machine.registers[&subject(&job)].head.key.spec;
    let receipt = Receipt {
        network: network(),
        job,
        spec: Some(spec),
        attempt: 1,
        host: host_id("h"),
        node: key().id(),
        started: Wall(1),
        ended: Wall(2),
        ..samples::receipt()
    };
    (world, report, receipt)
}

fn key() -> crate::key::NodeKey {
    node_key(40)
}

fn with(report: &Completion, receipt: Receipt) -> Command {
    let raw = Signed::seal(&key(), receipt.network, receipt).raw().clone();
    Command::Complete(Completion { receipt: Some(Box::new(raw)), ..report.clone() })
}

#[test]
fn a_result_keeps_the_receipt_it_came_with_at_every_coordinator() {
    let (mut world, _, receipt) = leased(Some(key().id()));
    // Passed on by another one.
    let command = Command::Complete(World::report_of(&key(), "h", &receipt.job, 1));
    let Command::Complete(Completion { receipt: Some(sent), .. }) = command.clone() else {
        panic!()
    };
    world.call(1, command).unwrap();
    for node in 0..3 {
        assert_eq!(world.phase(node, &receipt.job), Some(Phase::Succeeded));
        let kept = world.nodes[node].disk.result(&receipt.job, 1).unwrap().expect("it is kept");
        assert_eq!(kept.body().receipt, Some(sent.clone()), "{node}");
    }
}

#[test]
fn a_receipt_of_another_run_or_host_is_refused_and_the_job_stays_with_its_host() {
    let (mut world, report, receipt) = leased(Some(key().id()));
    let job = receipt.job.clone();
    for (word, wrong) in [
        ("network", Receipt { network: NetworkId::of_name("x"), ..receipt.clone() }),
        ("job", Receipt { job: samples::job(), ..receipt.clone() }),
        ("host", Receipt { host: samples::host_id(), ..receipt.clone() }),
        ("attempt", Receipt { attempt: 2, ..receipt.clone() }),
        ("spec", Receipt { spec: Some(Hash([9; 32])), ..receipt.clone() }),
    ] {
        match World::refusal(world.call(0, with(&report, wrong))) {
            Refusal::BadReceipt { why, .. } => assert!(why.contains(word), "{word}: {why}"),
            other => panic!("{word}: {other}"),
        }
        assert_eq!(world.phase(0, &job), Some(Phase::Leased));
    }
    world.call(0, with(&report, receipt)).unwrap();
    assert_eq!(world.phase(0, &job), Some(Phase::Succeeded));
}

#[test]
fn a_host_attached_over_libp2p_signs_with_its_nodes_key() {
    let (mut world, report, receipt) = leased(Some(NodeId([9; 32])));
    match World::refusal(world.call(0, with(&report, receipt))) {
        Refusal::BadReceipt { why, .. } => assert!(why.contains("another node"), "{why}"),
        other => panic!("{other}"),
    }
    // Of one that talks HTTP no key is known.
    let (mut world, report, receipt) = leased(None);
    world.call(0, with(&report, receipt)).unwrap();
}

#[test]
fn over_http_a_run_counts_though_its_job_was_granted_to_its_host_anew() {
    let (mut world, report, receipt) = leased(None);
    world.pass(super::world::LEASE_MS);
    assert_eq!(world.claim(0, "h").val.job().unwrap().attempt, 2);
    world.call(0, with(&report, receipt.clone())).unwrap();
    assert_eq!(world.phase(0, &receipt.job), Some(Phase::Succeeded));
}
