//! From any state to the end: some voters are gone for ever, the others hear each other, nobody
//! falls any more, one host is left. What they do then is written down here as one run, by the
//! rules that say who leads: what ends in it can end.
//!
//! Always: nobody takes over from an owner that is heard, whether that one leads or not; that it
//! leads is its own affair.

use skyclaw_protocol::register::{Ballot, Phase};

use super::network::Frame;
use super::world::{Client, World};
use super::{Action, Broken, Rules};
use crate::word::{Node, node};

/// Looks around that are enough: one for each way to lose a lead and each step of a job, twice.
const ROUNDS: usize = 24;

/// True if any quorum of voters ends the job without the others.
pub(super) fn ends_with_any(rules: &Rules, world: &World) -> bool {
    let sets = (0u8..1 << rules.voters).filter(|set| set.count_ones() as usize == rules.quorum);
    sets.into_iter().all(|set| ends(rules, world, set))
}

/// True if these voters end it; a job that nobody was promised need not end.
fn ends(rules: &Rules, world: &World, living: u8) -> bool {
    if world.client != Client::Taken && world.chosen.iter().next().is_none() {
        return true;
    }
    let mut rest = Rest { rules, world: world.clone(), living, heard: Vec::new() };
    rest.heard = rest.world.nodes.iter().map(|it| it.memory.promised).collect();
    for _ in 0..ROUNDS {
        rest.deliver();
        let works: Vec<_> = rest.living().collect();
        for at in works {
            match rest.world.nodes[usize::from(at)].chosen() {
                Some(word) if word.outcome().is_some() => return true,
                Some(word) => rest.work(at, word.phase, word.host),
                None => {}
            }
        }
        rest.deliver();
        rest.look_for_owners();
    }
    false
}

struct Rest<'a> {
    rules: &'a Rules,
    world: World,
    living: u8,
    /// The highest ballot that each knows of.
    heard: Vec<Option<Ballot>>,
}

impl Rest<'_> {
    fn lives(&self, at: Node) -> bool {
        self.living >> at & 1 == 1
    }

    fn living(&self) -> impl Iterator<Item = Node> + use<> {
        let living = self.living;
        (0..Node::BITS as Node).filter(move |at| living >> at & 1 == 1)
    }

    fn step(&mut self, action: Action) {
        let mut next = self.world.clone();
        if self.rules.step(&mut next, action) {
            self.world = next;
        }
    }

    /// All that is under way between them arrives, once.
    fn deliver(&mut self) {
        for at in self.living() {
            self.world.write(self.rules, at);
        }
        let mut done = Vec::new();
        loop {
            let next = self.world.net.iter().find(|frame| !done.contains(*frame)).copied();
            let Some(frame) = next else { return };
            done.push(frame);
            let (Frame::Accept { ballot, .. }
            | Frame::Prepare { ballot }
            | Frame::Voted { ballot, .. }
            | Frame::Promised { ballot, .. }) = frame;
            let owner = node(ballot.proposer);
            if !self.lives(owner) || frame.from().is_some_and(|from| !self.lives(from)) {
                continue;
            }
            if frame.from().is_some() {
                self.step(Action::ToOwner(frame));
                continue;
            }
            for at in self.living().filter(|at| *at != owner) {
                let promised = self.world.nodes[usize::from(at)].memory.promised;
                self.hear(owner, promised);
                self.step(Action::ToVoter(at, frame));
                self.hear(at, self.world.nodes[usize::from(at)].memory.promised);
            }
        }
    }

    fn hear(&mut self, at: Node, ballot: Option<Ballot>) {
        let heard = &mut self.heard[usize::from(at)];
        *heard = (*heard).max(ballot);
    }

    /// The owner goes on with the one host that is left.
    fn work(&mut self, at: Node, phase: Phase, host: Option<u8>) {
        self.step(match (phase, host) {
            (Phase::Leased, Some(0)) => Action::Complete(at),
            (Phase::Leased, _) => Action::TakeBack(at),
            _ => Action::Grant(at, 0),
        });
    }

    fn leads(&self, at: Node) -> bool {
        self.world.nodes[usize::from(at)].ballot().is_some()
    }

    fn owner(&self, at: Node) -> Option<Node> {
        self.heard[usize::from(at)].map(|ballot| node(ballot.proposer))
    }

    /// Who would not promise: it hears the owner, or is it.
    fn is_content(&self, at: Node) -> bool {
        self.owner(at).is_some_and(|owner| self.lives(owner) && (owner != at || self.leads(at)))
    }

    fn look_for_owners(&mut self) {
        for at in self.living() {
            let Some(owner) = self.owner(at) else { continue };
            if self.lives(owner) {
                // Told that it owns this, or restarted: it leads again.
                if !self.leads(owner) && self.rules.broken != Broken::LeadsOnce {
                    self.lead(owner);
                }
                continue;
            }
            let would = self.living().filter(|voter| *voter == at || !self.is_content(*voter));
            if would.count() >= self.rules.quorum {
                return self.lead(at);
            }
        }
    }

    fn lead(&mut self, at: Node) {
        self.world.lead(self.rules, at);
        let promised = self.world.nodes[usize::from(at)].memory.promised;
        self.hear(at, promised);
    }
}
