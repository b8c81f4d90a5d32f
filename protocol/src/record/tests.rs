//! What is taken as a record and what is not.

pub(crate) mod samples;

use samples::{certificate, host, network, result, signer, spec};

use super::{Proof, Raw, Record, Reject, Signed};
use crate::clock::{Hlc, Wall};
use crate::id::{Hash, HostId, NetworkId, NodeId};
use crate::limits::{
    MAX_AGENT_BYTES, MAX_ATTEMPTS, MAX_CAPABILITIES, MAX_CLOCK_DRIFT_MS, MAX_OUTPUT_BYTES,
    MAX_PARALLEL, MAX_TEXT_BYTES, MAX_TIMEOUT_MS,
};
use crate::record::host::HostDesc;
use crate::record::receipt::Receipt;
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, Spec, Subject};
use crate::register::{Ballot, Certificate};
use crate::verify::Told;
use crate::view::{Milli, OpenclawInstall};

const NOW: Wall = Wall(samples::AT.ms);

fn sealed<T: Record>(body: T) -> Raw {
    Signed::seal(&signer(), network(), body).raw().clone()
}

impl Raw {
    /// Alters one byte of its signature.
    pub(crate) fn spoil(&mut self, at: usize) {
        let mut signature = self.proof.signature();
        signature.0[at] ^= 1;
        self.proof = Proof::read(signature, self.proof.path().to_vec());
    }
}

#[test]
fn what_was_signed_is_taken_with_the_bytes_it_came_in() {
    fn check<T: Record + Clone + PartialEq + std::fmt::Debug>(body: &T) {
        let raw = sealed(body.clone());
        let signed = raw.clone().verify::<T>(network(), NOW).unwrap();
        assert_eq!(signed.raw(), &raw);
        assert_eq!((signed.hash(), signed.signer()), (Hash::of(&raw.body), signer().id()));
        assert_eq!(&signed.into_body(), body);
    }
    check(&spec());
    check(&result());
    check(&host());
    check(&certificate());
}

#[test]
fn no_byte_of_a_signed_record_can_be_changed() {
    let raw = sealed(spec());
    let refused = |raw: Raw| {
        assert!(raw.verify::<Spec>(network(), NOW).is_err());
    };
    for at in 0..raw.body.len() {
        let mut altered = raw.clone();
        altered.body[at] ^= 1 << (at % 8);
        refused(altered);
    }
    for at in 0..64 {
        let mut altered = raw.clone();
        altered.spoil(at);
        refused(altered);
    }
    let signer = NodeId([7; 32]);
    refused(Raw { signer, ..raw.clone() });
    let mut longer = raw.clone();
    longer.body.push(0);
    refused(longer);
    let elsewhere = NetworkId([1; 16]);
    assert!(matches!(raw.clone().verify::<Spec>(elsewhere, NOW), Err(Reject::BadSignature)));
    assert!(matches!(raw.verify::<HostDesc>(network(), NOW), Err(Reject::BadSignature)));
}

#[test]
fn a_stamp_ahead_of_the_clock_is_not_taken_yet() {
    let at = |ms| sealed(HostDesc { at: Hlc { ms, count: 0 }, ..host() });
    let edge = NOW.0 + MAX_CLOCK_DRIFT_MS;
    assert!(at(edge).verify::<HostDesc>(network(), NOW).is_ok());
    let ahead = at(edge + 1).verify::<HostDesc>(network(), NOW);
    assert!(
        matches!(ahead, Err(Reject::FromTheFuture { ahead_ms }) if ahead_ms == MAX_CLOCK_DRIFT_MS + 1)
    );
    assert!(at(u64::MAX).verify::<HostDesc>(network(), NOW).is_err());
}

#[test]
fn a_record_beyond_its_length_is_not_even_parsed() {
    let raw = Raw { body: vec![0; HostDesc::MAX_BYTES + 1], ..sealed(host()) };
    assert!(matches!(raw.verify::<HostDesc>(network(), NOW), Err(Reject::Invalid("too long"))));
}

#[track_caller]
fn invalid<T: Record>(body: T) {
    let reject = sealed(body).verify::<T>(network(), NOW).err();
    assert!(matches!(reject, Some(Reject::Invalid(_))), "{reject:?}");
}

