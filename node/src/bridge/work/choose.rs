//! What to ask which original for. Pure.
//!
//! Always: only for what some host here can run now with a slot that nothing else waits for, so
//! that no claim is made in vain as far as can be known (F38); and all of it at one original, the
//! one that most hosts ask, since two may give the same job away at the same time (F01).

use std::collections::BTreeMap;
use std::time::Instant;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostView, JobId};

use crate::bridge::limits::{CLAIMS_AT_ONCE, FRESH_MS, VAIN};
use crate::bridge::roster::Live;

/// A host here with room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Free {
    /// Sorted, unique.
    pub(in crate::bridge) capabilities: Vec<String>,
    /// Further jobs that it takes.
    pub(in crate::bridge) slots: usize,
}

/// A job that waits at originals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Waiting {
    pub(in crate::bridge) id: JobId,
    pub(in crate::bridge) created: Wall,
    /// Sorted, unique.
    pub(in crate::bridge) required: Vec<String>,
}

/// Claims to be made as a host with these capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Claims {
    pub(in crate::bridge) capabilities: Vec<String>,
    /// At most so many.
    pub(in crate::bridge) count: usize,
    /// The latest job it is about.
    pub(in crate::bridge) newest: (Wall, JobId),
}

fn can_run(capabilities: &[String], required: &[String]) -> bool {
    required.iter().all(|one| capabilities.binary_search(one).is_ok())
}

/// Takes a slot of the host that can do the least else.
fn take<'a>(free: &'a mut [Free], required: &[String]) -> Option<&'a Free> {
    let fit =
        free.iter_mut().filter(|host| host.slots > 0 && can_run(&host.capabilities, required));
    let host = fit.min_by_key(|host| host.capabilities.len())?;
    host.slots -= 1;
    Some(host)
}

/// What to claim of `waiting` (the oldest first), given that `ahead` are what jobs require that were
/// taken over already and wait here.
pub(in crate::bridge) fn claims(
    waiting: &[Waiting],
    mut free: Vec<Free>,
    ahead: &[Vec<String>],
) -> Vec<Claims> {
    for required in ahead {
        take(&mut free, required);
    }
    let mut claims: Vec<Claims> = Vec::new();
    let mut left = CLAIMS_AT_ONCE;
    for job in waiting {
        if left == 0 || free.iter().all(|host| host.slots == 0) {
            break;
        }
        let Some(host) = take(&mut free, &job.required) else { continue };
        left -= 1;
        let newest = (job.created, job.id.clone());
        match claims.iter_mut().find(|one| one.capabilities == host.capabilities) {
            Some(one) => {
                one.count += 1;
                one.newest = newest.max(one.newest.clone());
            }
            None => {
                let capabilities = host.capabilities.clone();
                claims.push(Claims { capabilities, count: 1, newest });
            }
        }
    }
    claims
}

/// The original that most hosts ask, by its name; else the first. `hosts` are those that originals
/// know, `mine` is how the ids of this network's own claimants begin.
pub(in crate::bridge) fn asked_most<'a>(
    live: &'a [Live],
    hosts: &[HostView],
    mine: &str,
) -> Option<&'a Live> {
    let theirs = || hosts.iter().filter(|host| !host.id.as_str().starts_with(mine));
    let last = theirs().map(|host| host.last_seen.0).max().unwrap_or_default();
    let fresh = |host: &&HostView| host.last_seen.0.saturating_add(FRESH_MS) >= last;
    let asking = |node: &str| theirs().filter(fresh).filter(|h| h.updated_by == node).count();
    // Of equal ones the first.
    live.iter().rev().max_by_key(|one| asking(&one.node))
}

/// Where claims found nothing, by the capabilities under which they were made.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Vain(BTreeMap<Vec<String>, InVain>);

#[derive(Debug)]
struct InVain {
    /// The latest job it was about, and when that was; none if the last claim found one.
    since: Option<((Wall, JobId), Instant)>,
    /// How many originals to pass over: another one may have what the first one does not show.
    turn: usize,
}

/// Sets of capabilities remembered; hosts here have few.
const MOST_SETS: usize = 256;

impl Vain {
    /// Whether to claim, and how many originals to pass over.
    pub(in crate::bridge) fn turn(&mut self, claims: &Claims, now: Instant) -> Option<usize> {
        let Some(past) = self.0.get_mut(&claims.capabilities) else { return Some(0) };
        match &past.since {
            Some((newest, at)) if claims.newest <= *newest => {
                if now.saturating_duration_since(*at) < VAIN {
                    return None;
                }
                past.turn = past.turn.wrapping_add(1);
                past.since = None;
                Some(past.turn)
            }
            _ => Some(past.turn),
        }
    }

    /// A claim found nothing.
    pub(in crate::bridge) fn in_vain(&mut self, claims: &Claims, now: Instant) {
        if self.0.len() >= MOST_SETS && !self.0.contains_key(&claims.capabilities) {
            self.0.clear();
        }
        let past = self.0.entry(claims.capabilities.clone());
        let past = past.or_insert(InVain { since: None, turn: 0 });
        past.since = Some((claims.newest.clone(), now));
    }
}
