//! All coordinators, the network, the client, and what was ever durable: one state of the model,
//! and the steps that voters and proposers take in it, each through the protocol's own code.
//!
//! Always: what rests on a row leaves in the step that writes it. A step that writes stands for
//! any batch that holds it: a batch that a crash loses has told nobody anything, as if its frames
//! were still under way. Only round 0 speaks before it is written, so only there memory may be
//! ahead of the disk.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use skyclaw_protocol::register::{Accepted, Ballot, Phase, Proposer, ProposerStep, Voter};

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

    fn at(&mut self, at: Node) -> &mut Coordinator {
        &mut self.nodes[usize::from(at)]
    }

    fn has_accepted(&mut self, at: Node, ballot: Ballot, word: Word) -> bool {
        Arc::make_mut(&mut self.at(at).memory).accept(ballot, word.val()).is_ok()
    }

    /// The owner accepts its own value and sends it. Returns false if its row refused.
    fn write_next(&mut self, rules: &Rules, at: Node, ballot: Ballot, word: Word) -> bool {
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
        let Some(lead) = it.lead.as_mut().filter(|lead| lead.ballot() == Some(ballot)) else {
            return false;
        };
        let stops = Arc::make_mut(lead).refused(promised) == ProposerStep::Deposed;
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

    /// A voter begins to lead, under a ballot that its own row promised durably.
    pub(crate) fn lead(&mut self, rules: &Rules, at: Node) -> bool {
        if self.at(at).is_gone() {
            return false;
        }
        let promised = self.at(at).memory.promised;
        let lead = Proposer::prepare(id(at), rules.ids(), rules.quorum, promised);
        let Some(ballot) = lead.ballot() else { return false };
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
            // Rule 1: it is asked for that job once more, and takes it for a new one.
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
            // Rule 10: what it promised to itself, it leads.
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

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let named = usize::from(self.alike).min(self.nodes.len());
        let (leaders, others) = self.nodes.split_at(named);
        for (it, at) in leaders.iter().zip(0..) {
            it.print(state);
            self.print_debts(at, state);
        }
        for frame in self.net.iter().filter(|frame| frame.from() < Some(self.alike)) {
            frame.hash(state);
        }
        for (ballot, word, _) in self.written.iter() {
            (ballot, word).hash(state);
        }
        (self.client, &self.chosen, &self.told).hash(state);
        (self.takeovers, self.crashes, self.cancels, self.deletions).hash(state);
        let prints = others.iter().zip(self.alike..).map(|(it, at)| {
            let mut print = DefaultHasher::new();
            it.print(&mut print);
            self.print_debts(at, &mut print);
            for frame in self.net.iter().filter(|frame| frame.from() == Some(at)) {
                frame.unsigned().hash(&mut print);
            }
            print.finish()
        });
        Set::of(prints).hash(state);
    }
}

impl World {
    /// What each proposer still wants of this voter, and what it had on disk.
    fn print_debts(&self, at: Node, state: &mut impl Hasher) {
        for lead in self.nodes.iter().filter_map(|it| it.lead.as_ref()) {
            state.write_u8(u8::from(lead.missing().contains(&id(at))));
        }
        for (_, _, by) in self.written.iter() {
            state.write_u8(by >> at & 1);
        }
    }
}
