//! What is known of the life of other coordinators: when they were heard, whom they reach, which
//! of their runs is the last.
//!
//! Always: memory only, and nothing here decides what is chosen; it decides who tries.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::{Mono, Wall};
use crate::id::NodeId;
use crate::limits::{ALIVE_MS, MAX_CLOCK_DRIFT_MS, MAX_LIST_PAUSE_MS, MAX_PULSES, ODD_BEATS};
use crate::wire::{Beat, BeatMark, Past};

/// Beats under way whose moment of sending is kept.
const SENT: usize = 8;

/// Earlier runs of a node that are remembered.
const RUNS: usize = 4;

/// Beats of an earlier run after those of a later one that show two processes: a few may have been
/// under way when the earlier one ended.
const TWICE: u8 = 3;

/// Before the first beat.
const NONE: BeatMark = BeatMark { run: 0, seq: 0, written: 0 };

/// One other coordinator.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When a frame of it came last, or it was first looked for.
    pub(super) heard: Mono,
    /// When another coordinator said last that it answers there.
    vouched: Option<Mono>,
    /// When it was found that nobody listens where it did.
    pub(super) refused: Option<Mono>,
    /// When it was last looked for.
    pub(super) probed: Option<Mono>,
    /// Added to its time before a takeover, in milliseconds.
    pub(super) jitter_ms: u64,
    /// When its last beat came, and who answered it by then.
    beat: Option<(Mono, Vec<NodeId>)>,
    /// How far its clock is ahead, in milliseconds, by its last beat.
    ahead_ms: Option<i64>,
    /// Since when that is further than records may be.
    far: Option<Mono>,
    /// When the last beat that it answered was sent.
    acked: Option<Mono>,
    sent: VecDeque<(u64, Mono)>,
    /// The last beat of its last run, and of earlier ones.
    last: BeatMark,
    earlier: VecDeque<BeatMark>,
    strays: u8,
    /// The beat that said most.
    most: BeatMark,
    /// Beats in a row with which its count differed.
    odd: u8,
    list_pause_ms: u64,
    list_after: Mono,
}

impl Pulse {
    pub(super) const fn new(now: Mono, jitter_ms: u64) -> Self {
        Self {
            heard: now,
            vouched: None,
            refused: None,
            probed: None,
            jitter_ms,
            beat: None,
            ahead_ms: None,
            far: None,
            acked: None,
            sent: VecDeque::new(),
            last: NONE,
            earlier: VecDeque::new(),
            strays: 0,
            most: NONE,
            odd: 0,
            list_pause_ms: 1000,
            list_after: now,
        }
    }

    /// Something came from it.
    pub(super) const fn hear(&mut self, now: Mono) {
        self.heard = now;
        self.refused = None;
    }

