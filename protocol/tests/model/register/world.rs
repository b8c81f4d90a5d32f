//! All coordinators, the network, the client, and what was ever durable: one state of the model,
//! and the steps that voters and proposers take in it, each through the protocol's own code.
//!
//! Always: what rests on a row leaves in the step that writes it. A step that writes stands for
//! any batch that holds it: a batch that a crash loses has told nobody anything, as if its frames
//! were still under way. Only round 0 speaks before it is written, so only there memory may be
//! ahead of the disk.

use std::sync::Arc;

use skyclaw_protocol::register::{Ballot, Phase, Proposer, ProposerStep, Voter};

use super::coordinator::Coordinator;
use super::network::{Frame, Set};
use super::{Broken, Rules};
use crate::word::{HOME, Node, Word, first_ballot, id, long, node, short};

/// What the submission was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Waits,
    /// 200.
    Taken,
    /// 503.
    Refused,
    /// The home fell first.
    CutOff,
}

/// One state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Coordinator>,
    pub(crate) net: Set<Frame>,
    pub(crate) client: Client,
    /// Who ever had which value on disk (one bit per voter), until a quorum had.
    pub(crate) written: Set<(Ballot, Word, u8)>,
    /// What a quorum ever had on disk.
    pub(crate) chosen: Set<(Ballot, Word)>,
    /// Grants handed to hosts, and ends told to those who reported them.
    pub(crate) told: Set<Word>,
    pub(crate) takeovers: u8,
    pub(crate) crashes: u8,
    pub(crate) cancels: u8,
    pub(crate) deletions: u8,
    /// Voters from here on never lead, so that they are alike: their names are not told apart.
    pub(crate) alike: Node,
}

impl World {
    /// The home has just taken the job: its proposal leaves while its own disk is still writing.
    pub(crate) fn new(rules: &Rules) -> Self {
        let mut world = Self {
            nodes: (0..rules.voters).map(|_| Coordinator::new()).collect(),
            net: Set::new(),
            client: Client::Waits,
            written: Set::new(),
            chosen: Set::new(),
            told: Set::new(),
            takeovers: 0,
            crashes: 0,
            cancels: 0,
            deletions: 0,
            alike: if rules.prunes { rules.takeovers + 1 } else { Node::MAX },
        };
        // B3: one disk is enough for an answer.
        let quorum = if rules.broken == Broken::AnswersAlone { 1 } else { rules.quorum };
        let lead = Proposer::create(id(HOME), rules.ids(), quorum, Word::FIRST.val().clone());
        world.nodes[0].lead = Some(Arc::new(lead));
        world.write_next(rules, HOME, first_ballot(), Word::FIRST);
        world
    }

    pub(super) fn at(&mut self, at: Node) -> &mut Coordinator {
        &mut self.nodes[usize::from(at)]
    }

    fn has_accepted(&mut self, at: Node, ballot: Ballot, word: Word) -> bool {
        Arc::make_mut(&mut self.at(at).memory).accept(ballot, word.val()).is_ok()
    }

    /// The owner accepts its own value and sends it. Returns false if its row refused.
    pub(super) fn write_next(
        &mut self,
        rules: &Rules,
        at: Node,
        ballot: Ballot,
        word: Word,
    ) -> bool {
        if !self.has_accepted(at, ballot, word) {
            return false;
        }
        self.at(at).held.push((ballot, word.ver));
        self.net.insert(Frame::Accept { ballot, word });
        if ballot.round > 0 {
            self.write(rules, at);
        }
        true
    }

    /// The row reaches the disk; the owner's votes that waited for it count now.
    pub(crate) fn write(&mut self, rules: &Rules, at: Node) {
        let it = self.at(at);
        it.disk = it.memory.clone();
        it.kept = it.results;
        let held = std::mem::take(&mut it.held);
        if let Some((ballot, word)) = short(it.disk.accepted.as_ref()) {
            self.count(rules, at, ballot, word);
        }
        for (ballot, ver) in held {
            self.vote(at, at, ballot, ver);
        }
    }

    /// Before a voter answers. B4: one that does not wait may lose what it answered.
    fn write_unless_early(&mut self, rules: &Rules, at: Node) {
        if rules.broken != Broken::AnswersEarly {
            self.write(rules, at);
        }
    }

    /// Remembers for the checks what was on disk.
    fn count(&mut self, rules: &Rules, at: Node, ballot: Ballot, word: Word) {
        if self.chosen.contains(&(ballot, word)) {
            return;
        }
        let mut by = 1 << at;
        self.written.retain(|(b, w, before)| {
            let same = (*b, *w) == (ballot, word);
            by |= if same { *before } else { 0 };
            !same
        });
        if by.count_ones() as usize >= rules.quorum {
            self.chosen.insert((ballot, word));
        } else {
            self.written.insert((ballot, word, by));
        }
    }

    /// A proposer counts a vote. What is chosen by it takes effect.
    pub(crate) fn vote(&mut self, at: Node, from: Node, ballot: Ballot, ver: u8) {
        let Some(lead) = self.at(at).lead.as_mut() else { return };
        if Arc::make_mut(lead).vote(id(from), ballot, ver.into()) != ProposerStep::Chosen {
            return;
        }
        let Some(word) = self.at(at).chosen() else { return };
        if word.ver == 0 && self.client == Client::Waits {
            self.client = Client::Taken;
        }
        if word.phase == Phase::Leased || word.outcome().is_some() {
            self.told.insert(word);
        }
    }

