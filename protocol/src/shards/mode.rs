//! Whether everybody keeps everything, by how much there is and how many share it.
//!
//! Always: there and back are two different sizes, so that a network at the bound does not begin to move
//! its records to and fro. Whoever has just started does not know at which of the two the others are, and goes by the
//! smaller one: alone with everything it would be told of a part and take it for all there is.

/// Beyond one of these, shards are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records that are live in the whole network.
    pub records: u64,
    /// Coordinators.
    pub coordinators: usize,
}

impl Limits {
    /// What holds where nothing else is said. A coordinator keeps some 2 KiB of memory for a live job, so 200,000 are below half a GiB, and below the
    /// bound at which it would refuse more (`MAX_LIVE_JOBS`). Of fifty coordinators each is sent every record six
    /// times by gossip and compares with all others in turn; a copy on each is more than anybody loses.
    pub const USUAL: Self = Self { records: 200_000, coordinators: 50 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}

/// What a coordinator is told of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From which size on they are placed.
    pub limits: Limits,
    /// How long one that went away still counts, in milliseconds.
    pub away_ms: u64,
}

impl Settings {
    /// What holds where nothing else is said. An update or a restart takes a minute; of a machine that is away for ten nobody knows when it comes back, and
    /// what it keeps has copies elsewhere until then.
    pub const USUAL: Self = Self { limits: Limits::USUAL, away_ms: 600_000 };
}

impl Default for Settings {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Who keeps what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody keeps everything.
    #[default]
    Full,
    /// A shard is kept by those it is placed with.
    Placed,
}

/// The decision, with what it was before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switch {
    limits: Limits,
    mode: Mode,
    /// What was decided here is what the others decided.
    is_settled: bool,
}

impl Switch {
    /// Everybody keeps everything until it is looked at; with the smaller size until it is [settled](Self::settle).
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, mode: Mode::Full, is_settled: false }
    }

    /// This node has been here for as long as the others need to agree.
    pub const fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Decides anew: with so many live records in the network, as far as is known, and so many coordinators, this one
    /// included.
    pub const fn look(&mut self, records: u64, coordinators: usize) -> Mode {
        let Limits { records: most, coordinators: many } = self.limits;
        // A quarter fewer records, a fifth fewer coordinators: more than come and go by chance, or by an update of one
        // after the other.
        let is_small = records < most - most / 4 && coordinators <= many - many.div_ceil(5);
        let is_large = records >= most || coordinators > many;
        self.mode = match self.mode {
            _ if is_large => Mode::Placed,
            _ if is_small => Mode::Full,
            Mode::Full if !self.is_settled => Mode::Placed,
            same => same,
        };
        self.mode
    }

    /// Live records in the whole network, where `here` of them lie in `shards` shards.
    #[must_use]
    pub fn estimate(here: u64, shards: usize) -> u64 {
        match shards {
            0 => 0,
            shards => here.saturating_mul(super::SHARDS as u64) / shards as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(limits: Limits) -> Switch {
        let mut switch = Switch::new(limits);
        switch.settle();
        switch
    }

    #[test]
    fn who_has_just_started_goes_by_the_smaller_size() {
        for (records, coordinators) in [(0, 41), (0, 50), (150_000, 3), (199_999, 3)] {
            let mut new = Switch::new(Limits::default());
            assert_eq!(new.look(0, 1), Mode::Full, "alone");
            assert_eq!(new.look(records, coordinators), Mode::Placed);
            new.settle();
            assert_eq!(new.look(records, coordinators), Mode::Placed);
            assert_eq!(settled(Limits::default()).look(records, coordinators), Mode::Full);
        }
        assert_eq!(Switch::new(Limits::default()).look(149_999, 40), Mode::Full);
    }

    #[test]
    fn there_and_back_are_two_sizes() {
        let mut switch = settled(Limits::default());
        assert_eq!(switch.look(199_999, 50), Mode::Full);
        assert_eq!(switch.look(0, 51), Mode::Placed);
        for coordinators in [50, 45, 41] {
            assert_eq!(switch.look(0, coordinators), Mode::Placed, "{coordinators}");
        }
        assert_eq!(switch.look(0, 40), Mode::Full);
        assert_eq!(switch.look(0, 50), Mode::Full);
        assert_eq!(switch.look(200_000, 3), Mode::Placed);
        assert_eq!(switch.look(150_000, 3), Mode::Placed);
        assert_eq!(switch.look(149_999, 3), Mode::Full);
    }

    #[test]
    fn small_limits_have_two_sizes_as_well() {
        let mut switch = settled(Limits { records: u64::MAX, coordinators: 5 });
        assert_eq!(switch.look(0, 6), Mode::Placed);
        assert_eq!(switch.look(0, 5), Mode::Placed);
        assert_eq!(switch.look(0, 4), Mode::Full);
        let mut always = Switch::new(Limits { records: 0, coordinators: 0 });
        assert_eq!(always.look(0, 1), Mode::Placed);
        assert_eq!(always.look(0, 1), Mode::Placed);
    }

    #[test]
    fn a_part_stands_for_the_whole() {
        assert_eq!(Switch::estimate(200, 1024), 200);
        assert_eq!(Switch::estimate(200, 512), 400);
        assert_eq!(Switch::estimate(200, 0), 0);
        assert_eq!(Switch::estimate(u64::MAX, 1), u64::MAX);
    }
}
