//! Every type that travels or is stored: its bytes are frozen, and no other bytes are taken.

use std::panic::catch_unwind;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AcceptOp, AskOp, Beat, Beaten, ConfirmOp, ConfirmedOp, Known, ListedOp, Message, Past,
    PreVerdict, PreVoteOp, PreVotedOp, PrepareOp, PresentOp, PromiseOp, PromiseVerdict, Sought,
    Tally, TellOp, Verdict, VoteOp,
};
use crate::attach::{Grant, HostAsk, HostTell, Nonce, Run};
use crate::batch::{JobAt, KeyAnswer, KeyRow};
use crate::clock::Wall;
use crate::codec::{decode, encode};
use crate::command::{Command, Completion, Idempotency, JobRequest, Refusal};
use crate::fold::service_state_view;
use crate::id::{Hash, PrincipalId};
use crate::principal::{Principal, Quotas, Scope};
use crate::record::control::{Content, Control};
use crate::record::host::HostDesc;
use crate::record::receipt::Receipt;
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, Mark, Spec};
use crate::record::tests::samples::{
    AT, ballot, certificate, host, host_id, job, key, network, receipt, result, service,
    service_id, signer, spec, val,
};
use crate::record::work::{Work, WorkClass};
use crate::record::{Proof, Raw, Record, Sealing, Signed};
use crate::register::{Accepted, Certificate, Nack, State, Val, Voter};
use crate::view::{HostView, Milli, OpenclawInstall};

/// As the test below writes them when it fails.
const VECTORS: &str = include_str!("../../vectors/wire-1.hex");
const MUTATIONS: usize = 10_000;

struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    /// The bytes of what was read; nothing if it was refused.
    reread: fn(&[u8]) -> Option<Vec<u8>>,
}

fn sample<T: Serialize + DeserializeOwned>(name: &'static str, value: &T) -> Sample {
    let reread = |bytes: &[u8]| Some(encode(&decode::<T>(bytes, 1 << 20).ok()?));
    Sample { name, bytes: encode(value), reread }
}

/// A record is also checked, as one from disk would be.
fn record<T: Record>(name: &'static str, value: &T) -> Sample {
    let reread = |bytes: &[u8]| {
        let raw = Raw {
            body: bytes.to_vec(),
            signer: signer().id(),
            proof: Proof::alone(some_signature()),
        };
        Some(encode(&raw.reopen::<T>().ok()?.into_body()))
    };
    Sample { name, bytes: encode(value), reread }
}

fn some_signature() -> crate::key::Signature {
    crate::key::Signature([6; 64])
}

fn messages() -> Vec<(&'static str, Message)> {
    let (key, ballot, ver) = (key(), ballot(), 4);
    let accepted = Some(Accepted { ballot, val: val() });
    let nack = || Box::new(Nack { promised: Some(ballot), accepted: accepted.clone() });
    let vote = |verdict| VoteOp { key: key.clone(), ballot, ver, verdict, sworn: None };
    let promise =
        |verdict| PromiseOp { key: key.clone(), ballot, verdict, result: None, sworn: None };
    let raw =
        Raw { body: vec![1, 2], signer: signer().id(), proof: Proof::alone(some_signature()) };
    let present =
        PresentOp { host: host_id(), node: Some(signer().id()), age_ms: 7, away_ms: None };
    let accept =
        AcceptOp { key: key.clone(), ballot, val: val(), spec: Some(raw.clone()), result: None };
    vec![
        ("accept", Message::Accept(vec![accept])),
        (
            "vote",
            Message::Vote(vec![
                vote(Verdict::Accepted),
                vote(Verdict::Lower(nack())),
                vote(Verdict::NeedContent),
                vote(Verdict::Gone),
            ]),
        ),
        (
            "vote-key-taken",
            Message::Vote(vec![vote(Verdict::KeyTaken {
                key: key.clone(),
                fingerprint: Hash([2; 32]),
            })]),
        ),
        ("prepare", Message::Prepare(vec![PrepareOp { key: key.clone(), ballot, spec: None }])),
        (
            "promise",
            Message::Promise(vec![
                promise(PromiseVerdict::Promised(accepted.clone().map(Box::new))),
                promise(PromiseVerdict::Promised(None)),
                promise(PromiseVerdict::Lower(nack())),
                promise(PromiseVerdict::NeedContent),
                promise(PromiseVerdict::Gone),
            ]),
        ),
        ("certificates", Message::Certificates(vec![raw.clone()])),
        ("want", Message::Want(vec![key.clone()])),
        ("seek", Message::Seek(vec![Sought::Host(host_id()), Sought::Job(job())])),
        ("hosts", Message::Hosts(vec![raw.clone()])),
        ("controls", Message::Controls(vec![raw.clone()])),
        ("work-message", Message::Work(raw)),
        ("present", Message::Present(vec![present])),
    ]
    .into_iter()
    .chain(exchanges())
    .collect()
}

