//! What a seed makes of a run: how many take part, what goes wrong and how often.

use crate::clock::{At, MS, SECOND};
use crate::dice::Dice;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) coordinators: usize,
    pub(crate) replicas: usize,
    /// Hosts attached over libp2p.
    pub(crate) attached: usize,
    /// Hosts of the original, over HTTP.
    pub(crate) daemons: usize,
    pub(crate) clients: usize,
    /// Jobs that each client submits.
    pub(crate) jobs: usize,
    /// How long things go wrong.
    pub(crate) chaos: At,
    /// Mean time between two faults.
    pub(crate) fault_gap: At,
    /// Messages lost and doubled, in a thousand.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Longest usual and unusual way of a message.
    pub(crate) way: At,
    pub(crate) long_way: At,
    /// Frames may arrive at a process that started after they were sent.
    pub(crate) stale: bool,
    /// Coordinators keep what they keep in the real store.
    pub(crate) store: bool,
    /// Longest usual commit.
    pub(crate) commit: At,
    /// Commits that fail, in ten thousand.
    pub(crate) failing: u64,
    /// Largest error of a clock's rate, in parts per million.
    pub(crate) ppm: u64,
    pub(crate) lease_ms: u64,
    pub(crate) p2p_lease_ms: u64,
    /// Longest run.
    pub(crate) run: At,
    /// Coordinators that stay dead after the last heal.
    pub(crate) dead: usize,
}

impl Scene {
    /// Short leases, long runs, a bad network: where answers come late.
    pub(crate) fn harsh(self) -> Self {
        Self {
            attached: 3,
            lost: 120,
            doubled: 100,
            way: 150 * MS,
            long_way: 12 * SECOND,
            fault_gap: 1500 * MS,
            p2p_lease_ms: 4000,
            run: 20 * SECOND,
            ..self
        }
    }

    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let store = dice.one_in(12);
        let coordinators = match dice.below(100) {
            0..55 => 3,
            55..80 => dice.within(4, 5),
            80..96 => dice.within(6, 10),
            96..99 => dice.within(11, 20),
            _ => dice.within(21, 50),
        };
        let coordinators = if store { coordinators.min(4) } else { coordinators };
        let replicas = match dice.below(10) {
            0 => 1,
            1..8 => 2,
            _ => 3,
        };
        let calm = dice.one_in(8);
        let most_dead = if coordinators > 4 { 2 } else { 1 };
        Self {
            coordinators: usize::try_from(coordinators).unwrap_or(3),
            replicas,
            attached: dice.index(4) + 1,
            daemons: dice.index(3),
            clients: dice.index(3) + 1,
            jobs: dice.index(4) + 2,
            chaos: dice.within(40, 120) * SECOND,
            fault_gap: if calm { 3600 * SECOND } else { dice.within(1500, 12_000) * MS },
            lost: if calm { 0 } else { [0, 5, 30, 120][dice.index(4)] },
            doubled: [0, 20, 100][dice.index(3)],
            way: [2, 20, 150][dice.index(3)] * MS,
            long_way: if calm { 0 } else { [500, 3000, 12_000][dice.index(3)] * MS },
            stale: dice.one_in(6),
            store,
            commit: [2, 10, 60][dice.index(3)] * MS,
            failing: [0, 0, 20, 100][dice.index(4)],
            ppm: [0, 1000, 10_000][dice.index(3)],
            lease_ms: [3000, 15_000][dice.index(2)],
            p2p_lease_ms: [4000, 10_000, 30_000][dice.index(3)],
            run: [2, 8, 20][dice.index(3)] * SECOND,
            dead: dice.index(most_dead + 1),
        }
    }
}
