//! The protocol's own [`Voter`], [`Proposer`] and [`Lease`] under a model checker: every order of
//! events within the bounds, not a sample of them as in the seeded tests beside the code.
//!
//! [`register`]: one job's register. Frames are a set that only grows, so they are lost, repeated,
//! delayed and reordered in every way. Coordinators fall and come back with what was on disk; the
//! home's round 0 leaves before its own disk has it (F1b); voters take over at any moment.
//! [`timed`]: the lease in discrete time, against hosts that count for themselves, with clocks that
//! differ. There a voter is asked and answers in one step; frames are the other model's subject.
//!
//! Runs are complete within their bounds (V voters, Q of them a quorum; seconds of one idle CPU,
//! unoptimised):
//!
//! | run                                                        | states    | steps | seconds |
//! |------------------------------------------------------------|-----------|-------|---------|
//! | V=2 Q=2, 2 takeovers, 1 crash, 1 cancel, 2 attempts        | 233 164   | 39    | 4       |
//! | V=3 Q=2, 1 takeover, 1 crash, 1 attempt                    | 90 911    | 28    | 5       |
//! | V=3 Q=2, 1 takeover, 1 cancel, 2 attempts                  | 25 908    | 30    | 2       |
//! | V=3 Q=2, 2 takeovers, 1 attempt                            | 155 552   | 27    | 9       |
//! | ignored: V=2, as above with 2 crashes                      | 3 080 708 | 44    | 54      |
//! | ignored: V=3, 1 takeover, 1 crash, 1 cancel, 2 attempts    | 876 646   | 36    | 62      |
//! | timed: V=3, lease 2, 8 ticks, 1 takeover                   | 51 198    | 29    | 1       |
//! | timed: V=3, lease 2, 5 ticks, 1 takeover, 1 restart        | 206 569   | 28    | 3       |
//! | timed: V=2, lease 2, 8 ticks, 1 takeover, 1 restart        | 9 725     | 24    | 0.1     |
//! | ignored, timed: V=3, lease 3, 9 ticks, 1 takeover, restart | 750 935   | 32    | 11      |
//!
//! Cut: more takeovers, crashes, attempts, hosts and voters than these, and for V=3 two takeovers
//! together with a crash. States are told apart by 64 bits, so "all" carries that much doubt.
//! Reductions stand where they are made; `register::prune` is checked against no pruning at all.
//!
//! Not here: that a job ends at all (I4), services (the same code), the content of votes, expiry,
//! idempotency, a change of voters, lying nodes, more than one job, and what [`Machine`] makes of
//! these types: its own tests are for that. A job's time limit does not end its lease here.
//!
//! [`Voter`]: skyclaw_protocol::register::Voter
//! [`Proposer`]: skyclaw_protocol::register::Proposer
//! [`Lease`]: skyclaw_protocol::lease::Lease
//! [`Machine`]: skyclaw_protocol::machine::Machine

mod keyed;
mod register;
mod timed;
mod verdict;
mod word;
