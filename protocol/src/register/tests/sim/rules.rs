//! What must hold of the values that were ever on disk.

use std::collections::{BTreeMap, BTreeSet};

use super::Sim;
use crate::register::{Phase, Val};

impl Sim {
    fn chosen(&self) -> impl Iterator<Item = &Val> {
        let enough = |(_, by): &&(Val, BTreeSet<usize>)| by.len() >= self.quorum;
        self.accepted.values().filter(enough).map(|(val, _)| val)
    }

    pub(in crate::register::tests) fn has_ended(&self) -> bool {
        self.chosen().any(Val::is_terminal)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.accepted.keys().any(|(_, ver)| *ver == u64::MAX) {
            return Err("two values for one ballot and version".into());
        }
        // In the order of (ballot, version), by what tells values apart.
        let mut end: Option<&Val> = None;
        let mut grants = BTreeMap::new();
        for val in self.chosen() {
            let Some(job) = val.job() else { continue };
            if job.phase == Phase::Leased
                && *grants.entry(job.attempt).or_insert(&job.host) != &job.host
            {
                return Err(format!("attempt {} was granted twice", job.attempt));
            }
            match end {
                Some(end) if end.display_version != val.display_version => {
                    return Err(format!("{:?} follows the end {:?}", val.state, end.state));
                }
                _ if val.is_terminal() => end = Some(val),
                _ => {}
            }
        }
        Ok(())
    }
}
