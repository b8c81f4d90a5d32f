//! How a coordinator comes to lead: by a takeover, and again after it fell.

use std::sync::Arc;

use skyclaw_protocol::register::{Accepted, Proposer, Voter};

use super::network::Frame;
use super::world::{Client, World};
use super::{Broken, Rules};
use crate::word::{HOME, Node, Word, first_ballot, id, node, short};

impl World {
    /// A voter begins to lead, under a ballot that its own row promised durably.
    pub(crate) fn lead(&mut self, rules: &Rules, at: Node) -> bool {
        if self.at(at).is_gone() {
            return false;
        }
        let promised = self.at(at).memory.promised;
        let lead = Proposer::prepare(id(at), rules.ids(), rules.quorum, promised);
        let ballot = lead.ballot();
        if Arc::make_mut(&mut self.at(at).memory).prepare(ballot).is_err() {
            return false;
        }
        self.step_down(at);
        self.at(at).lead = Some(Arc::new(lead));
        let accepted = short(self.at(at).memory.accepted.as_ref());
        self.write(rules, at);
        self.net.insert(Frame::Prepare { ballot });
        self.promise(rules, at, at, ballot, accepted);
        if rules.broken == Broken::PromisesAlone {
            // B2: it does not ask the others, it takes them to know nothing.
            for other in (0..rules.voters).filter(|other| *other != at) {
                self.promise(rules, at, other, ballot, None);
            }
        }
        true
    }

    /// A coordinator falls and comes back with what it had written.
    pub(crate) fn restart(&mut self, rules: &Rules, at: Node) {
        if at == HOME && self.client == Client::Waits {
            self.client = Client::CutOff;
        }
        let it = self.at(at);
        it.lead = None;
        it.held.clear();
        if rules.broken == Broken::Forgets {
            // B4: the disk is another one, with the old key.
            it.disk = Arc::new(Voter::EMPTY);
        }
        it.memory = it.disk.clone();
        it.results = it.kept;
        let accepted = it.disk.accepted.clone();
        let found = short(accepted.as_ref()).filter(|(ballot, _)| *ballot == first_ballot());
        let again = match rules.broken {
            // B7: it goes on where its disk says that it was.
            Broken::ResumesBallot => found.map(|(_, word)| word),
            // It is asked for that job once more, and takes it for a new one.
            Broken::MintsAgain => Some(Word::FIRST),
            _ => None,
        };
        if let Some(word) = again.filter(|_| at == HOME) {
            if rules.broken == Broken::MintsAgain {
                self.client = Client::Waits;
            }
            let lead = Proposer::create(id(at), rules.ids(), rules.quorum, word.val().clone());
            self.at(at).lead = Some(Arc::new(lead));
            self.write_next(rules, at, first_ballot(), word);
            return;
        }
        match accepted {
            // All there is is what it has.
            Some(accepted) if rules.voters == 1 => self.recover(at, accepted),
            // What it promised to itself, it leads.
            _ if self.owner(at) == Some(at) => drop(self.lead(rules, at)),
            _ => {}
        }
    }

    /// Who leads, as far as this voter's row says.
    pub(crate) fn owner(&self, at: Node) -> Option<Node> {
        self.nodes[usize::from(at)].memory.promised.map(|ballot| node(ballot.proposer))
    }

    /// The only voter comes back.
    fn recover(&mut self, at: Node, accepted: Accepted) {
        let promised = self.at(at).memory.promised;
        self.at(at).lead = Some(Arc::new(Proposer::recover(id(at), promised, accepted)));
        if let Some(word) = self.at(at).chosen().filter(|word| word.ver > 0) {
            self.told.insert(word);
        }
    }
}