/// What coordinators ask each other, and what is handed on.
fn exchanges() -> Vec<(&'static str, Message)> {
    let raw =
        Raw { body: vec![1, 2], signer: signer().id(), proof: Proof::alone(some_signature()) };
    let known = Known { certificate: raw.clone(), spec: Some(raw), result: None };
    let confirm = ConfirmOp { key: key(), ballot: ballot(), round: 9 };
    let idempotency =
        Idempotency { scope: Hash([1; 32]), fingerprint: Hash([2; 32]), route: "/v1/jobs".into() };
    let ask = |command| AskOp { seq: 5, command, idempotency: None };
    let submit = Command::Submit(JobRequest {
        payload: b"{}".to_vec(),
        required: vec!["gpu".into()],
        submitted_by: None,
        max_attempts: Some(3),
        timeout_ms: None,
        retry: None,
        queue_timeout_ms: None,
        once: false,
        verify: None,
    });
    let asks = vec![
        AskOp { seq: 4, command: submit, idempotency: Some(idempotency) },
        ask(Command::Complete(completion())),
        ask(Command::Cancel { job: job() }),
        ask(Command::Grant {
            host: host_id(),
            capabilities: vec!["shell".into()],
            node: Some(signer().id()),
        }),
        ask(Command::Renew { host: host_id(), job: job(), attempt: 2, named: true, word: None }),
        ask(Command::HandBack { host: host_id(), job: job(), attempt: 2, word: None }),
    ];
    let tell = |answer| TellOp { seq: 5, answer, known: None };
    let tells = vec![
        TellOp { seq: 4, answer: Ok(KeyAnswer::NoJob), known: Some(Box::new(known.clone())) },
        tell(Err(Refusal::Busy("a reason".into()))),
        tell(Err(Refusal::AlreadyEnded { job: job(), status: "failed".into() })),
        tell(Err(Refusal::Stopping)),
    ];
    vec![
        ("confirm", Message::Confirm(vec![confirm.clone()])),
        (
            "confirmed",
            Message::Confirmed(vec![ConfirmedOp { op: confirm, promised: Some(ballot()) }]),
        ),
        ("ask", Message::Ask(asks)),
        ("tell", Message::Tell(tells)),
        ("known", Message::Known(vec![known])),
    ]
    .into_iter()
    .chain(signs())
    .collect()
}

/// Signs of life, and who leads what.
fn signs() -> Vec<(&'static str, Message)> {
    let beat =
        Beat { run: 7, seq: 8, alive: vec![signer().id()], wall: Wall(9), written: u64::MAX };
    let tally = Tally { count: 3, sum: u64::MAX };
    let past = Past { written: 5, twice: true, proof: None };
    let pre = |verdict| PreVotedOp { key: key(), verdict };
    let listed = |ballot| ListedOp { key: key(), ballot };
    vec![
        ("prevote", Message::PreVote(vec![PreVoteOp { key: key(), disowned: true }])),
        (
            "prevoted",
            Message::PreVoted(vec![
                pre(PreVerdict::Would),
                pre(PreVerdict::Alive(Some(ballot()))),
                pre(PreVerdict::Ended),
            ]),
        ),
        ("beat", Message::Beat(beat)),
        ("beaten", Message::Beaten(Beaten { run: 7, seq: 8, owed: tally, past })),
        ("list", Message::List(Some(key().subject))),
        ("listed", Message::Listed(vec![listed(Some(ballot())), listed(None)])),
        ("not-mine", Message::NotMine(vec![listed(None)])),
    ]
}

