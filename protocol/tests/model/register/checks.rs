//! What must hold in every state, and what must be reachable.

use skyclaw_protocol::register::Phase;
use stateright::Property;

use super::coordinator::Coordinator;
use super::world::{Client, World};
use super::{Rules, endings};
use crate::word::{HOME, Word, node};

pub(super) const I1: &str = "I1 a job answered 200 is on a quorum of disks";
pub(super) const I2B: &str = "I2b one host per attempt";
pub(super) const I3: &str = "I3 one outcome, and nothing but it follows";
pub(super) const R3: &str = "a result that ended a job is on a quorum of disks";
pub(super) const I4: &str = "I4 what was taken ends, whichever quorum lives on";
pub(super) const I5: &str = "I5 a job answered 200 is never aborted";
pub(super) const F5: &str = "F5 what was told is chosen";
const F: &str = "F a result comes from a host that was granted the lease";

/// The rules of the register.
pub(super) fn always() -> Vec<Property<Rules>> {
    vec![
        Property::always(I1, i1),
        Property::always(I2B, i2b),
        Property::always(I3, i3),
        Property::always(R3, r3),
        Property::always(I4, i4),
        Property::always(I5, i5),
        Property::always(F5, f5),
        Property::always(F, f),
    ]
}

/// Proof that the model gets far enough for these to mean something.
pub(super) fn sometimes(rules: &Rules) -> Vec<Property<Rules>> {
    let mut all = vec![
        Property::sometimes("done", |rules, world: &World| ended(rules, world).next().is_some()),
        Property::sometimes("503", |_: &Rules, world: &World| world.client == Client::Refused),
    ];
    if rules.takeovers > 0 {
        all.push(Property::sometimes(
            "done by another than the home",
            |rules: &Rules, world: &World| ended(rules, world).any(|by| by != HOME),
        ));
    }
    if rules.takeovers > 0 {
        all.push(Property::sometimes("503, and done all the same", |rules, world: &World| {
            world.client == Client::Refused && ended(rules, world).next().is_some()
        }));
    }
    if usize::from(rules.deletions) >= rules.quorum {
        all.push(Property::sometimes("done, and deleted by a quorum", |rules, world: &World| {
            let gone = world.nodes.iter().filter(|it| it.is_gone()).count();
            done(world).next().is_some() && gone >= rules.quorum
        }));
    }
    if rules.takeovers > 0 && rules.attempts > 1 {
        all.push(Property::sometimes(
            "granted again by another, to another",
            |_, world: &World| {
                let lost = |word: &Word| word.phase == Phase::Leased && word.host == Some(0);
                world.told.iter().any(lost)
                    && world.chosen.iter().any(|(ballot, word)| {
                        node(ballot.proposer) != HOME && word.attempt == 2 && word.host == Some(1)
                    })
            },
        ));
    }
    if rules.crashes > 0 && rules.attempts > 0 {
        all.push(Property::sometimes("done after a restart of the home", |_, world: &World| {
            world.chosen.iter().any(|(ballot, word)| {
                node(ballot.proposer) == HOME
                    && ballot.round > 0
                    && word.phase == Phase::Succeeded
                    && word.attempt > 0
            })
        }));
    }
    all
}

/// Who ended it as intended: where nothing is granted, by its cancel.
fn ended(rules: &Rules, world: &World) -> impl Iterator<Item = u8> {
    let end = if rules.attempts > 0 { Phase::Succeeded } else { Phase::Cancelled };
    let ended = world.chosen.iter().filter(move |(_, word)| word.phase == end);
    ended.map(|(ballot, _)| node(ballot.proposer))
}

fn done(world: &World) -> impl Iterator<Item = (u8, Word)> {
    let ended = world.chosen.iter().filter(|(_, word)| word.phase == Phase::Succeeded);
    ended.map(|(ballot, word)| (node(ballot.proposer), *word))
}

fn i1(rules: &Rules, world: &World) -> bool {
    // What was deleted was there.
    let has = |it: &&Coordinator| it.disk.accepted.is_some() || it.is_gone();
    let disks = world.nodes.iter().filter(has).count();
    world.client != Client::Taken || disks >= rules.quorum
}

fn r3(rules: &Rules, world: &World) -> bool {
    done(world).all(|(_, word)| {
        let has = |it: &&Coordinator| it.kept & word.result() != 0 || it.is_gone();
        world.nodes.iter().filter(has).count() >= rules.quorum
    })
}

fn i4(rules: &Rules, world: &World) -> bool {
    !rules.ends || endings::ends_with_any(rules, world)
}

fn i2b(_: &Rules, world: &World) -> bool {
    let grants = || {
        let chosen = world.chosen.iter().map(|(_, word)| word);
        chosen.chain(world.told.iter()).filter(|word| word.phase == Phase::Leased)
    };
    grants().all(|one| grants().all(|two| one.attempt != two.attempt || one.host == two.host))
}

fn i3(_: &Rules, world: &World) -> bool {
    // In the order of ballot and version.
    let chosen = world.chosen.iter().map(|(_, word)| word.outcome());
    let told = world.told.iter().map(|word| word.outcome()).filter(Option::is_some);
    let mut all = chosen.skip_while(Option::is_none).chain(told);
    let first = all.next();
    all.all(|next| Some(next) == first)
}

fn i5(_: &Rules, world: &World) -> bool {
    let aborted = world.chosen.iter().any(|(_, word)| word.phase == Phase::Aborted);
    world.client != Client::Taken || !aborted
}

fn f5(_: &Rules, world: &World) -> bool {
    let chosen = |told: &Word| world.chosen.iter().any(|(_, word)| word == told);
    world.told.iter().all(chosen) && (world.client != Client::Taken || chosen(&Word::FIRST))
}

fn f(_: &Rules, world: &World) -> bool {
    done(world).all(|(_, end)| {
        world.chosen.iter().any(|(_, word)| {
            word.phase == Phase::Leased && (word.attempt, word.host) == (end.attempt, end.host)
        })
    })
}
