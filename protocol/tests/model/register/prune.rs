//! What can have no effect any more is taken out of a state, so that states which differ in
//! nothing else are one. Each rule says why nothing is lost.

use skyclaw_protocol::register::Ballot;

use super::coordinator::Coordinator;
use super::network::Frame;
use super::world::{Client, World};
use super::{Broken, Rules};
use crate::word::{Word, node};

impl World {
    pub(super) fn prune(&mut self, rules: &Rules) {
        let Self { nodes, net, .. } = self;
        let owner = |ballot: &Ballot| &nodes[usize::from(node(ballot.proposer))];
        let is_refused =
            |ballot: &Ballot| nodes.iter().any(|it| it.memory.promised > Some(*ballot));
        let kept = net.clone();
        net.retain(|frame| match frame {
            // A voter that promised this ballot has answered, and its answer is a frame of its
            // own; one that promised more refuses, which its owner hears once.
            Frame::Prepare { ballot } => {
                nodes.iter().any(|it| it.memory.promised < Some(*ballot))
                    || (owner(ballot).is_preparing(*ballot) && is_refused(ballot))
            }
            // Proposers hear promises only while they prepare that very ballot, never again after.
            Frame::Promised { ballot, .. } => owner(ballot).is_preparing(*ballot),
            // Kept for voters that would accept it, for those that would say again what the
            // owner has not heard and the network does not hold, and for refusals.
            Frame::Accept { ballot, word } => {
                nodes.iter().zip(0..).any(|(it, at)| {
                    it.would_change(*ballot, *word)
                        || (has(it, *ballot, *word)
                            && wants(owner(ballot), *ballot, word.ver, at)
                            && !kept.contains(&Frame::Voted {
                                ballot: *ballot,
                                ver: word.ver,
                                from: at,
                            }))
                }) || (is_refused(ballot)
                    && owner(ballot).ballot() == Some(*ballot)
                    && owner(ballot).current() == Some(*word))
            }
            // Counts once, for the value in flight; versions and ballots only rise.
            Frame::Voted { ballot, ver, from } => wants(owner(ballot), *ballot, *ver, *from),
        });
        // A value that too few voters can still accept is never chosen; no check asks for it.
        self.written.retain(|(ballot, word, by)| {
            let more = (0..rules.voters).zip(&self.nodes).filter(|(at, it)| {
                by & (1 << at) == 0 && (it.would_change(*ballot, *word) || it.is_unwritten())
            });
            by.count_ones() as usize + more.count() >= rules.quorum
        });
        self.drop_the_fenced(rules);
    }

    /// A lead that so many voters refuse that it never gets a quorum again can only write what
    /// nobody reads, once nobody prepares or will. Real ones learn of it by the first refusal.
    fn drop_the_fenced(&mut self, rules: &Rules) {
        let settled = self.takeovers == rules.takeovers
            && self.crashes == rules.crashes
            && self.client != Client::Waits
            && rules.broken == Broken::Nothing
            && self.nodes.iter().all(|it| it.ballot().is_none() || it.current().is_some());
        if !settled {
            return;
        }
        for at in 0..self.nodes.len() {
            let Some(mine) = self.nodes[at].ballot() else { continue };
            let higher = self.nodes.iter().filter_map(|it| it.memory.promised);
            let higher: Vec<_> = higher.filter(|promised| *promised > mine).collect();
            let quorum_left = self.nodes.len() - higher.len() >= rules.quorum;
            // Votes that are under way may still tell it that its value was chosen in time.
            let news = self
                .net
                .iter()
                .any(|frame| matches!(frame, Frame::Voted { ballot, .. } if *ballot == mine))
                || !self.nodes[at].held.is_empty();
            if quorum_left || news {
                continue;
            }
            self.nodes[at].lead = None;
        }
    }
}

fn has(it: &Coordinator, ballot: Ballot, word: Word) -> bool {
    it.memory.accepted.as_ref().is_some_and(|a| a.ballot == ballot && a.val == *word.val())
}

/// True if this vote would be news to its owner.
fn wants(owner: &Coordinator, ballot: Ballot, ver: u8, from: u8) -> bool {
    owner.current().is_some_and(|word| word.ver == ver) && owner.misses(ballot, from)
}
