//! The protocol's own [`Voter`], [`Proposer`] and [`Lease`] under a model checker: every order of
//! events within the bounds, not a sample of them as in the seeded tests beside the code.
//!
//! [`register`]: one job's register. Frames are a set that only grows, so they are lost, repeated,
//! delayed and reordered in every way. Coordinators fall and come back with what was on disk; the
//! home's round 0 leaves before its own disk has it (F1b); voters take over at any moment, and
//! delete the job by a wrong clock. From every state on, every quorum ends what was taken (I4).
//! [`keyed`]: two jobs of one key at two homes, of which one may be taken.
//! [`timed`]: the lease in discrete time, against hosts that count for themselves, with clocks that
//! differ. There a voter is asked and answers in one step; frames are the other models' subject.
//!
//! Runs are complete within their bounds (V voters, Q of them a quorum; T takeovers, C crashes,
//! X cancels, A attempts, D deletions). What takes longer is ignored by default; seconds are of
//! one busy CPU, optimised for what is ignored, unoptimised for the rest:
//!
//! | run                                            | states    | steps | seconds |
//! |------------------------------------------------|-----------|-------|---------|
//! | V=1 Q=1, C=3 X=1 A=2, I4                       | 1 500     | 15    | 0.1     |
//! | V=2 Q=2, T=2 C=1 X=1 A=2                       | 232 881   | 39    | 7       |
//! | V=2 Q=2, T=2 C=1 X=1 A=1, I4                   | 46 045    | 31    | 2       |
//! | V=3 Q=2, T=1 C=1 A=1                           | 98 646    | 28    | 10      |
//! | V=3 Q=2, T=1 X=1 A=2                           | 27 014    | 30    | 3       |
//! | V=3 Q=2, T=2 X=1                               | 41 034    | 19    | 4       |
//! | V=3 Q=2, T=1 A=1 D=2                           | 20 151    | 24    | 2       |
//! | V=3 Q=2, T=1 A=1, I4                           | 4 247     | 22    | 1       |
//! | V=4 Q=3, T=1 A=1                               | 20 718    | 34    | 4       |
//! | keyed: V=2 Q=2, T=1                            | 1 459     | 15    | 0.1     |
//! | keyed: V=3 Q=2                                 | 6 696     | 17    | 0.5     |
//! | keyed: V=3 Q=2, T=1 by the third voter         | 103 542   | 22    | 12      |
//! | timed: V=3, lease 2, 8 ticks, T=1              | 51 198    | 29    | 1       |
//! | timed: V=3, lease 2, 5 ticks, T=1 C=1          | 207 631   | 28    | 4       |
//! | timed: V=2, lease 2, 8 ticks, T=1 C=1          | 11 111    | 26    | 0.2     |
//! | ignored: V=2 Q=2, T=2 C=2 X=1 A=2              | 3 080 028 | 44    | 40      |
//! | ignored: V=2 Q=2, T=2 C=1 X=1 A=2, I4          | 232 881   | 39    | 4       |
//! | ignored: V=3 Q=2, T=1 C=1 X=1 A=2              | 1 011 148 | 37    | 26      |
//! | ignored: V=3 Q=2, T=2 A=1, also with I4        | 162 817   | 27    | 21      |
//! | ignored: V=3 Q=2, T=2 C=1 A=1                  | 4 918 052 | 33    | 163     |
//! | ignored: V=3 Q=2, T=1 C=1 A=1, I4              | 98 646    | 28    | 5       |
//! | ignored: V=3 Q=2, T=2 A=1 D=2                  | 944 754   | 30    | 14      |
//! | ignored: V=3 Q=2, T=1 C=1 A=1 D=1              | 432 153   | 30    | 8       |
//! | ignored: V=4 Q=3, T=1 A=1, I4                  | 20 718    | 34    | 3       |
//! | ignored: V=4 Q=3, T=1 C=1 A=1                  | 641 566   | 44    | 22      |
//! | ignored: V=5 Q=3, T=1 A=1                      | 149 031   | 37    | 8       |
//! | ignored: keyed: V=3 Q=2, T=1                   | 386 614   | 24    | 8       |
//! | ignored: timed: V=3, lease 2, 8 ticks, T=2     | 358 063   | 31    | 2       |
//! | ignored: timed: V=3, lease 3, 9 ticks, T=1 C=1 | 766 969   | 32    | 5       |
//!
//! Not waited for to the end: V=3 with T=2 C=1 X=1, V=4 with T=1 C=1 X=1 A=2 and V=5 with T=1 C=1,
//! of which the shortest ways are looked at (`register::larger`). More than these is cut.
//!
//! Voters that can never lead are alike; what tells them apart is left out of a state.
//! States are told apart by 64 bits, so "all" carries that much doubt.
//! Reductions stand where they are made; `register::prune` is checked against no pruning at all.
//!
//! Not here: jobs that expire, services (the same code), a change of voters, lying nodes, more than
//! two jobs, and what [`Machine`] makes of these types: its own tests are for that. A job's time
//! limit does not end its lease here.
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
