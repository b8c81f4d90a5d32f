//! The register of one job: [`Voter`]s and [`Proposer`]s over a network that may do anything.
//!
//! [`Voter`]: skyclaw_protocol::register::Voter
//! [`Proposer`]: skyclaw_protocol::register::Proposer

mod checks;
mod coordinator;
mod endings;
mod larger;
mod leading;
mod network;
mod print;
mod prune;
mod tests;
mod world;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::register::Phase;
use stateright::{Model, Property};

use crate::word::{HOME, Host, Node, Word, id, node};
use network::Frame;
pub(crate) use network::Set;
use world::{Client, World};

/// How many of what, and which rule is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    voters: Node,
    quorum: usize,
    /// Times that a voter begins to lead, restarts of an owner apart.
    takeovers: u8,
    crashes: u8,
    cancels: u8,
    attempts: u8,
    /// Times that a voter deletes the job, its clock being wrong.
    deletions: u8,
    /// From everywhere the job is brought to its end.
    ends: bool,
    /// States are as small as they can be.
    prunes: bool,
    broken: Broken,
}

/// What a coordinator does with the protocol's types that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// B1: a voter accepts what is below its promise.
    AcceptsLower,
    /// B2: who takes over asks nobody.
    PromisesAlone,
    /// B3: the home counts its own disk as a quorum.
    AnswersAlone,
    /// B4: a voter answers before it wrote.
    AnswersEarly,
    /// B4: a voter comes back with an empty row.
    Forgets,
    /// B7: the home goes on with its ballot after a restart.
    ResumesBallot,
    /// The home takes a job of before its restart for a new one.
    MintsAgain,
    /// A voter votes for what it does not have.
    VotesUnseen,
    /// A voter that deleted a job does not remember that it did.
    ForgetsFloor,
    /// An owner that lost its lead does not take it again.
    LeadsOnce,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    /// A frame arrives at this voter.
    ToVoter(Node, Frame),
    /// The same, without the result that it names.
    ToVoterBare(Node, Frame),
    /// A frame arrives at the owner of its ballot.
    ToOwner(Frame),
    /// The disk has what memory has.
    Write(Node),
    /// The first value missed its quorum: 503.
    GiveUp,
    Grant(Node, Host),
    TakeBack(Node),
    /// The host that was granted the lease reports.
    Complete(Node),
    Cancel(Node),
    TakeOver(Node),
    Restart(Node),
    Delete(Node),
}

impl Rules {
    fn ids(&self) -> Vec<NodeId> {
        (0..self.voters).map(id).collect()
    }

    fn owner_actions(&self, world: &World, at: Node, actions: &mut Vec<Action>) {
        let Some(word) = world.nodes[usize::from(at)].chosen() else { return };
        if word.outcome().is_some() {
            return;
        }
        if word.phase == Phase::Queued && word.attempt < self.attempts {
            actions.push(Action::Grant(at, 0));
            // Hosts are alike until one is named.
            if world.names_a_host() {
                actions.push(Action::Grant(at, 1));
            }
        }
        if word.phase == Phase::Leased {
            actions.push(Action::TakeBack(at));
        }
        // Also after the lease was taken back, as long as nobody else got the job.
        if word.host.is_some() && world.told.iter().any(|told| told.host == word.host) {
            actions.push(Action::Complete(at));
        }
        if world.cancels < self.cancels {
            actions.push(Action::Cancel(at));
        }
    }

