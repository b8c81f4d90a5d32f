//! Jobs that wait for a host, oldest first per requirement. Derived from the registers.
//!
//! Those that have run on some host, and wait for a further one to verify them, stand apart: nearly
//! all that a claim looks at there may have run on its very host, which must not hold up the others.
//!
//! Always: a job is here only if its register's chosen value is `Queued` and this node leads it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::clock::Hlc;
use crate::id::JobId;
use crate::limits::MAX_REQUIREMENT_SETS;
use crate::placement::meets;
use crate::record::work::WorkClass;

/// The queue of one coordinator.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    classes: Classes,
    again: Classes,
    len: usize,
}

type Classes = BTreeMap<Vec<String>, BTreeSet<(Hlc, JobId)>>;

impl Queue {
    /// True if a job with this requirement can be told apart from the others. Looking for a job
    /// visits each distinct requirement once, so their number is bounded.
    #[must_use]
    pub fn has_room_for(&self, required: &[String]) -> bool {
        let sets = self.classes.len() + self.again.len();
        sets < MAX_REQUIREMENT_SETS || self.holds(required)
    }

    /// Adds a job; again is no change. `again`: it waits for a further host.
    pub fn insert(&mut self, required: &[String], created: Hlc, job: JobId, again: bool) {
        let classes = if again { &mut self.again } else { &mut self.classes };
        let class = match classes.get_mut(required) {
            Some(class) => class,
            None => classes.entry(required.to_vec()).or_default(),
        };
        self.len += usize::from(class.insert((created, job)));
    }

    /// Removes a job if it is here.
    pub fn remove(&mut self, required: &[String], created: Hlc, job: &JobId) {
        for classes in [&mut self.classes, &mut self.again] {
            let Some(class) = classes.get_mut(required) else { continue };
            self.len -= usize::from(class.remove(&(created, job.clone())));
            if class.is_empty() {
                classes.remove(required);
            }
        }
    }

    /// The oldest job, of those that follow `after`, that a host with these capabilities may run, with the moment it was
    /// made. Older jobs it may not run do not stand in its way.
    #[must_use]
    pub fn next_for(
        &self,
        capabilities: &[String],
        after: Option<&(Hlc, JobId)>,
    ) -> Option<&(Hlc, JobId)> {
        self.classes
            .iter()
            .filter(|(required, _)| meets(capabilities, required))
            .filter_map(|(_, class)| match after {
                None => class.first(),
                Some(after) => class.range((Bound::Excluded(after), Bound::Unbounded)).next(),
            })
            .min()
    }

    /// Jobs that wait for a further host and that one of these capabilities may run, oldest first per
    /// requirement.
    pub fn again_for<'a>(
        &'a self,
        capabilities: &[String],
    ) -> impl Iterator<Item = &'a BTreeSet<(Hlc, JobId)>> {
        let again = self.again.iter();
        again.filter(move |(required, _)| meets(capabilities, required)).map(|(_, class)| class)
    }

    /// True if a job with exactly this requirement waits.
    #[must_use]
    pub fn holds(&self, required: &[String]) -> bool {
        self.classes.contains_key(required) || self.again.contains_key(required)
    }

    /// The oldest job with exactly this requirement.
    #[must_use]
    pub fn first_of(&self, required: &[String]) -> Option<&(Hlc, JobId)> {
        let both = [&self.classes, &self.again].into_iter();
        both.filter_map(|classes| classes.get(required)?.first()).min()
    }

    /// How many jobs wait by requirement, at most `most` of them, those with the oldest jobs first.
    #[must_use]
    pub fn heads(&self, most: usize) -> Vec<WorkClass> {
        let mut heads: BTreeMap<&Vec<String>, (&(Hlc, JobId), usize)> = BTreeMap::new();
        for (required, jobs) in self.classes.iter().chain(&self.again) {
            let Some(first) = jobs.first() else { continue };
            let (oldest, count) = heads.entry(required).or_insert((first, 0));
            *oldest = first.min(*oldest);
            *count += jobs.len();
        }
        let mut heads: Vec<_> =
            heads.into_iter().map(|(required, head)| (head, required)).collect();
        heads.sort_unstable();
        let class = |((_, count), required): ((_, usize), &Vec<String>)| WorkClass {
            required: required.clone(),
            queued: u32::try_from(count).unwrap_or(u32::MAX),
        };
        heads.into_iter().take(most).map(class).collect()
    }

    /// When the job that waits longest was made. A look at the head of each requirement.
    #[must_use]
    pub fn oldest(&self) -> Option<Hlc> {
        let heads = self.classes.values().chain(self.again.values());
        heads.filter_map(BTreeSet::first).map(|(created, _)| *created).min()
    }

    #[cfg(test)]
    pub(crate) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.classes.values().chain(self.again.values()).flatten().map(|(_, job)| job.clone())
    }

    /// Jobs waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &mut Queue, at: u64, required: &str, job: &str) {
        queue.insert(&list(required), Hlc { ms: at, count: 0 }, JobId::new(job).unwrap(), false);
    }

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_oldest_matching_job_comes_first_whatever_its_requirement() {
        let mut queue = Queue::default();
        put(&mut queue, 3, "", "any");
        put(&mut queue, 1, "gpu", "picky");
        put(&mut queue, 2, "shell", "plain");
        let oldest = |queue: &Queue, have: &str| {
            queue.next_for(&list(have), None).map(|(_, job)| job.to_string())
        };
        assert_eq!(oldest(&queue, "shell"), Some("plain".into()));
        assert_eq!(oldest(&queue, "gpu shell"), Some("picky".into()));
        assert_eq!(oldest(&queue, ""), Some("any".into()));
        assert_eq!(queue.oldest(), Some(Hlc { ms: 1, count: 0 }));
        queue.remove(&[], Hlc { ms: 3, count: 0 }, &JobId::new("any").unwrap());
        assert_eq!(oldest(&queue, ""), None);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_waits_for_a_further_host_stands_apart_and_is_announced_with_the_rest() {
        let mut queue = Queue::default();
        put(&mut queue, 2, "shell", "new");
        let (at, verified) = (Hlc { ms: 1, count: 0 }, JobId::new("verified").unwrap());
        queue.insert(&list("shell"), at, verified.clone(), true);
        assert_eq!(queue.next_for(&list("shell"), None).unwrap().1.as_str(), "new");
        let again = |queue: &Queue, have: &str| -> Vec<JobId> {
            queue.again_for(&list(have)).flatten().map(|(_, job)| job.clone()).collect()
        };
        assert_eq!(again(&queue, "shell"), std::slice::from_ref(&verified));
        assert!(again(&queue, "gpu").is_empty());
        assert_eq!(queue.heads(9), [WorkClass { required: list("shell"), queued: 2 }]);
        queue.remove(&list("shell"), at, &verified);
        assert_eq!((queue.len(), again(&queue, "shell")), (1, Vec::new()));
    }

    #[test]
    fn the_number_of_distinct_requirements_is_bounded() {
        let mut queue = Queue::default();
        for n in 0..MAX_REQUIREMENT_SETS {
            put(&mut queue, 1, &format!("c{n:05}"), &format!("j{n}"));
        }
        assert!(!queue.has_room_for(&list("new")));
        assert!(queue.has_room_for(&list("c00007")));
    }
}
