//! Two jobs of one key: two homes were asked at once, and their registers exclude each other.
//! Rows, proposers and the question whether a key is needed are the protocol's own; what
//! a refusal leads to is written down here as the machine does it.
//!
//! Left out: crashes and what is not on disk yet, which the other model is about. Here whatever is
//! answered was written.

mod scene;
mod site;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::register::Phase;
use stateright::{Model, Property};

use crate::verdict::{breaks, holds};
use crate::word::{Node, Word, id, node};
use scene::{Frame, Scene};
use site::Job;

/// How many of what, and which rule is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    voters: Node,
    quorum: usize,
    takeovers: u8,
    /// Who takes over, the voters from here on, and of which jobs, those below.
    takers: Node,
    jobs: Job,
    broken: Broken,
}

/// What must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// A voter votes for whatever comes.
    LocksNothing,
    /// Who takes over writes what it found, whatever its own voter holds the key for.
    AdoptsUnlocked,
    /// A voter lets go of the key when it hears that the job was taken.
    LetsGo,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    ToVoter(Node, Frame),
    ToOwner(Frame),
    /// A first value missed its quorum: 503.
    GiveUp(Job),
    TakeOver(Node, Job),
    /// Somebody says what was chosen.
    Learn(Node, Job, Phase),
}

impl Keys {
    fn ids(&self) -> Vec<NodeId> {
        (0..self.voters).map(id).collect()
    }
}

impl Model for Keys {
    type State = Scene;
    type Action = Action;

    fn init_states(&self) -> Vec<Scene> {
        vec![Scene::new(self)]
    }

    fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        for frame in scene.net.iter() {
            let owner = node(frame.ballot.proposer);
            if frame.is_question() {
                let others = (0..self.voters).filter(|at| *at != owner);
                actions.extend(others.map(|at| Action::ToVoter(at, *frame)));
            } else {
                actions.push(Action::ToOwner(*frame));
            }
        }
        for job in [0, 1] {
            let lead = scene.sites[usize::from(job)].lead(job);
            let first = lead.and_then(|lead| lead.current()).map(Word::of) == Some(Word::FIRST);
            if first && lead.is_some_and(|lead| lead.chosen().is_none()) {
                actions.push(Action::GiveUp(job));
            }
            for (site, at) in scene.sites.iter().zip(0..) {
                // Also one that refused the first value: it has heard of the job.
                let may = site.lead(job).is_none() && at >= self.takers && job < self.jobs;
                if may && scene.takeovers < self.takeovers {
                    actions.push(Action::TakeOver(at, job));
                }
                if site.known[usize::from(job)].is_none() {
                    if scene.lives(job) {
                        actions.push(Action::Learn(at, job, Phase::Queued));
                    }
                    if scene.is_aborted(job) {
                        actions.push(Action::Learn(at, job, Phase::Aborted));
                    }
                }
            }
        }
    }

    fn next_state(&self, before: &Scene, action: Action) -> Option<Scene> {
        let mut scene = before.clone();
        scene.step(self, action).then(|| {
            scene.prune();
            scene
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(ONE, |_: &Self, scene: &Scene| !(scene.lives(0) && scene.lives(1))),
            Property::always("what was taken is not given up", |_, scene: &Scene| {
                [0, 1].into_iter().all(|job| !(scene.lives(job) && scene.is_aborted(job)))
            }),
            Property::sometimes("the first", |_, scene: &Scene| scene.lives(0)),
            Property::sometimes("the second", |_, scene: &Scene| scene.lives(1)),
            Property::sometimes("one gives way to the other", |_, scene: &Scene| {
                scene.lives(0) && scene.is_aborted(1) && !scene.gave_up
            }),
            Property::sometimes("neither", |_, scene: &Scene| {
                scene.is_aborted(0) && scene.is_aborted(1)
            }),
        ];
        if self.takeovers > 0 {
            all.push(Property::sometimes("taken by who took over", |_, scene: &Scene| {
                scene.sites.iter().zip(0..).any(|(site, at)| {
                    let chosen = |job| site.lead(job).and_then(|lead| lead.chosen());
                    [0, 1]
                        .into_iter()
                        .any(|job| at != job && chosen(job).is_some_and(|val| !val.is_terminal()))
                })
            }));
        }
        all
    }
}

/// The property.
const ONE: &str = "at most one job of a key is taken";

const THREE: Keys =
    Keys { voters: 3, quorum: 2, takeovers: 0, takers: 0, jobs: 2, broken: Broken::Nothing };

#[test]
fn one_job_of_a_key_is_taken_by_two_voters() {
    holds(Keys { voters: 2, takeovers: 1, ..THREE }, 1_400);
}

#[test]
fn one_job_of_a_key_is_taken_by_three_voters() {
    holds(THREE, 6_600);
}

#[test]
fn one_job_of_a_key_is_taken_over_a_takeover() {
    holds(Keys { takeovers: 1, takers: 2, jobs: 1, ..THREE }, 103_000);
}

#[test]
#[ignore = "minutes of CPU: cargo test --release -p skyclaw-protocol --test model -- --ignored"]
fn one_job_of_a_key_is_taken_over_any_takeover() {
    holds(Keys { takeovers: 1, ..THREE }, 386_000);
}

#[test]
fn voters_that_hold_no_key_are_noticed_rule_19() {
    breaks(Keys { broken: Broken::LocksNothing, ..THREE }, ONE);
}

#[test]
fn who_adopts_against_its_own_key_is_noticed_rule_19() {
    breaks(Keys { takeovers: 1, takers: 2, broken: Broken::AdoptsUnlocked, ..THREE }, ONE);
}

#[test]
fn a_key_that_is_let_go_when_its_job_was_taken_is_noticed_rule_19() {
    breaks(Keys { broken: Broken::LetsGo, ..THREE }, ONE);
}
