//! One state of two jobs of one key, and the steps.

use skyclaw_protocol::register::{Ballot, Phase, Proposer, ProposerStep};

use super::site::{Job, OTHER, Site};
use super::{Action, Broken, Keys};
use crate::register::Set;
use crate::word::{Node, Word, id, long, node, short};

/// A frame under way; like the other model's, it stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Frame {
    pub(crate) job: Job,
    pub(crate) ballot: Ballot,
    pub(crate) says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Says {
    Accept(Word),
    Voted(Node, u8),
    /// This voter holds the key for the other job.
    Taken(Node, u8),
    Prepare,
    Promised(Node, Option<(Ballot, Word)>),
}

impl Frame {
    /// True if voters answer it, false if it is an answer.
    pub(crate) const fn is_question(&self) -> bool {
        matches!(self.says, Says::Accept(_) | Says::Prepare)
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct Scene {
    pub(crate) sites: Vec<Site>,
    pub(crate) net: Set<Frame>,
    /// Jobs of which an owner ever knew that a value was chosen, so that it had effects: one that
    /// was not given up, and that it was given up.
    taken: [bool; 2],
    aborted: [bool; 2],
    pub(crate) takeovers: u8,
    /// Some submission was answered 503.
    pub(crate) gave_up: bool,
}

impl Scene {
    /// Both homes have just taken their job.
    pub(crate) fn new(keys: &Keys) -> Self {
        let mut scene = Self {
            sites: (0..keys.voters).map(|_| Site::new()).collect(),
            net: Set::new(),
            taken: [false; 2],
            aborted: [false; 2],
            takeovers: 0,
            gave_up: false,
        };
        for job in [0, 1] {
            let val = Word::FIRST.val().clone();
            let lead = Proposer::create(id(job), keys.ids(), keys.quorum, val);
            scene.at(job).set_lead(job, Some(lead));
            scene.write(job, job, Word::FIRST);
        }
        scene
    }

    fn at(&mut self, at: Node) -> &mut Site {
        &mut self.sites[usize::from(at)]
    }

    /// A job was taken: somebody knows that it was chosen and not given up.
    pub(crate) fn lives(&self, job: Job) -> bool {
        self.taken[usize::from(job)]
    }

    pub(crate) fn is_aborted(&self, job: Job) -> bool {
        self.aborted[usize::from(job)]
    }

    /// The owner accepts its own value and sends it. False if its row refused.
    fn write(&mut self, at: Node, job: Job, word: Word) -> bool {
        let site = self.at(at);
        let Some(ballot) = site.lead(job).map(|lead| lead.ballot()) else { return false };
        let held = site.row(job).holds_key();
        if site.row_mut(job).accept(ballot, word.val()).is_err() {
            return false;
        }
        site.refused[usize::from(job)] = 0;
        if !held && word.phase != Phase::Aborted {
            site.key = Some(job);
        }
        self.net.insert(Frame { job, ballot, says: Says::Accept(word) });
        self.vote(at, at, job, ballot, word.ver);
        true
    }

    fn vote(&mut self, at: Node, from: Node, job: Job, ballot: Ballot, ver: u8) -> bool {
        let site = self.at(at);
        let Some(lead) = site.lead_mut(job) else { return false };
        if lead.vote(id(from), ballot, ver.into()) == ProposerStep::Chosen
            && let Some(word) = lead.chosen().map(Word::of)
        {
            let aborted = word.phase == Phase::Aborted;
            let kind = if aborted { &mut self.aborted } else { &mut self.taken };
            kind[usize::from(job)] = true;
            self.learn(at, job, word.phase);
        }
        true
    }

    /// A value is known to be chosen: the key is that job's, and the other one is given up by whoever
    /// leads it here.
    fn learn(&mut self, at: Node, job: Job, phase: Phase) {
        let site = self.at(at);
        if site.known[usize::from(job)].is_some() {
            return;
        }
        site.known[usize::from(job)] = Some(phase);
        if phase == Phase::Aborted {
            return;
        }
        let rival = site.has_rival(job);
        site.key = Some(job);
        if rival {
            self.give_way(at, OTHER[usize::from(job)]);
        }
    }

    /// What this node leads and nothing was chosen of is given up.
    fn give_way(&mut self, at: Node, job: Job) {
        let site = self.at(at);
        if site.known[usize::from(job)].is_some() {
            return;
        }
        let Some(lead) = site.lead_mut(job) else { return };
        let Some(word) = lead.current().map(Word::of) else { return };
        let next = word.then(Phase::Aborted);
        if lead.abandon(next.val().clone()).is_some() {
            self.write(at, job, next);
        }
    }

    fn refused(&mut self, job: Job, ballot: Ballot, promised: Option<Ballot>) -> bool {
        let site = self.at(node(ballot.proposer));
        let Some(lead) = site.lead(job).filter(|lead| lead.ballot() == ballot) else {
            return false;
        };
        let stops = lead.is_behind(promised);
        if stops {
            site.set_lead(job, None);
        }
        stops
    }

    fn accept(&mut self, keys: &Keys, at: Node, job: Job, ballot: Ballot, word: Word) -> bool {
        let site = self.at(at);
        let needs = site.row(job).needs_key(ballot, word.val());
        if needs && site.has_rival(job) && keys.broken != Broken::LocksNothing {
            self.net.insert(Frame { job, ballot, says: Says::Taken(at, word.ver) });
            return true;
        }
        let held = site.row(job).holds_key();
        match site.row_mut(job).accept(ballot, word.val()) {
            Ok(changed) => {
                if changed {
                    site.set_lead(job, None);
                    if !held && word.phase != Phase::Aborted {
                        site.key = Some(job);
                    }
                }
                self.net.insert(Frame { job, ballot, says: Says::Voted(at, word.ver) });
                true
            }
            Err(nack) => self.refused(job, ballot, nack.promised),
        }
    }

    fn prepare(&mut self, at: Node, job: Job, ballot: Ballot) -> bool {
        let site = self.at(at);
        let before = site.row(job).promised;
        let accepted = match site.row_mut(job).prepare(ballot) {
            Ok(accepted) => short(accepted),
            Err(nack) => return self.refused(job, ballot, nack.promised),
        };
        if before != Some(ballot) {
            site.set_lead(job, None);
        }
        self.net.insert(Frame { job, ballot, says: Says::Promised(at, accepted) });
        true
    }

    fn promise(
        &mut self,
        keys: &Keys,
        (at, from): (Node, Node),
        job: Job,
        ballot: Ballot,
        accepted: Option<(Ballot, Word)>,
    ) {
        let site = self.at(at);
        let Some(lead) = site.lead_mut(job) else { return };
        let next = match lead.promise(id(from), ballot, long(accepted)) {
            Some(adopted) => Word::of(&adopted.val),
            None if lead.fill(Word::FIRST.then(Phase::Aborted).val().clone()) => {
                Word::FIRST.then(Phase::Aborted)
            }
            None => return,
        };
        let may = keys.broken == Broken::AdoptsUnlocked
            || !site.row(job).needs_key(ballot, next.val())
            || !site.has_rival(job);
        if !may || !self.write(at, job, next) {
            self.at(at).set_lead(job, None);
        }
    }

    fn take_over(&mut self, keys: &Keys, at: Node, job: Job) -> bool {
        let site = self.at(at);
        let lead = Proposer::prepare(id(at), keys.ids(), keys.quorum, site.row(job).promised);
        let ballot = lead.ballot();
        let Ok(accepted) = site.row_mut(job).prepare(ballot).map(short) else { return false };
        site.set_lead(job, Some(lead));
        self.net.insert(Frame { job, ballot, says: Says::Prepare });
        self.promise(keys, (at, at), job, ballot, accepted);
        true
    }

    /// A voter refused, since it holds the key for the other job.
    fn taken(&mut self, keys: &Keys, job: Job, ballot: Ballot, from: Node, ver: u8) -> bool {
        let at = node(ballot.proposer);
        let other = OTHER[usize::from(job)];
        let site = self.at(at);
        if !site.awaits(job, ballot, ver) || site.is_given_up(other) {
            return false;
        }
        if site.known[usize::from(other)].is_some() {
            self.give_way(at, job);
            return true;
        }
        site.refused[usize::from(job)] |= 1 << from;
        let voted = site.lead(job).map_or(&[][..], |lead| lead.votes());
        let against = (0..keys.voters).filter(|voter| {
            site.refused[usize::from(job)] >> voter & 1 == 1 && !voted.contains(&id(*voter))
        });
        // The lowest key goes on.
        if against.count() > usize::from(keys.voters) - keys.quorum && other < job {
            self.give_way(at, job);
        }
        true
    }

    /// Takes the step; false if it changes nothing.
    pub(crate) fn step(&mut self, keys: &Keys, action: Action) -> bool {
        match action {
            Action::ToVoter(at, Frame { job, ballot, says: Says::Accept(word) }) => {
                self.accept(keys, at, job, ballot, word)
            }
            Action::ToVoter(at, Frame { job, ballot, .. }) => self.prepare(at, job, ballot),
            Action::ToOwner(Frame { job, ballot, says }) => match says {
                Says::Voted(from, ver) => self.vote(node(ballot.proposer), from, job, ballot, ver),
                Says::Taken(from, ver) => self.taken(keys, job, ballot, from, ver),
                Says::Promised(from, accepted) => {
                    self.promise(keys, (node(ballot.proposer), from), job, ballot, accepted);
                    true
                }
                Says::Accept(_) | Says::Prepare => false,
            },
            Action::GiveUp(job) => {
                self.gave_up = true;
                let next = Word::FIRST.then(Phase::Aborted);
                let lead = self.at(job).lead_mut(job);
                lead.is_some_and(|lead| lead.propose(next.val().clone()).is_some())
                    && self.write(job, job, next)
            }
            Action::TakeOver(at, job) => {
                self.takeovers += 1;
                self.take_over(keys, at, job)
            }
            Action::Learn(at, job, phase) => {
                self.learn(at, job, phase);
                if keys.broken == Broken::LetsGo {
                    self.at(at).key = None;
                }
                true
            }
        }
    }

    /// Frames that can change nothing any more are as good as lost.
    pub(crate) fn prune(&mut self) {
        let Self { sites, net, .. } = self;
        let kept = net.clone();
        net.retain(|frame| {
            let Frame { job, ballot, says } = *frame;
            let owner = &sites[usize::from(node(ballot.proposer))];
            let lead = owner.lead(job).filter(|lead| lead.ballot() == ballot);
            let wants = |from: Node, ver: u8| {
                owner.awaits(job, ballot, ver)
                    && lead.is_some_and(|lead| lead.missing().contains(&id(from)))
            };
            let refuses = |site: &Site| site.row(job).promised > Some(ballot);
            let asks = lead.is_some() && sites.iter().any(refuses);
            match says {
                Says::Prepare => {
                    let open = |site: &Site| site.row(job).promised < Some(ballot);
                    sites.iter().any(open) || (asks && lead.is_some_and(|l| l.current().is_none()))
                }
                Says::Promised(..) => lead.is_some_and(|lead| lead.current().is_none()),
                Says::Accept(word) => {
                    let news = |(at, site): (Node, &Site)| {
                        let voted = Frame { says: Says::Voted(at, word.ver), ..*frame };
                        site.would_change(job, ballot, word)
                            || (wants(at, word.ver) && !kept.contains(&voted))
                    };
                    (0..).zip(sites.iter()).any(news)
                        || (asks && owner.awaits(job, ballot, word.ver))
                }
                Says::Voted(from, ver) | Says::Taken(from, ver) => wants(from, ver),
            }
        });
    }
}
