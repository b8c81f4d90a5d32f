//! Leases in discrete time: the owner's end is the protocol's own [`Lease`], the host's end is a
//! timer that counts from the moment it sent its claim, or the renewal that was confirmed.
//!
//! [`Lease`]: skyclaw_protocol::lease::Lease

mod ends;
mod scene;
mod tests;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::register::Phase;
use stateright::{Model, Property};

use crate::word::{HOME, Node, Word, id, node};
use ends::{Grant, Owner, host_of};
use scene::Scene;

/// How long, how often, and which rule is left out. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    voters: Node,
    /// The last tick.
    until: u8,
    lease: u8,
    guard: u8,
    /// How far the owner's clock may run ahead of the host's over one lease.
    error: u8,
    takeovers: u8,
    restarts: u8,
    broken: Broken,
}

/// What must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// T1: the owner renews without a word of the voters.
    RenewsAlone,
    /// A renewal is answered with what the voters were asked before it came.
    AnswersFromBefore,
    /// T2: who takes over does not wait for the lease that it found.
    TakesBackAtOnce,
    /// T2: a restarted owner waits from its restart, not from the promises it got later.
    WaitsFromRestart,
    /// T3: the host counts from the grant, not from its claim.
    CountsFromReceipt,
}

/// What may happen next. The second node is the voter that makes up the quorum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    Tick,
    Lead(Node),
    Restart(Node),
    Promise(Node, Node),
    Choose(Node, Node),
    Claim(Node),
    Begin(Grant),
    Ask(Node),
    Confirm(Node, Node),
    TakeBack(Node),
}

impl Times {
    fn ids(&self) -> Vec<NodeId> {
        (0..self.voters).map(id).collect()
    }

    /// Two of two, two of three.
    const fn quorum(&self) -> usize {
        self.voters as usize / 2 + 1
    }

    fn step(&self, scene: &mut Scene, action: Action) -> bool {
        let chosen = |scene: &Scene, of: Node| scene.owners[usize::from(of)].as_ref()?.chosen();
        match action {
            Action::Tick => {
                scene.tick();
                true
            }
            Action::Lead(of) => {
                scene.takeovers += 1;
                scene.lead(self, of, false)
            }
            Action::Restart(of) => {
                scene.restarts += 1;
                scene.lead(self, of, true)
            }
            Action::Promise(of, by) => scene.promise(self, of, by),
            Action::Choose(of, by) => scene.choose(self, of, by),
            Action::Claim(of) => chosen(scene, of)
                .is_some_and(|word| scene.propose(of, word.granted(host_of(word.attempt + 1)))),
            Action::Begin(grant) => scene.begin(self, grant),
            Action::Ask(of) => {
                scene.ask(of);
                true
            }
            Action::Confirm(of, by) => scene.confirm(self, of, by),
            Action::TakeBack(of) => {
                chosen(scene, of).is_some_and(|word| scene.propose(of, word.then(Phase::Queued)))
            }
        }
    }

    fn owner_actions(&self, scene: &Scene, of: Node, actions: &mut Vec<Action>) {
        let Some(owner) = &scene.owners[usize::from(of)] else { return };
        let others = || (0..self.voters).filter(move |by| *by != of);
        let Some(word) = owner.lead.current().map(Word::of) else {
            return actions.extend(others().map(|by| Action::Promise(of, by)));
        };
        if owner.chosen().is_none() {
            return actions.extend(others().map(|by| Action::Choose(of, by)));
        }
        if word.phase == Phase::Queued && word.attempt < 2 {
            actions.push(Action::Claim(of));
        }
        if word.phase == Phase::Leased {
            let runs = scene.hosts[usize::from(host_of(word.attempt))];
            if runs.is_some_and(|run| run.attempt == word.attempt) {
                actions.push(Action::Ask(of));
                actions.extend(others().map(|by| Action::Confirm(of, by)));
                // Of two nobody can take over without the owner's promise.
                if self.voters == 2 {
                    actions.push(Action::Confirm(of, of));
                }
            }
            if scene.is_over(self, of) {
                actions.push(Action::TakeBack(of));
            }
        }
    }
}

impl Model for Times {
    type State = Scene;
    type Action = Action;

    fn init_states(&self) -> Vec<Scene> {
        vec![Scene::new(self)]
    }

    fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        if scene.now < self.until {
            actions.push(Action::Tick);
        }
        actions.extend(scene.grants.iter().copied().map(Action::Begin));
        for of in 0..self.voters {
            self.owner_actions(scene, of, actions);
            if of != HOME && scene.takeovers < self.takeovers {
                actions.push(Action::Lead(of));
            }
            let row = &scene.rows[usize::from(of)];
            let mine = row.promised.is_some_and(|ballot| node(ballot.proposer) == of);
            if mine && scene.restarts < self.restarts {
                actions.push(Action::Restart(of));
            }
        }
    }

    fn next_state(&self, before: &Scene, action: Action) -> Option<Scene> {
        let mut scene = before.clone();
        self.step(&mut scene, action).then(|| {
            scene.prune(self);
            scene
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![Property::always(I2, |_: &Self, scene: &Scene| {
            scene.hosts.iter().flatten().count() <= 1
        })];
        all.extend([
            Property::sometimes("granted again", |_: &Self, scene: &Scene| {
                scene.begun == [1, 2] && scene.hosts[1].is_some()
            }),
            Property::sometimes("renewed past its first end", |times: &Self, scene: &Scene| {
                scene.hosts[0].is_some() && scene.now > times.lease
            }),
        ]);
        if self.takeovers > 0 {
            all.push(Property::sometimes("granted again by another", |_: &Self, scene: &Scene| {
                let another = |owner: &Owner| owner.chosen().is_some_and(|w| w.attempt == 2);
                scene.begun == [1, 2] && scene.owners[1..].iter().flatten().any(another)
            }));
        }
        if self.restarts > 0 {
            all.push(Property::sometimes("granted again after a restart", |_, scene: &Scene| {
                let restarted = |owner: &Owner| owner.restarted;
                scene.begun == [1, 2] && scene.owners.iter().flatten().any(restarted)
            }));
        }
        all
    }
}

/// The property.
const I2: &str = "I2 at most one host holds a valid lease";