    /// Takes the step; false if the protocol's code refuses it.
    fn step(&self, world: &mut World, action: Action) -> bool {
        let current = |world: &World, at: Node| world.nodes[usize::from(at)].current();
        let follow = |world: &mut World, at: Node, phase: Phase| {
            let next = current(world, at).map(|word| word.then(phase));
            next.is_some_and(|next| world.propose(self, at, next))
        };
        match action {
            Action::ToVoter(at, Frame::Accept { ballot, word }) => {
                let sent = world.nodes[usize::from(node(ballot.proposer))].has_content(word);
                world.accept(self, at, ballot, word, sent)
            }
            Action::ToVoterBare(at, Frame::Accept { ballot, word }) => {
                world.accept(self, at, ballot, word, false)
            }
            Action::ToVoter(at, Frame::Prepare { ballot }) => world.prepare(self, at, ballot),
            Action::ToOwner(Frame::Voted { ballot, ver, from }) => {
                world.vote(node(ballot.proposer), from, ballot, ver);
                true
            }
            Action::ToOwner(Frame::Promised { ballot, from, accepted }) => {
                world.promise(self, node(ballot.proposer), from, ballot, accepted);
                true
            }
            Action::ToVoter(..) | Action::ToVoterBare(..) | Action::ToOwner(_) => false,
            Action::Write(at) => {
                world.write(self, at);
                true
            }
            Action::GiveUp => {
                world.client = Client::Refused;
                follow(world, HOME, Phase::Aborted)
            }
            Action::Grant(at, host) => {
                let next = current(world, at).map(|word| word.granted(host));
                next.is_some_and(|next| world.propose(self, at, next))
            }
            Action::TakeBack(at) => follow(world, at, Phase::Queued),
            Action::Complete(at) => follow(world, at, Phase::Succeeded),
            Action::Cancel(at) => {
                world.cancels += 1;
                follow(world, at, Phase::Cancelled)
            }
            Action::TakeOver(at) => {
                world.takeovers += 1;
                world.lead(self, at)
            }
            Action::Restart(at) => {
                world.crashes += 1;
                world.restart(self, at);
                true
            }
            Action::Delete(at) => {
                world.deletions += 1;
                world.step_down(at);
                world.nodes[usize::from(at)].delete(self.broken != Broken::ForgetsFloor);
                true
            }
        }
    }
}

impl Model for Rules {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for frame in world.net.iter() {
            match frame {
                Frame::Accept { ballot, .. } | Frame::Prepare { ballot } => {
                    let others = (0..self.voters).filter(|at| *at != node(ballot.proposer));
                    let others: Vec<_> = others.collect();
                    actions.extend(others.iter().map(|at| Action::ToVoter(*at, *frame)));
                    if matches!(frame, Frame::Accept { word, .. } if word.outcome().is_some()) {
                        actions.extend(others.iter().map(|at| Action::ToVoterBare(*at, *frame)));
                    }
                }
                Frame::Voted { .. } | Frame::Promised { .. } => {
                    actions.push(Action::ToOwner(*frame))
                }
            }
        }
        for (it, at) in world.nodes.iter().zip(0..) {
            if it.is_unwritten() {
                actions.push(Action::Write(at));
            }
            self.owner_actions(world, at, actions);
            let home_gives_up =
                at == HOME && it.chosen().is_none() && it.current() == Some(Word::FIRST);
            if home_gives_up && world.client == Client::Waits {
                actions.push(Action::GiveUp);
            }
            // Voters other than the home are alike until one of them leads, and keep their order.
            let alike = at > self.takeovers;
            // Who leads and was not overtaken has no reason to.
            let leads = it
                .ballot()
                .is_some_and(|b| world.nodes.iter().all(|o| o.memory.promised <= Some(b)));
            if world.takeovers < self.takeovers && !alike && !leads {
                actions.push(Action::TakeOver(at));
            }
            if world.deletions < self.deletions && it.memory.promised.is_some() {
                actions.push(Action::Delete(at));
            }
            // A restart of one that loses nothing changes nothing.
            let loses = it.lead.is_some() || it.is_unwritten() || self.broken == Broken::Forgets;
            if world.crashes < self.crashes && loses {
                actions.push(Action::Restart(at));
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        self.step(&mut world, action).then(|| {
            if self.prunes {
                world.prune(self);
            }
            world
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        [checks::always(), checks::sometimes(self)].concat()
    }
}
