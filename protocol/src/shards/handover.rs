//! Handing over: a node asks those with whom a shard is placed whether they hold what it holds of it and is not to keep.
//!
//! ```text
//!   asker:    Hold [job, item]...    answerer: Held [same | later | lacks | not mine]...
//! ```
//!
//! What is lacking there is offered, what is later there fetched, in the messages of [`repair`](crate::repair); the next round
//! sees whether it arrived. Always: a round is about one placement, and a job counts as handed over only once
//! each of the coordinators it is placed with said, in this round, that it holds this value or a later one on its disk and
//! is to keep it. Each question stands for itself; a round may be dropped at any point.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Duties, Shard, ShardAsk};
use crate::id::{JobId, NodeId};
use crate::repair::Item;

/// A job at a value that is known to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldJob {
    /// Which job.
    pub job: JobId,
    /// What stands for it.
    pub item: Item,
    /// The version of the value. Of one register there is one chosen value of each version, under whichever ballot.
    pub ver: u64,
}

/// What a coordinator holds of a job that it was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holding {
    /// This value.
    Same,
    /// A later one.
    Later(Item),
    /// None, or an earlier one.
    Lacks,
    /// As it sees it, it is not to keep the job: what it holds may go at any time.
    Astray,
}

impl Holding {
    /// What to say to somebody who holds `asked`, where this node holds `held` of that job, as item and version.
    #[must_use]
    pub fn of(duties: &Duties, asked: &HeldJob, held: Option<(Item, u64)>) -> Self {
        match held {
            _ if !duties.duty().holds(Shard::of(&asked.job)) => Self::Astray,
            Some((_, ver)) if ver == asked.ver => Self::Same,
            Some((held, ver)) if ver > asked.ver => Self::Later(held),
            _ => Self::Lacks,
        }
    }
}

/// What to move after an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ToMove {
    /// To be offered.
    pub lacking: Vec<Item>,
    /// To be fetched, with the jobs they are of.
    pub later: Vec<(JobId, Item)>,
}

/// One round about some jobs, no more than fit one question.
#[derive(Debug)]
pub struct Round {
    duties: Arc<Duties>,
    jobs: Vec<HeldJob>,
    /// Of each how many hold it.
    held: Vec<usize>,
}

impl Round {
    /// About these, which are not placed with this node.
    #[must_use]
    pub fn new(duties: Arc<Duties>, jobs: Vec<HeldJob>) -> Self {
        let held = vec![0; jobs.len()];
        Self { duties, jobs, held }
    }

    /// Whom to ask about which of them.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<NodeId, Vec<usize>> {
        let mut asked: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (n, held) in self.jobs.iter().enumerate() {
            for node in self.duties.replicas(Shard::of(&held.job)) {
                asked.entry(node).or_default().push(n);
            }
        }
        asked
    }

    /// The question about these.
    #[must_use]
    pub fn question(&self, about: &[usize]) -> ShardAsk {
        ShardAsk::Hold(about.iter().map(|n| self.jobs[*n].clone()).collect())
    }

    /// The answer to it; `None` if it does not fit.
    pub fn hear(&mut self, about: &[usize], told: &[Holding]) -> Option<ToMove> {
        if about.len() != told.len() {
            return None;
        }
        let mut moved = ToMove::default();
        for (n, holding) in about.iter().zip(told) {
            let HeldJob { job, item, .. } = &self.jobs[*n];
            match holding {
                Holding::Same => self.held[*n] += 1,
                Holding::Later(later) => {
                    self.held[*n] += 1;
                    moved.later.push((job.clone(), *later));
                }
                Holding::Lacks => moved.lacking.push(*item),
                Holding::Astray => {}
            }
        }
        Some(moved)
    }

    /// Each job of the round, and whether all hold it with whom it is placed.
    pub fn done(self) -> impl Iterator<Item = (HeldJob, bool)> {
        let Self { duties, jobs, held } = self;
        jobs.into_iter().zip(held).map(move |(job, held)| {
            let copies = duties.replicas(Shard::of(&job.job)).count();
            (job, copies > 0 && held == copies)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Placement;
    use super::*;

    const AT: Item = Item { at: 5, id: [1; 16] };

    fn held(job: &JobId) -> HeldJob {
        HeldJob { job: job.clone(), item: AT, ver: 3 }
    }

    fn duties(me: u8) -> Arc<Duties> {
        let members = (0..9).map(|n| NodeId([n; 32]));
        let mut duties = Duties::new(NodeId([me; 32]));
        duties.place(Some(Arc::new(Placement::new(members, 5))));
        Arc::new(duties)
    }

    fn job(of: &Duties, kept: bool) -> JobId {
        let ids = (0..).map(|n| JobId::new(format!("job-{n}")).unwrap());
        ids.into_iter().find(|id| of.duty().holds(Shard::of(id)) == kept).unwrap()
    }

    #[test]
    fn a_job_is_handed_over_once_each_of_its_replicas_holds_it() {
        let duties = duties(0);
        let job = job(&duties, false);
        let mut round = Round::new(Arc::clone(&duties), vec![held(&job)]);
        let asked = round.asked();
        assert_eq!(asked.len(), 5);
        let later = Item { at: 9, ..AT };
        for (n, about) in asked.values().enumerate() {
            let holding = if n == 2 { Holding::Later(later) } else { Holding::Same };
            let moved = round.hear(about, &[holding]).unwrap();
            assert_eq!(moved.later, if n == 2 { vec![(job.clone(), later)] } else { vec![] });
        }
        assert_eq!(round.done().collect::<Vec<_>>(), [(held(&job), true)]);
    }

    #[test]
    fn one_that_lacks_it_or_is_not_to_keep_it_or_is_silent_holds_it_back() {
        let duties = duties(0);
        let job = job(&duties, false);
        for last in [Some(Holding::Lacks), Some(Holding::Astray), None] {
            let mut round = Round::new(Arc::clone(&duties), vec![held(&job)]);
            for (n, about) in round.asked().values().enumerate() {
                let holding = if n == 4 { last } else { Some(Holding::Same) };
                let Some(holding) = holding else { continue };
                let lacks = holding == Holding::Lacks;
                assert_eq!(
                    round.hear(about, &[holding]).unwrap().lacking.len(),
                    usize::from(lacks)
                );
                assert_eq!(round.hear(about, &[]), None, "an answer that does not fit");
            }
            assert!(round.done().all(|(_, done)| !done), "{last:?}");
        }
    }

    #[test]
    fn what_is_said_goes_by_the_value_and_by_who_is_to_keep_it() {
        let duties = duties(0);
        let (mine, other) = (job(&duties, true), job(&duties, false));
        let say = |job: &JobId, at: Option<(Item, u64)>| Holding::of(&duties, &held(job), at);
        assert_eq!(say(&mine, Some((AT, 3))), Holding::Same);
        assert_eq!(say(&mine, None), Holding::Lacks);
        assert_eq!(say(&mine, Some((AT, 2))), Holding::Lacks);
        let other_item = Item { id: [2; 16], ..AT };
        // Whoever takes a register over writes its value anew, as it was stamped.
        assert_eq!(say(&mine, Some((other_item, 4))), Holding::Later(other_item));
        assert_eq!(say(&mine, Some((other_item, 3))), Holding::Same);
        assert_eq!(say(&other, Some((AT, 3))), Holding::Astray);
        let full = Duties::new(NodeId([0; 32]));
        assert_eq!(Holding::of(&full, &held(&other), Some((AT, 3))), Holding::Same);
    }
}
