//! A node is convicted by its own signatures, and by nothing that somebody else could have made.

use super::*;
use crate::clock::Hlc;
use crate::id::{Hash, JobId, ServiceId};
use crate::key::NodeKey;
use crate::oath::{Point, swear};
use crate::record::tests::samples::{certificate, network};
use crate::record::{self, Signed};
use crate::register::Ballot;

fn liar() -> NodeKey {
    NodeKey::from_seed(&[7; 32])
}

fn key() -> RegisterKey {
    RegisterKey { subject: Subject::Job(JobId::new("job_1").unwrap()), spec: Hash([3; 32]) }
}

fn said(round: u32, accepted: Option<u64>) -> Said {
    let ballot = |round| Ballot { round, proposer: NodeId([1; 32]) };
    let point = |ver| Point { ballot: ballot(0), ver, val: Hash([ver as u8; 32]) };
    match (round, accepted) {
        (0, Some(ver)) => Said::Accepted(point(ver)),
        (round, accepted) => {
            Said::Promised { ballot: ballot(round), accepted: accepted.map(point) }
        }
    }
}

fn oath(by: &NodeKey, key: &RegisterKey, said: Said) -> Oath {
    let sworn = swear(by, network(), [(key, &said)]).remove(0);
    Oath { said, sworn }
}

fn by_voter(key: RegisterKey, one: Oath, other: Oath) -> Offence {
    Offence {
        node: liar().id(),
        proof: Proof::Voter { key, one: Box::new(one), other: Box::new(other) },
    }
}

#[test]
fn a_voter_is_convicted_by_its_own_oaths_alone() {
    let (vote, lie) = (said(0, Some(4)), said(1, Some(2)));
    let sworn = |said| oath(&liar(), &key(), said);
    let offence = by_voter(key(), sworn(vote), sworn(lie));
    assert!(offence.holds(network()));
    assert!(by_voter(key(), sworn(lie), sworn(vote)).holds(network()));
    assert!(!offence.holds(crate::NetworkId::of_name("another")));

    let honest = by_voter(key(), sworn(vote), sworn(said(1, Some(4))));
    assert!(!honest.holds(network()), "nothing contradicts");
    let stranger = NodeKey::from_seed(&[8; 32]);
    let framed = by_voter(key(), sworn(vote), oath(&stranger, &key(), lie));
    assert!(!framed.holds(network()), "one of them is another node's");
    let named = Offence { node: stranger.id(), ..offence.clone() };
    assert!(!named.holds(network()), "they are another node's");
    let elsewhere = RegisterKey { spec: Hash([4; 32]), ..key() };
    assert!(!by_voter(elsewhere, sworn(vote), sworn(lie)).holds(network()));
    let service = RegisterKey {
        subject: Subject::Service(ServiceId::new("svc").unwrap()),
        spec: Hash([3; 32]),
    };
    let sworn = |said| oath(&liar(), &service, said);
    assert!(!by_voter(service.clone(), sworn(vote), sworn(lie)).holds(network()));
}

#[test]
fn an_owner_is_convicted_by_two_certificates_of_one_version() {
    let ballot = Ballot { round: 2, proposer: liar().id() };
    let seal = |by: &NodeKey, body: Certificate| Signed::seal(by, network(), body).raw().clone();
    let one = Certificate { ballot, ..certificate() };
    let mut other = one.clone();
    other.val.at = Hlc { ms: other.val.at.ms + 1, count: 0 };
    let by_owner = |one: &Certificate, other: &Certificate| Offence {
        node: liar().id(),
        proof: Proof::Owner {
            one: seal(&liar(), one.clone()),
            other: seal(&liar(), other.clone()),
        },
    };
    assert!(by_owner(&one, &other).holds(network()));
    assert!(!by_owner(&one, &one).holds(network()), "it may say it twice");
    let more =
        Certificate { voters: [&one.voters[..], &[NodeId([5; 32])]].concat(), ..one.clone() };
    assert!(!by_owner(&one, &more).holds(network()), "and count votes that came later");
    let mut next = other.clone();
    next.val.ver += 1;
    assert!(!by_owner(&one, &next).holds(network()));
    let ballot = Ballot { round: 3, ..ballot };
    assert!(!by_owner(&one, &Certificate { ballot, ..other.clone() }).holds(network()));
    let mut forged = by_owner(&one, &other);
    if let Proof::Owner { other, .. } = &mut forged.proof {
        let stranger = NodeKey::from_seed(&[8; 32]);
        other.proof = record::Proof::alone(stranger.sign(network(), "certificate", &other.body));
    }
    assert!(!forged.holds(network()));
}
