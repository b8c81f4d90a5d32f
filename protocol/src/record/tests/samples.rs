//! One value of each record, fixed for ever: frozen bytes are made of them.

use crate::clock::{Hlc, Wall};
use crate::command::Completion;
use crate::id::{Hash, HostId, JobId, NetworkId, NodeId, ServiceId};
use crate::key::NodeKey;
use crate::record::host::HostDesc;
use crate::record::receipt::Receipt;
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, RegisterKey, Spec, Subject};
use crate::register::{Ballot, Certificate, JobState, Phase, ServiceState, State, Val};
use crate::sandbox::SandboxLevel;
use crate::verify::{Said, Told};
use crate::view::{Assignment, Milli, OutputFile, ServiceDef, ServiceStatus};

pub(crate) const AT: Hlc = Hlc { ms: 1_800_000_000_000, count: 5 };

pub(crate) fn signer() -> NodeKey {
    NodeKey::from_seed(&[3; 32])
}

pub(crate) fn network() -> NetworkId {
    NetworkId::of_name("samples")
}

pub(crate) fn job() -> JobId {
    JobId::new("job_sample").unwrap()
}

pub(crate) fn host_id() -> HostId {
    HostId::new("host_sample").unwrap()
}

pub(crate) fn spec() -> Spec {
    Spec {
        subject: Subject::Job(job()),
        home: signer().id(),
        voters: vec![signer().id(), NodeId([8; 32])],
        quorum: 2,
        created: AT,
        expires_at: Wall(AT.ms + 1000),
        job: Some(JobSpec {
            payload: br#"{"kind":"shell","command":"true"}"#.to_vec(),
            required: vec!["gpu".into(), "shell".into()],
            submitted_by: Some("you".into()),
            max_attempts: Some(3),
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            adopted: false,
            once: false,
            verify: None,
        }),
        mark: None,
        owner: None,
    }
}

pub(crate) fn result() -> JobResult {
    JobResult {
        job: job(),
        attempt: 2,
        host: host_id(),
        ok: false,
        at: AT,
        duration: Some(Milli(1500)),
        exit_code: Some(-1),
        stdout: Some("grüß\n".into()),
        stderr: None,
        error: Some("exit -1".into()),
        outputs: Vec::new(),
        agent: None,
        receipt: None,
        earlier: Vec::new(),
    }
}

/// A report with something in each part.
pub(crate) fn report() -> Completion {
    let file = OutputFile { path: "out/a.txt".into(), hash: Hash([6; 32]), bytes: 3 };
    Completion {
        job: job(),
        host: host_id(),
        attempt: Some(2),
        success: false,
        duration: Some(Milli(1_500_000)),
        exit_code: Some(7),
        stdout: Some("grüß\n".into()),
        stderr: None,
        error: Some("why".into()),
        outputs: vec![file],
        agent: Some(r#"{"status":"error"}"#.into()),
        receipt: None,
    }
}

/// What its host says of it.
pub(crate) fn receipt() -> Receipt {
    let report = report();
    Receipt {
        version: Receipt::VERSION,
        network: network(),
        network_name: "samples".into(),
        job: job(),
        spec: Some(Hash([4; 32])),
        payload: Hash([1; 32]),
        attempt: 2,
        host: host_id(),
        node: signer().id(),
        started: Wall(AT.ms),
        ended: Wall(AT.ms + 1500),
        duration: Milli(1_500_000),
        success: false,
        exit_code: 7,
        error: Some(Hash::of(b"why")),
        stdout: Hash::of("grüß\n".as_bytes()),
        stderr: Hash::of(b""),
        outputs: report.outputs,
        truncated: true,
        sandbox: SandboxLevel::Basic,
        policy: Hash([2; 32]),
        agent: Some(Hash::of(br#"{"status":"error"}"#)),
    }
}

pub(crate) fn host() -> HostDesc {
    HostDesc {
        id: host_id(),
        name: "sample".into(),
        capabilities: vec!["shell".into()],
        max_parallel: Milli(2500),
        node: None,
        registered: Hlc { ms: 1, count: 0 },
        at: AT,
        by: "node_a".into(),
        display_version: 77,
        removed: false,
        openclaw: None,
    }
}

pub(crate) fn key() -> RegisterKey {
    RegisterKey { subject: Subject::Job(job()), spec: Hash([4; 32]) }
}

pub(crate) fn ballot() -> Ballot {
    Ballot { round: 1, proposer: signer().id() }
}

pub(crate) fn val() -> Val {
    let state = JobState {
        phase: Phase::Leased,
        attempt: 2,
        lost: 1,
        host: Some(host_id()),
        lease_ms: 60_000,
        guard_ms: 0,
        lease_expires: Wall(AT.ms + 60_000),
        result: Some(Hash([5; 32])),
        ..JobState::new()
    };
    Val { ver: 4, at: AT, by: "node_a".into(), display_version: 99, state: State::Job(state) }
}

/// What a host said of a job that others are to verify.
pub(crate) fn told() -> Told {
    Told { host: host_id(), node: signer().id(), attempt: 2, said: Said::of(&receipt()) }
}

pub(crate) fn service() -> ServiceState {
    ServiceState {
        def: ServiceDef {
            name: "api".into(),
            command: "node".into(),
            args: vec!["server.js".into()],
            cwd: Some("/srv".into()),
            env: Some(vec![("B".into(), "2".into()), ("A".into(), "1".into())]),
            replicas: 2,
            required: vec!["service-host".into()],
            ..ServiceDef::default()
        },
        generation: 3,
        deployed: AT,
        assignments: vec![Assignment {
            host: host_id(),
            status: ServiceStatus::Running,
            endpoint: Some("http://h:1".into()),
            started: Some(Wall(AT.ms)),
            slot: 1,
            epoch: 4,
            generation: 3,
            ..Assignment::pending(host_id(), Wall(AT.ms))
        }],
        epochs: 4,
        generations: 3,
        ..ServiceState::first(ServiceDef::default(), AT)
    }
}

pub(crate) fn service_id() -> ServiceId {
    ServiceId::new("svc_sample").unwrap()
}

pub(crate) fn certificate() -> Certificate {
    let voters = vec![signer().id(), NodeId([8; 32])];
    Certificate { key: key(), ballot: ballot(), val: val(), voters, sworn: Vec::new() }
}