    /// Somebody else leads now: whoever waits is told that it may or may not stand.
    pub(crate) fn step_down(&mut self, at: Node) {
        self.at(at).lead = None;
        if at == HOME && self.client == Client::Waits {
            self.client = Client::Refused;
        }
    }

    /// An owner hears that it was refused. Whenever it hears it, it stops or goes on alike, so
    /// that this is no frame of its own. False if it goes on.
    fn refused(&mut self, ballot: Ballot, promised: Option<Ballot>) -> bool {
        let it = self.at(node(ballot.proposer));
        let Some(lead) = it.lead.as_ref().filter(|lead| lead.ballot() == ballot) else {
            return false;
        };
        let stops = lead.is_behind(promised);
        if stops {
            self.step_down(node(ballot.proposer));
        }
        stops
    }

    /// A voter takes a proposal, or refuses it. False if nothing came of it.
    /// `content`: the result that it names came along.
    pub(crate) fn accept(
        &mut self,
        rules: &Rules,
        at: Node,
        ballot: Ballot,
        word: Word,
        content: bool,
    ) -> bool {
        if self.at(at).is_gone() {
            return false;
        }
        if rules.broken == Broken::AcceptsLower {
            // B1: whatever it promised or accepted above this ballot is forgotten.
            let row = Arc::make_mut(&mut self.at(at).memory);
            row.promised = None;
            row.accepted.take_if(|held| held.ballot > ballot);
        }
        let mut row = Voter::clone(&self.at(at).memory);
        let changed = match row.accept(ballot, word.val()) {
            Ok(changed) => changed,
            Err(nack) => return self.refused(ballot, nack.promised),
        };
        if content && word.phase == Phase::Succeeded {
            self.at(at).results |= word.result();
        }
        if !self.at(at).has_content(word) && rules.broken != Broken::VotesUnseen {
            return false;
        }
        if changed {
            let it = self.at(at);
            it.memory = Arc::new(row);
            self.step_down(at);
        }
        self.write_unless_early(rules, at);
        self.net.insert(Frame::Voted { ballot, ver: word.ver, from: at });
        true
    }

    /// A voter is asked to promise. False if nothing came of it.
    pub(crate) fn prepare(&mut self, rules: &Rules, at: Node, ballot: Ballot) -> bool {
        if self.at(at).is_gone() {
            return false;
        }
        let mut row = Voter::clone(&self.at(at).memory);
        let accepted = match row.prepare(ballot) {
            Ok(accepted) => short(accepted),
            Err(nack) => return self.refused(ballot, nack.promised),
        };
        let it = self.at(at);
        if it.memory.promised != row.promised {
            it.memory = Arc::new(row);
            self.step_down(at);
        }
        self.write_unless_early(rules, at);
        self.net.insert(Frame::Promised { ballot, from: at, accepted });
        true
    }

    /// A proposer takes a promise; with enough of them it writes what it adopted.
    pub(crate) fn promise(
        &mut self,
        rules: &Rules,
        at: Node,
        from: Node,
        ballot: Ballot,
        accepted: Option<(Ballot, Word)>,
    ) {
        let Some(lead) = self.at(at).lead.as_mut() else { return };
        let lead = Arc::make_mut(lead);
        let adopted = lead.promise(id(from), ballot, long(accepted));
        let next = match adopted {
            Some(adopted) => Word::of(&adopted.val),
            // Nothing was ever chosen: it is given up.
            None if lead.fill(Word::FIRST.then(Phase::Aborted).val().clone()) => {
                Word::FIRST.then(Phase::Aborted)
            }
            None => return,
        };
        // A promise brings the result that it names.
        if next.phase == Phase::Succeeded {
            let brought = self.net.iter().any(|frame| match frame {
                Frame::Promised { ballot: b, from, accepted: Some((_, word)) } => {
                    *b == ballot
                        && word.outcome() == next.outcome()
                        && self.nodes[usize::from(*from)].has_content(next)
                }
                _ => false,
            });
            self.at(at).results |= if brought { next.result() } else { 0 };
        }
        if !self.write_next(rules, at, ballot, next) {
            self.step_down(at);
        }
    }

    /// The owner writes what follows a chosen value, or gives up a first one that is not chosen.
    /// False if the proposer or the row refused.
    pub(crate) fn propose(&mut self, rules: &Rules, at: Node, next: Word) -> bool {
        let Some(ballot) = self.at(at).ballot() else { return false };
        let Some(lead) = self.at(at).lead.as_mut() else { return false };
        if Arc::make_mut(lead).propose(next.val().clone()).is_none() {
            return false;
        }
        if next.phase == Phase::Succeeded {
            self.at(at).results |= next.result();
        }
        self.write_next(rules, at, ballot, next)
    }

    /// True if some host was named in any value.
    pub(crate) fn names_a_host(&self) -> bool {
        let named = |word: &Word| word.host.is_some();
        self.nodes.iter().any(|it| it.current().as_ref().is_some_and(named))
            || self.chosen.iter().any(|(_, word)| named(word))
            || self.written.iter().any(|(_, word, _)| named(word))
            || self.net.iter().any(|frame| match frame {
                Frame::Accept { word, .. } => named(word),
                _ => false,
            })
    }
}
