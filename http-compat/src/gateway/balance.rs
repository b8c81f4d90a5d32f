//! Which endpoint gets a request: in turn, but of the next two the one that is clearly less loaded.

use super::health::{Health, Standing};

/// Latencies below this do not tell endpoints apart: between fast answers a factor of two is noise.
const NOISE_US: u64 = 20_000;

/// Chooses among `endpoints`, of which `passed` are out of question. Those that are well or due
/// for a trial are candidates; if there is none, all are. `turn` counts up with each choice.
pub(super) fn choose<'a>(
    endpoints: impl Iterator<Item = &'a Health> + Clone,
    passed: &[usize],
    turn: usize,
    now: u64,
    cooldown: u64,
) -> Option<usize> {
    let standing = |health: &Health| health.standing(now, cooldown);
    let open = endpoints.enumerate().filter(|(at, _)| !passed.contains(at));
    let well = open.clone().filter(|(_, health)| standing(health) != Standing::Ejected);
    let chosen = two(well, turn, now).map(|(at, health)| {
        let lost = standing(health) == Standing::Trial && !health.begin_trial(now, cooldown);
        (at, lost)
    });
    match chosen {
        Some((at, false)) => Some(at),
        // Another request took the trial a moment ago.
        Some((at, true)) => open
            .clone()
            .find(|(other, health)| *other != at && standing(health) == Standing::Well)
            .map_or(Some(at), |(other, _)| Some(other)),
        None => two(open, turn, now).map(|(at, _)| at),
    }
}

fn two<'a>(
    candidates: impl Iterator<Item = (usize, &'a Health)> + Clone,
    turn: usize,
    now: u64,
) -> Option<(usize, &'a Health)> {
    let count = candidates.clone().count();
    let first = turn.checked_rem(count)?;
    let mut from = candidates.clone().skip(first);
    let a = from.next()?;
    if count == 1 {
        return Some(a);
    }
    let b = from.next().or_else(|| candidates.clone().next())?;
    Some(if is_clearly_less(b.1, a.1, now) { b } else { a })
}

/// Whether `a` has less than half of what `b` has to do, or is twice as fast. One request more or
/// less is chance.
fn is_clearly_less(a: &Health, b: &Health, now: u64) -> bool {
    let (load_a, load_b) = (u64::from(a.in_flight()), u64::from(b.in_flight()));
    if load_b > 2 * load_a && load_b > load_a + 1 {
        return true;
    }
    if load_a > 2 * load_b && load_a > load_b + 1 {
        return false;
    }
    b.latency(now) > a.latency(now).saturating_mul(2).saturating_add(NOISE_US)
}
