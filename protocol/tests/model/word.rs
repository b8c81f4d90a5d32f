//! Values and nodes as a checker wants them: small, ordered and hashable.
//!
//! Always: a word and the [`Val`] it stands for turn into each other without loss, so two words
//! are equal exactly if the values that the protocol compares are.

use std::sync::{LazyLock, OnceLock};

use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::register::{Accepted, Ballot, JobState, Phase, State, Val};
use skyclaw_protocol::{HostId, NodeId};

/// A coordinator by its place among the voters. The home is 0.
pub(crate) type Node = u8;

/// A host. 0 and 1 are interchangeable until one is named.
pub(crate) type Host = u8;

/// Their ids, made once: every state names them.
static HOSTS: LazyLock<[Option<HostId>; 2]> =
    LazyLock::new(|| ["h0", "h1"].map(|name| HostId::new(name).ok()));

/// And the values, each when it is first asked for.
static VALS: [OnceLock<Val>; MOST] = [const { OnceLock::new() }; MOST];
const MOST: usize = MOST_VERSIONS * PHASES * MOST_ATTEMPTS * 3;

/// More than any run gets to.
const MOST_VERSIONS: usize = 64;
const MOST_ATTEMPTS: usize = 8;
const PHASES: usize = Phase::Expired as usize + 1;

/// The home of the one job.
pub(crate) const HOME: Node = 0;

/// What differs between the values of one job here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word {
    pub(crate) ver: u8,
    pub(crate) phase: Phase,
    pub(crate) attempt: u8,
    pub(crate) host: Option<Host>,
}

impl Word {
    /// A job that was just taken.
    pub(crate) const FIRST: Self = Self { ver: 0, phase: Phase::Queued, attempt: 0, host: None };

    /// The next value, in another phase.
    pub(crate) const fn then(self, phase: Phase) -> Self {
        Self { ver: self.ver + 1, phase, ..self }
    }

    /// The next value: a host gets the next attempt.
    pub(crate) const fn granted(self, host: Host) -> Self {
        Self {
            ver: self.ver + 1,
            phase: Phase::Leased,
            attempt: self.attempt + 1,
            host: Some(host),
        }
    }

    /// The bit of the result that a success of this attempt names.
    pub(crate) const fn result(self) -> u8 {
        1 << self.attempt
    }

    /// What a user sees of an end.
    pub(crate) fn outcome(self) -> Option<(Phase, u8, Option<Host>)> {
        self.phase.is_terminal().then_some((self.phase, self.attempt, self.host))
    }

    /// The value that the protocol's own code works on.
    pub(crate) fn val(self) -> &'static Val {
        let host = self.host.map_or(0, |host| usize::from(host) + 1);
        let parts =
            [(self.phase as usize, PHASES), (self.attempt.into(), MOST_ATTEMPTS), (host, 3)];
        let place = parts.into_iter().fold(usize::from(self.ver), |at, (n, of)| {
            assert!(n < of, "two words would be one: {self:?}");
            at * of + n
        });
        VALS[place].get_or_init(|| self.make())
    }

    fn make(self) -> Val {
        let host = self.host.and_then(|host| HOSTS[usize::from(host)].clone());
        Val {
            ver: self.ver.into(),
            at: Hlc::default(),
            by: String::new(),
            display_version: 0,
            state: State::Job(JobState {
                phase: self.phase,
                attempt: self.attempt.into(),
                host,
                lease_expires: Wall(0),
                ..JobState::new()
            }),
        }
    }

    /// Back from the protocol's value.
    pub(crate) fn of(val: &Val) -> Self {
        let job = val.job();
        let small = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        Self {
            ver: small(val.ver),
            phase: job.map_or(Phase::Queued, |job| job.phase),
            attempt: small(job.map_or(0, |job| job.attempt.into())),
            host: job.and_then(|job| job.host.as_ref()).map(|host| u8::from(host.as_str() != "h0")),
        }
    }

    /// The same with the hosts' names exchanged.
    pub(crate) fn exchanged(self) -> Self {
        Self { host: self.host.map(|host| 1 - host), ..self }
    }

    const fn key(self) -> (u8, u8, u8, Option<Host>) {
        (self.ver, self.phase as u8, self.attempt, self.host)
    }
}

impl Ord for Word {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Word {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a voter accepted, in short.
pub(crate) fn short(accepted: Option<&Accepted>) -> Option<(Ballot, Word)> {
    accepted.map(|held| (held.ballot, Word::of(&held.val)))
}

/// And at length.
pub(crate) fn long(short: Option<(Ballot, Word)>) -> Option<Accepted> {
    short.map(|(ballot, word)| Accepted { ballot, val: word.val().clone() })
}

/// The id of a coordinator.
pub(crate) const fn id(node: Node) -> NodeId {
    NodeId([node + 1; 32])
}

/// The coordinator of an id.
pub(crate) const fn node(id: NodeId) -> Node {
    id.0[0] - 1
}

/// The round that needs no prepare.
pub(crate) const fn first_ballot() -> Ballot {
    Ballot { round: 0, proposer: id(HOME) }
}

#[test]
fn words_and_values_turn_into_each_other() {
    let mut word = Word::FIRST;
    for next in [word.granted(1), word.granted(0).then(Phase::Succeeded), word.then(Phase::Aborted)]
    {
        word = next;
        assert_eq!(Word::of(word.val()), word);
    }
}
