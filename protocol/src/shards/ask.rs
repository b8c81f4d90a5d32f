//! Repair where not everybody keeps everything: two coordinators compare what both of them keep.
//!
//! ```text
//!   asker:    Kept, what it keeps        answerer: Kept, what it keeps
//!   asker:    About the shards in both, a question of repair     answerer: Told
//! ```
//!
//! Services and hosts are in no shard and are compared in each such session. Each question stands for itself, as in
//! [`repair`](crate::repair): the answerer looks at those of the named shards that it keeps by then.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HeldJob, Holding, ShardSet};
use crate::id::JobId;
use crate::repair::{MAX_RECORDS, Records, RepairAsk, RepairTell};

/// What a coordinator asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardAsk {
    /// I keep these; what do you keep?
    Kept(ShardSet),
    /// About these shards alone.
    About(ShardSet, Box<RepairAsk>),
    /// Do you hold these values of jobs, or later ones, and are to keep them? See [`Round`](super::Round).
    Hold(Vec<HeldJob>),
    /// How does this job stand?
    Job(JobId),
}

/// The answer to a [`ShardAsk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardTell {
    /// To `Kept`.
    Kept(ShardSet),
    /// To `About`.
    Told(Box<RepairTell>),
    /// To `Hold`: one for each.
    Held(Vec<Holding>),
    /// To `Job`: its record, if one is held.
    Job(Box<Records>),
}

impl ShardAsk {
    /// True if an honest node could have asked this.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self {
            Self::Kept(_) | Self::Job(_) => true,
            // Each is read for it, so none twice.
            Self::Hold(jobs) => {
                let different: BTreeSet<&JobId> = jobs.iter().map(|held| &held.job).collect();
                (1..=MAX_RECORDS).contains(&jobs.len()) && different.len() == jobs.len()
            }
            Self::About(_, ask) => ask.holds(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::repair::{Item, Range};

    #[test]
    fn questions_travel_and_are_held_to_the_bounds_of_repair() {
        let fetch = |items| ShardAsk::About(ShardSet::ALL, Box::new(RepairAsk::Fetch(items)));
        let copy = ShardAsk::About(ShardSet::NONE, Box::new(RepairAsk::Copy(Range::ALL)));
        let held = HeldJob { job: JobId::new("a").unwrap(), item: Item::FIRST, ver: 1 };
        for (ask, holds) in [
            (ShardAsk::Kept(ShardSet::ALL), true),
            (fetch(vec![Item::FIRST]), true),
            (fetch(vec![]), false),
            (copy, true),
            (ShardAsk::Hold(vec![]), false),
            (ShardAsk::Hold(vec![held.clone()]), true),
            (ShardAsk::Hold(vec![held.clone(), held]), false),
            (ShardAsk::Job(JobId::new("a").unwrap()), true),
        ] {
            let bytes = codec::encode(&ask);
            assert!(bytes.len() < 400);
            assert_eq!(codec::decode::<ShardAsk>(&bytes, 400).unwrap(), ask);
            assert_eq!(ask.holds(), holds);
        }
        let tell = ShardTell::Told(Box::new(RepairTell::Busy));
        assert_eq!(codec::decode::<ShardTell>(&codec::encode(&tell), 400).unwrap(), tell);
        // What is one of them is never taken for a question of plain repair.
        assert!(
            codec::decode::<RepairAsk>(&codec::encode(&fetch(vec![Item::FIRST])), 400).is_err()
        );
    }
}