#[test]
fn a_spec_holds_to_its_rules() {
    let (me, other) = (signer().id(), NodeId([9; 32]));
    let job = || spec().job.unwrap();
    let with = |job: JobSpec| invalid(Spec { job: Some(job), ..spec() });
    invalid(Spec { home: other, ..spec() });
    invalid(Spec { voters: vec![other], quorum: 1, ..spec() });
    invalid(Spec { voters: vec![], quorum: 0, ..spec() });
    invalid(Spec { voters: vec![me, me], quorum: 2, ..spec() });
    invalid(Spec { voters: vec![me, other], quorum: 1, ..spec() });
    invalid(Spec { voters: vec![me, other], quorum: 3, ..spec() });
    let nine = (10..18).map(|n| NodeId([n; 32])).chain([me]).collect();
    invalid(Spec { voters: nine, quorum: 5, ..spec() });
    invalid(Spec { expires_at: spec().created.wall(), ..spec() });
    invalid(Spec { job: None, ..spec() });
    let hash = crate::Hash([1; 32]);
    let mark = Some(crate::record::spec::Mark { scope: hash, fingerprint: hash });
    assert!(sealed(Spec { mark, ..spec() }).verify::<Spec>(network(), NOW).is_ok());
    let named = Subject::Service(crate::ServiceId::new("s").unwrap());
    invalid(Spec { subject: named, job: None, mark, ..spec() });
    let service = Subject::Service(crate::ServiceId::new("s").unwrap());
    invalid(Spec { subject: service.clone(), ..spec() });
    assert!(
        sealed(Spec { subject: service, job: None, ..spec() })
            .verify::<Spec>(network(), NOW)
            .is_ok()
    );
    for required in [
        vec!["b".to_owned(), "a".to_owned()],
        vec!["a".into(), "a".into()],
        vec![String::new()],
        vec!["x".repeat(300)],
        (0..=MAX_CAPABILITIES).map(|n| format!("{n:03}")).collect(),
    ] {
        with(JobSpec { required: required.clone(), ..job() });
        invalid(HostDesc { capabilities: required, ..host() });
    }
    with(JobSpec { submitted_by: Some("x".repeat(MAX_TEXT_BYTES + 1)), ..job() });
    with(JobSpec { max_attempts: Some(0), ..job() });
    with(JobSpec { max_attempts: Some(MAX_ATTEMPTS + 1), ..job() });
    with(JobSpec { timeout_ms: Some(MAX_TIMEOUT_MS + 1), ..job() });
    let verify = |copies, agree| Some(crate::verify::Verify { copies, agree });
    with(JobSpec { verify: verify(2, 0), ..job() });
    with(JobSpec { verify: verify(6, 2), ..job() });
    with(JobSpec { verify: verify(2, 2), once: true, ..job() });
    with(JobSpec { verify: verify(2, 2), retry: Some(1), ..job() });
}

#[test]
fn results_hosts_and_certificates_hold_to_theirs() {
    let long = || Some("x".repeat(MAX_OUTPUT_BYTES + 1));
    invalid(JobResult { stdout: long(), ..result() });
    invalid(JobResult { stderr: long(), ..result() });
    invalid(JobResult { error: Some("x".repeat(MAX_TEXT_BYTES + 1)), ..result() });
    invalid(JobResult { agent: Some("x".repeat(MAX_AGENT_BYTES + 1)), ..result() });
    let mut long = sealed(samples::receipt());
    long.body = vec![0; Receipt::MAX_BYTES + 1];
    invalid(JobResult { receipt: Some(Box::new(long.clone())), ..result() });
    invalid(JobResult { earlier: vec![long], ..result() });
    let five = vec![sealed(samples::receipt()); 5];
    invalid(JobResult { earlier: five, ..result() });
    invalid(HostDesc { name: "x".repeat(MAX_TEXT_BYTES + 1), ..host() });
    let trouble = Some("x".repeat(MAX_TEXT_BYTES + 1));
    let openclaw = Some(OpenclawInstall { trouble, ..OpenclawInstall::default() });
    invalid(HostDesc { openclaw, ..host() });
    invalid(HostDesc { max_parallel: Milli(MAX_PARALLEL * 1000 + 1), ..host() });
    let ballot = Ballot { round: 0, proposer: NodeId([9; 32]) };
    invalid(Certificate { ballot, ..certificate() });
    let mut twice = certificate();
    if let crate::register::State::Job(state) = &mut twice.val.state {
        let key = samples::told().node;
        let other = HostId::new("other").unwrap();
        state.told = vec![samples::told(), Told { host: other, node: key, ..samples::told() }];
    }
    invalid(twice);
    let mut late = certificate();
    late.val.ver = u64::MAX;
    invalid(late);
}

#[test]
fn the_newer_of_two_host_records_is_the_later_one() {
    let later = HostDesc { at: Hlc { count: 9, ..host().at }, ..host() };
    let (low, high) = (NodeId([1; 32]), NodeId([2; 32]));
    assert!(later.rank(low) > host().rank(high));
    assert!(host().rank(high) > host().rank(low));
}