    /// A beat was sent to it.
    pub(super) fn send(&mut self, now: Mono, seq: u64) {
        if self.sent.len() == SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now));
    }

    /// Its beat came. Returns what is known of its past.
    pub(super) fn take(&mut self, now: Mono, wall: Wall, beat: Beat) -> Past {
        let mark = BeatMark::from(&beat);
        if self.last.run != mark.run {
            if let Some(known) = self.earlier.iter_mut().find(|known| known.run == mark.run) {
                *known = mark;
                self.strays = self.strays.saturating_add(1);
                return self.past(mark);
            }
            if self.beat.is_some() {
                if self.earlier.len() == RUNS {
                    self.earlier.pop_front();
                }
                self.earlier.push_back(self.last);
            }
        }
        self.last = mark;
        let past = self.past(mark);
        if mark.written >= self.most.written {
            self.most = mark;
        }
        self.beat = Some((now, beat.alive));
        let ahead = i128::from(beat.wall.0) - i128::from(wall.0);
        self.ahead_ms = i64::try_from(ahead).ok();
        let far = ahead.unsigned_abs() > u128::from(MAX_CLOCK_DRIFT_MS);
        self.far = far.then(|| self.far.unwrap_or(now));
        past
    }

    /// What is known that speaks against this beat.
    fn past(&self, beat: BeatMark) -> Past {
        let twice = self.strays >= TWICE;
        let runs = self.earlier.iter().chain([&self.last]);
        let others = runs.filter(|mark| twice && mark.run != beat.run);
        let later = [&self.most].into_iter().filter(|mark| mark.written > beat.written);
        let proof = others.chain(later).max_by_key(|mark| mark.written).copied();
        Past { written: self.most.written, twice, proof }
    }

    /// It answered this beat.
    pub(super) fn ack(&mut self, seq: u64) {
        while let Some((sent, at)) = self.sent.front().copied()
            && sent <= seq
        {
            self.sent.pop_front();
            if sent == seq {
                self.acked = self.acked.max(Some(at));
            }
        }
    }

    /// Another coordinator says that it answers there.
    pub(super) const fn vouch(&mut self, now: Mono) {
        self.vouched = Some(now);
    }

    /// When it was last heard, here or by another coordinator.
    pub(super) fn last_sign(&self) -> Mono {
        self.vouched.map_or(self.heard, |vouched| vouched.max(self.heard))
    }

    /// True if it was sent a beat a moment ago, or answered one.
    pub(super) fn is_asked(&self, now: Mono) -> bool {
        let sent = self.sent.back().map(|(_, at)| *at);
        sent.max(self.acked).is_some_and(|at| now <= at.plus_ms(ALIVE_MS))
    }

    /// True if it answered a beat sent a moment ago.
    pub(super) fn answers(&self, now: Mono) -> bool {
        self.acked.is_some_and(|at| now <= at.plus_ms(ALIVE_MS))
    }

    /// Whom it reaches, if it lives.
    pub(super) fn reaches(&self, now: Mono) -> Option<&[NodeId]> {
        let fresh = |at: &Mono| now < at.plus_ms(ALIVE_MS) && self.refused.is_none();
        self.beat.as_ref().filter(|(at, _)| fresh(at)).map(|(_, alive)| alive.as_slice())
    }

    /// Since when its clock is so far from this node's that what either says is refused.
    pub(super) const fn far(&self) -> Option<Mono> {
        self.far
    }

    /// Its count of what this node leads came. True if it is to be asked for a list.
    pub(super) fn agrees(&mut self, now: Mono, agrees: bool) -> bool {
        if agrees {
            (self.odd, self.list_pause_ms) = (0, 1000);
            return false;
        }
        self.odd = self.odd.saturating_add(1);
        if self.odd < ODD_BEATS || now < self.list_after {
            return false;
        }
        self.list_pause_ms = (self.list_pause_ms * 2).min(MAX_LIST_PAUSE_MS);
        self.list_after = now.plus_ms(self.list_pause_ms);
        true
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pulses(BTreeMap<NodeId, Pulse>);

impl Pulses {
    pub(super) fn get(&self, node: &NodeId) -> Option<&Pulse> {
        self.0.get(node)
    }

    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Pulse> {
        self.0.get_mut(node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.0.keys()
    }

    /// The pulse of a node that matters; `None` if there is no room for another one.
    pub(super) fn watch(&mut self, node: NodeId, now: Mono, jitter_ms: u64) -> Option<&mut Pulse> {
        if self.0.len() >= MAX_PULSES && !self.0.contains_key(&node) {
            return None;
        }
        Some(self.0.entry(node).or_insert_with(|| Pulse::new(now, jitter_ms)))
    }

    /// Makes room where there is none: forgets those that do not matter any more. As long as there
    /// is, the past of those that are away is remembered.
    pub(super) fn make_room(&mut self, matters: impl Fn(&NodeId) -> bool) {
        if self.0.len() >= MAX_PULSES {
            self.0.retain(|node, _| matters(node));
        }
    }

    /// Nobody was listened to for a while: silence counts from now.
    pub(super) fn hear_anew(&mut self, now: Mono) {
        for pulse in self.0.values_mut() {
            pulse.heard = now;
        }
    }

    /// Who answered a beat a moment ago.
    pub(super) fn alive(&self, now: Mono) -> impl Iterator<Item = NodeId> {
        self.0.iter().filter(move |(_, pulse)| pulse.answers(now)).map(|(node, _)| *node)
    }

    /// How far this node's clock is behind (or, negative, ahead of) that of most others that live,
    /// in milliseconds; `None` while it agrees with half of them.
    pub(super) fn clock_off(&self, now: Mono) -> Option<i64> {
        let live = self.0.values().filter(|pulse| pulse.reaches(now).is_some());
        let mut ahead: Vec<i64> = live.filter_map(|pulse| pulse.ahead_ms).collect();
        ahead.sort_unstable();
        let far = |ms: &i64| ms.unsigned_abs() > MAX_CLOCK_DRIFT_MS;
        if ahead.iter().filter(|ms| far(ms)).count() * 2 <= ahead.len() {
            return None;
        }
        ahead.get(ahead.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn beat(run: u64, seq: u64, written: u64) -> Beat {
        Beat { run, seq, alive: Vec::new(), wall: Wall(1000), written }
    }

    #[test]
    fn an_answer_counts_from_the_moment_its_beat_was_sent() {
        let mut pulse = Pulse::new(at(0), 0);
        pulse.send(at(100), 1);
        pulse.send(at(1100), 2);
        assert!(!pulse.answers(at(1200)));
        pulse.ack(1);
        assert!(pulse.answers(at(100 + ALIVE_MS)) && !pulse.answers(at(101 + ALIVE_MS)));
        pulse.ack(1);
        pulse.ack(9);
        assert!(!pulse.answers(at(1100 + ALIVE_MS)), "what was never sent is no answer");
    }

    #[test]
    fn a_beat_is_a_sign_of_life_for_a_while_and_none_once_its_process_is_gone() {
        let mut pulse = Pulse::new(at(0), 0);
        assert!(pulse.reaches(at(0)).is_none());
        pulse.take(at(10), Wall(0), beat(1, 1, 0));
        assert!(pulse.reaches(at(9 + ALIVE_MS)).is_some());
        assert!(pulse.reaches(at(10 + ALIVE_MS)).is_none());
        pulse.refused = Some(at(20));
        assert!(pulse.reaches(at(30)).is_none());
        pulse.hear(at(40));
        assert!(pulse.reaches(at(50)).is_some());
    }

    #[test]
    fn two_processes_of_one_identity_show_and_a_restart_does_not() {
        let mut pulse = Pulse::new(at(0), 0);
        for run in 1..9 {
            assert!(!pulse.take(at(run), Wall(0), beat(run, 1, 0)).twice);
        }
        // Two beats of the run before were under way.
        for _ in 0..2 {
            assert!(!pulse.take(at(10), Wall(0), beat(7, 2, 0)).twice);
        }
        assert!(pulse.take(at(11), Wall(0), beat(7, 4, 0)).twice);
    }

    #[test]
    fn the_highest_mark_is_remembered_over_a_restart_of_its_node() {
        let mut pulse = Pulse::new(at(0), 0);
        assert_eq!(pulse.take(at(0), Wall(0), beat(1, 1, 70)).written, 0);
        assert_eq!(pulse.take(at(1), Wall(0), beat(1, 2, 60)).written, 70);
        assert_eq!(pulse.take(at(2), Wall(0), beat(2, 1, 30)).written, 70);
    }

    #[test]
    fn a_list_is_asked_for_after_some_odd_beats_and_ever_more_seldom() {
        let mut pulse = Pulse::new(at(0), 0);
        let asked: Vec<u64> = (1..=200).filter(|n| pulse.agrees(at(n * 1000), false)).collect();
        assert_eq!(asked, [3, 5, 9, 17, 33, 65, 129, 193]);
        assert!(!pulse.agrees(at(201_000), true));
        assert!(!pulse.agrees(at(400_000), false), "it begins anew");
    }

    #[test]
    fn a_clock_is_off_by_what_most_others_say() {
        let mut pulses = Pulses::default();
        for (n, wall) in [(1, 900_000), (2, 1_000_000), (3, 1_010_000)] {
            let pulse = pulses.watch(NodeId([n; 32]), at(0), 0).unwrap();
            let said = Beat { wall: Wall(wall), ..beat(1, 1, 0) };
            pulse.take(at(0), Wall(400_000), said);
        }
        assert_eq!(pulses.clock_off(at(1)), Some(600_000));
        assert_eq!(pulses.clock_off(at(1 + ALIVE_MS)), None, "nobody lives");
        let mut one_of_two = Pulses::default();
        for (n, wall) in [(1, 400_000), (2, 1_000_000)] {
            let pulse = one_of_two.watch(NodeId([n; 32]), at(0), 0).unwrap();
            pulse.take(at(0), Wall(400_000), Beat { wall: Wall(wall), ..beat(1, 1, 0) });
        }
        assert_eq!(one_of_two.clock_off(at(1)), None);
    }
}
