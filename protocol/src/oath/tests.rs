//! Votes are proven one by one, and honest voters never contradict themselves.

use super::*;
use crate::clock::Hlc;
use crate::register::{JobState, Phase, State, Voter};
use crate::{JobId, record::spec::Subject};

fn key(n: u8) -> RegisterKey {
    let job = JobId::new(format!("job_{n}")).unwrap();
    RegisterKey { subject: Subject::Job(job), spec: Hash([n; 32]) }
}

fn ballot(round: u32, node: u8) -> Ballot {
    Ballot { round, proposer: NodeId([node; 32]) }
}

fn val(ver: u64, phase: Phase) -> Val {
    let state = State::Job(JobState { phase, ..JobState::new() });
    Val { ver, at: Hlc::default(), by: "n".into(), display_version: ver, state }
}

fn accepted(round: u32, ver: u64, phase: Phase) -> Said {
    Said::Accepted(Point::of(ballot(round, 1), &val(ver, phase)))
}

#[test]
fn each_vote_of_a_frame_is_proven_alone_by_one_signature() {
    let network = NetworkId::of_name("a");
    let node = NodeKey::from_seed(&[1; 32]);
    for count in [1, 2, 3, 5, 8, 13, 256] {
        let all: Vec<(RegisterKey, Said)> = (0..count)
            .map(|n: u64| (key((n % 250) as u8), accepted(0, n, Phase::Queued)))
            .collect();
        let oaths = swear(&node, network, all.iter().map(|(key, said)| (key, said)));
        assert_eq!(oaths.len(), all.len());
        for (n, ((key, said), oath)) in all.iter().zip(&oaths).enumerate() {
            assert!(oath.holds(node.id(), network, key, said), "{n} of {count}");
            assert!(oath.path.len() <= MAX_OATH_PATH);
            assert_eq!(oath.signature, oaths[0].signature);
            let other = accepted(1, n as u64, Phase::Queued);
            assert!(!oath.holds(node.id(), network, key, &other));
            assert!(!oath.holds(NodeId([9; 32]), network, key, said));
            assert!(!oath.holds(node.id(), NetworkId::of_name("b"), key, said));
            let next = &all[(n + 1) % all.len()];
            assert!(count == 1 || !oath.holds(node.id(), network, &next.0, &next.1));
        }
    }
    assert!(swear(&node, network, std::iter::empty()).is_empty());
}

#[test]
fn a_node_of_the_tree_is_no_vote_and_a_long_way_is_none() {
    let network = NetworkId::of_name("a");
    let node = NodeKey::from_seed(&[1; 32]);
    let (key, said) = (key(1), accepted(0, 0, Phase::Queued));
    let mut oath = swear(&node, network, [(&key, &said), (&key, &said)]).remove(0);
    let root = oath.root(&key, &said).unwrap();
    let shorter = Sworn { path: Vec::new(), signature: oath.signature };
    assert_ne!(shorter.root(&key, &said), Some(root));
    assert!(!shorter.holds(node.id(), network, &key, &said));
    oath.path = vec![oath.path[0]; MAX_OATH_PATH + 1];
    assert_eq!(oath.root(&key, &said), None);
}

/// Everything that a voter says in any order of proposals and promises that it may be sent, compared
/// pair by pair.
#[test]
fn whatever_an_honest_voter_is_asked_it_never_contradicts_itself() {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    let mut said_in_all = 0;
    for seed in 0..400 {
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        let mut draw = |below: u32| chance.next_u32() % below;
        let mut voter = Voter::EMPTY;
        let mut said = Vec::new();
        for _ in 0..40 {
            let at = ballot(draw(4), draw(3) as u8);
            if draw(3) == 0 {
                if let Ok(held) = voter.prepare(at) {
                    said.push(Said::promised(at, held));
                }
            } else {
                // Under one ballot an owner may lie too.
                let phases = [Phase::Queued, Phase::Leased, Phase::Cancelled];
                let val = val(u64::from(draw(4)), phases[draw(3) as usize]);
                if voter.accept(at, &val).is_ok() {
                    said.push(Said::Accepted(Point::of(at, &val)));
                }
            }
        }
        for one in &said {
            for other in &said {
                assert!(!one.contradicts(other), "seed {seed}: {one:?} {other:?}");
            }
        }
        said_in_all += said.len();
    }
    assert!(said_in_all > 2000, "{said_in_all}");
}

#[test]
fn a_voter_that_forgets_hides_or_rewrites_contradicts_itself() {
    let vote = accepted(1, 3, Phase::Leased);
    let promised = |round, accepted: Option<Said>| Said::Promised {
        ballot: ballot(round, 2),
        accepted: accepted.and_then(|said| said.point()),
    };
    let lies = [
        promised(2, None),
        promised(2, Some(accepted(1, 2, Phase::Queued))),
        promised(2, Some(accepted(0, 9, Phase::Queued))),
        promised(2, Some(accepted(1, 3, Phase::Queued))),
        accepted(1, 3, Phase::Queued),
    ];
    for lie in lies {
        assert!(vote.contradicts(&lie) && lie.contradicts(&vote), "{lie:?}");
    }
    let honest = [
        promised(2, Some(vote)),
        promised(2, Some(accepted(1, 4, Phase::Queued))),
        promised(0, None),
        promised(0, Some(accepted(0, 2, Phase::Queued))),
        accepted(1, 4, Phase::Queued),
        accepted(0, 3, Phase::Queued),
        vote,
    ];
    for said in honest {
        assert!(!vote.contradicts(&said) && !said.contradicts(&vote), "{said:?}");
    }
    // A later promise forgets what an earlier one told.
    assert!(promised(2, Some(vote)).contradicts(&promised(3, None)));
    assert!(!promised(3, Some(vote)).contradicts(&promised(2, Some(vote))));
}