fn completion() -> Completion {
    Completion {
        job: job(),
        host: host_id(),
        attempt: Some(2),
        success: true,
        duration: Some(Milli(1500)),
        exit_code: Some(0),
        stdout: Some("out".into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    }
}

fn work() -> Work {
    let class = WorkClass { required: vec!["gpu".into()], queued: 3 };
    Work { home: signer().id(), at: AT, classes: vec![class] }
}

fn openclaw() -> OpenclawInstall {
    OpenclawInstall {
        version: Some("2026.9.6".into()),
        node: None,
        gateway: true,
        trouble: Some("its Node is too old".into()),
    }
}

fn attachments() -> Vec<Sample> {
    let nonce = Nonce([7; 16]);
    let (host, job, attempt) = (host_id(), job(), 2);
    let register = HostAsk::Register {
        id: Some(host.clone()),
        name: "sample".into(),
        capabilities: vec![],
        max_parallel: Milli(2000),
        openclaw: None,
    };
    let without = vec!["openclaw.exec".into()];
    let narrow = HostAsk::Claim { host: host.clone(), nonce, most: 4, wait_ms: 9, without };
    let with_openclaw = HostAsk::Register {
        id: None,
        name: "sample".into(),
        capabilities: vec!["openclaw".into()],
        max_parallel: Milli(1000),
        openclaw: Some(openclaw()),
    };
    let complete = HostAsk::Complete { completion: Box::new(completion()), attempt };
    let spec = Signed::seal(&signer(), network(), spec()).raw().clone();
    let grant = Grant { spec, attempt, lease_ms: 30_000, owner: signer().id() };
    vec![
        sample("host-register", &register),
        sample(
            "host-beat",
            &HostAsk::Beat { host: host.clone(), running: vec![Run { job: job.clone(), attempt }] },
        ),
        sample(
            "host-claim",
            &HostAsk::Claim { host: host.clone(), nonce, most: 4, wait_ms: 9, without: Vec::new() },
        ),
        sample("host-claim-without", &narrow),
        sample("host-register-openclaw", &with_openclaw),
        sample("host-withdraw", &HostAsk::Withdraw { host: host.clone(), nonce }),
        sample(
            "host-renew",
            &HostAsk::Renew { host: host.clone(), job: job.clone(), attempt, word: None },
        ),
        sample("host-complete", &complete),
        sample(
            "host-hand-back",
            &HostAsk::HandBack { host: host.clone(), job, attempt, word: None },
        ),
        sample("host-registered", &HostTell::Registered(host)),
        sample("host-granted", &HostTell::Granted(vec![grant])),
        sample("host-accepted", &HostTell::Accepted),
        sample(
            "host-alive",
            &HostTell::Alive { ended: vec![crate::record::tests::samples::job()] },
        ),
        sample("host-refused", &HostTell::Refused(Refusal::UnknownHost("host_x".into()))),
    ]
}

fn answers() -> Vec<(&'static str, KeyAnswer)> {
    let view = HostView {
        id: host_id(),
        name: "sample".into(),
        capabilities: vec![],
        max_parallel: Milli(1000),
        active_leases: Milli(0),
        last_seen: Wall(AT.ms),
        registered: Wall(1),
        updated_by: "node_a".into(),
        version: 78,
        openclaw: None,
    };
    let service = service_state_view(&service_id(), &service(), &val());
    vec![
        ("key-job", KeyAnswer::Job(JobAt { job: job(), val: val() })),
        ("key-nojob", KeyAnswer::NoJob),
        ("key-host", KeyAnswer::Host(view)),
        ("key-service", KeyAnswer::Service(Box::new(service))),
        ("key-noservice", KeyAnswer::NoService),
        ("key-joined", KeyAnswer::Joined),
        ("key-removed", KeyAnswer::Removed),
        ("key-renewed", KeyAnswer::Renewed),
        ("key-handed-back", KeyAnswer::HandedBack),
        ("key-heard", KeyAnswer::Heard),
    ]
}

fn principal() -> Principal {
    Principal {
        id: PrincipalId::new("abc").unwrap(),
        name: "ci".into(),
        scopes: vec![Scope::Submit, Scope::Host],
        secret_hash: Hash([7; 32]),
        quotas: Quotas { queued: Some(5), bytes_per_day: Some(1 << 30), ..Quotas::default() },
        created: Wall(AT.ms),
        created_by: "node_a".into(),
        expires: Some(Wall(AT.ms + 1)),
        revoked: None,
    }
}

fn samples() -> Vec<Sample> {
    let mut all: Vec<_> = messages().iter().map(|(name, m)| sample(name, m)).collect();
    let row = |answer| KeyRow { fingerprint: Hash([2; 32]), expires_at: Wall(AT.ms), answer };
    all.extend(answers().into_iter().map(|(name, answer)| sample(name, &row(answer))));
    let service = Val { state: State::Service(Box::new(service())), ..val() };
    let voter = Voter {
        promised: Some(ballot()),
        accepted: Some(Accepted { ballot: ballot(), val: service }),
    };
    all.push(sample("voter", &voter));
    all.push(sample("voter-empty", &Voter::EMPTY));
    all.push(sample("raw", Signed::seal(&signer(), network(), host()).raw()));
    let mut sealing = Sealing::default();
    let three: Vec<_> = (0..3).map(|_| sealing.seal(&signer(), network(), host())).collect();
    sealing.sign();
    all.push(sample("raw-together", three[0].raw()));
    all.push(record::<Spec>("spec", &spec()));
    let mark = Some(Mark { scope: Hash([1; 32]), fingerprint: Hash([2; 32]) });
    all.push(record::<Spec>("spec-marked", &Spec { mark, ..spec() }));
    let once = spec().job.map(|job| JobSpec { once: true, ..job });
    all.push(record::<Spec>("spec-once", &Spec { job: once, ..spec() }));
    let verify = Some(crate::verify::Verify { copies: 3, agree: 2 });
    let verified = spec().job.map(|job| JobSpec { verify, ..job });
    all.push(record::<Spec>("spec-verify", &Spec { job: verified, ..spec() }));
    let mut verified = val();
    if let State::Job(state) = &mut verified.state {
        state.told = vec![crate::record::tests::samples::told()];
    }
    all.push(sample("val-verify", &verified));
    all.push(record::<JobResult>("result", &result()));
    let agent = Some(r#"{"status":"ok","ok":true}"#.to_owned());
    all.push(record::<JobResult>("result-agent", &JobResult { agent: agent.clone(), ..result() }));
    all.push(sample("completion-agent", &Completion { agent, ..completion() }));
    all.push(record::<Receipt>("receipt", &receipt()));
    let raw = || Some(Box::new(Signed::seal(&signer(), network(), receipt()).raw().clone()));
    all.push(record::<JobResult>("result-receipt", &JobResult { receipt: raw(), ..result() }));
    let earlier = raw().into_iter().map(|raw| *raw).collect();
    all.push(record::<JobResult>("result-earlier", &JobResult { earlier, ..result() }));
    all.push(sample("completion-receipt", &Completion { receipt: raw(), ..completion() }));
    all.push(record::<HostDesc>("host", &host()));
    let with_openclaw = HostDesc { openclaw: Some(openclaw()), ..host() };
    all.push(record::<HostDesc>("host-openclaw", &with_openclaw));
    all.push(record::<Certificate>("certificate", &certificate()));
    all.push(record::<Work>("work", &work()));
    all.push(record::<Control>("control", &Content::Principal(Box::new(principal())).at(AT)));
    all.extend(attachments());
    all
}

#[test]
fn what_is_written_is_read_back() {
    for sample in samples() {
        assert_eq!((sample.reread)(&sample.bytes), Some(sample.bytes), "{}", sample.name);
    }
}

/// These bytes are on disks and under signatures: a change needs a migration and another name.
#[test]
fn frames_are_written_as_they_always_were() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let now: String = samples().iter().map(|s| format!("{} {}\n", s.name, hex(&s.bytes))).collect();
    assert!(now == VECTORS, "the encoding changed; now it is:\n{now}");
}

fn mutate(chance: &mut ChaCha12Rng, bytes: &[u8]) -> Vec<u8> {
    let mut below = |n: usize| usize::try_from(chance.next_u64() % n.max(1) as u64).unwrap();
    let mut out = bytes.to_vec();
    match below(8) {
        0 => out.truncate(below(bytes.len())),
        1 => out.extend((0..=below(8)).map(|_| 0x80)),
        2 => {
            out = (0..below(64)).map(|_| u8::try_from(below(256)).unwrap()).collect();
        }
        3 => {
            // A part of it twice.
            let from = below(bytes.len());
            let part = bytes[from..(from + below(40)).min(bytes.len())].to_vec();
            out.splice(from..from, part);
        }
        4 => {
            let from = below(bytes.len());
            out.drain(from..(from + 1 + below(10)).min(bytes.len()));
        }
        5 => {
            // A length or a number that is far too large.
            let at = below(bytes.len());
            out.splice(at..at, [out[at] & 0xe0 | 0x1b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9]);
        }
        _ => {
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                out[at] ^= 1 << below(8);
            }
        }
    }
    out
}

#[test]
fn altered_bytes_are_refused_or_stand_for_exactly_what_was_read() {
    for (n, sample) in samples().into_iter().enumerate() {
        let mut chance = ChaCha12Rng::seed_from_u64(n as u64);
        for _ in 0..MUTATIONS {
            let bytes = mutate(&mut chance, &sample.bytes);
            let reread = sample.reread;
            let read = catch_unwind(|| reread(&bytes))
                .unwrap_or_else(|_| panic!("{}: panic at {bytes:02x?}", sample.name));
            assert!(read.is_none_or(|again| again == bytes), "{}: {bytes:02x?}", sample.name);
        }
    }
}
