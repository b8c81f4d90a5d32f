//! Records and batches for tests.

use skyclaw_protocol::batch::{Batch, KeyAnswer, KeyRow, StoredRegister, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{JobSpec, RegisterKey, Spec, Subject};
use skyclaw_protocol::register::{
    Accepted, Ballot, Certificate, JobState, Phase, ServiceState, State, Val, Voter,
};
use skyclaw_protocol::retention::Stub;
use skyclaw_protocol::{Hash, HostId, JobId, Milli, NetworkId, NodeId, ServiceDef, ServiceId};

use crate::Options;

pub(super) fn options() -> Options {
    Options { ballast_bytes: 0, cache_bytes: 4 << 20, ..Options::new([7; 32]) }
}

/// Makes records signed by one node, and numbers batches.
pub(super) struct World {
    key: NodeKey,
    network: NetworkId,
    pub(super) voters: u8,
    seq: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let network = NetworkId::of_name("test");
        Self { key: NodeKey::from_seed(&[3; 32]), network, voters: 1, seq: 0 }
    }

    pub(super) const fn network(&self) -> NetworkId {
        self.network
    }

    pub(super) fn batch(&mut self, writes: Vec<Write>) -> Batch {
        self.seq += 1;
        let clock = Hlc { ms: 1000 + self.seq, count: 0 };
        Batch { seq: self.seq, writes, clock, version: self.seq }
    }

    /// One record of each kind that stands by itself, about the `n`th job: all that is written of one in
    /// that phase, a stub of another, a host, a control and an answer that is remembered.
    pub(super) fn one_of_each(&self, n: u64, phase: Phase) -> Vec<Write> {
        let id = self.id(n);
        let mut writes = self.job(&id, phase);
        writes.push(self.certificate(&id, phase));
        writes.push(Write::Result(Box::new(self.result(&id, 1))));
        if phase == Phase::Leased {
            writes.push(Write::LeaseNote { job: id, until: Some(Wall(n)) });
        }
        writes.push(Write::Shrink(Box::new(self.stub(&self.id(50 + n)))));
        writes.push(Write::Host(Box::new(self.host(&format!("host{n}")))));
        let control = super::controls::control(&format!("control{n}"), n, 20);
        writes.push(Write::Control(Box::new(control)));
        let row = KeyRow {
            fingerprint: Hash::of(b"f"),
            expires_at: Wall(n),
            answer: KeyAnswer::NoService,
        };
        writes.push(Write::Key { scope: Hash::of(&n.to_be_bytes()), row: Box::new(row) });
        writes
    }

    /// The id of the `n`th job.
    pub(super) fn id(&self, n: u64) -> JobId {
        JobId::mint(created(n), n << 8)
    }

    fn seal_spec(&self, subject: Subject, at: Hlc, job: Option<JobSpec>) -> Write {
        let home = self.key.id();
        let others = (1..self.voters).map(|n| NodeId([n; 32]));
        let spec = Spec {
            subject,
            home,
            voters: std::iter::once(home).chain(others).collect(),
            quorum: self.voters / 2 + 1,
            created: at,
            expires_at: Wall(at.ms + 1_000_000),
            job,
            mark: None,
            owner: None,
        };
        Write::Spec(Box::new(Signed::seal(&self.key, self.network, spec)))
    }

    pub(super) fn spec(&self, id: &JobId) -> Write {
        let n = number(id);
        let job = JobSpec {
            payload: format!("{{\"n\":{n}}}").into_bytes(),
            required: vec!["cpu".into()],
            submitted_by: None,
            max_attempts: None,
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            adopted: false,
            once: false,
            verify: None,
        };
        self.seal_spec(Subject::Job(id.clone()), created(n), Some(job))
    }

    pub(super) fn state(&self, phase: Phase) -> JobState {
        JobState { phase, attempt: 1, ..JobState::new() }
    }

    fn val(&self, state: State) -> Val {
        let at = Hlc { ms: 5000 + self.seq, count: 1 };
        Val { ver: self.seq, at, by: "node".into(), display_version: self.seq, state }
    }

    fn voter(&self, val: Val) -> Box<Voter> {
        let ballot = Ballot { round: 0, proposer: self.key.id() };
        Box::new(Voter { promised: Some(ballot), accepted: Some(Accepted { ballot, val }) })
    }

    pub(super) fn row_of(&self, id: &JobId, state: JobState) -> Write {
        let row = self.voter(self.val(State::Job(state)));
        Write::Row { subject: Subject::Job(id.clone()), created: created(number(id)), row }
    }

    pub(super) fn row(&self, id: &JobId, phase: Phase) -> Write {
        self.row_of(id, self.state(phase))
    }

    /// Spec and row.
    pub(super) fn job(&self, id: &JobId, phase: Phase) -> Vec<Write> {
        vec![self.spec(id), self.row(id, phase)]
    }

    pub(super) fn certificate(&self, id: &JobId, phase: Phase) -> Write {
        let Write::Spec(spec) = self.spec(id) else { panic!("a job has a spec") };
        let body = Certificate {
            key: RegisterKey { subject: Subject::Job(id.clone()), spec: spec.hash() },
            ballot: Ballot { round: 0, proposer: self.key.id() },
            val: self.val(State::Job(self.state(phase))),
            voters: vec![self.key.id()],
            sworn: Vec::new(),
        };
        Write::Certificate(Box::new(Signed::seal(&self.key, self.network, body)))
    }

    /// The word that a register stands as it is held.
    pub(super) fn seal_certificate(&self, register: &StoredRegister) -> Signed<Certificate> {
        let (ballot, val) = register.decided().unwrap();
        let subject = register.spec.body().subject.clone();
        let key = RegisterKey { subject, spec: register.spec.hash() };
        let body = Certificate {
            key,
            ballot,
            val: val.clone(),
            voters: vec![self.key.id()],
            sworn: Vec::new(),
        };
        Signed::seal(&self.key, self.network, body)
    }

    /// What is left of a job that succeeded.
    pub(super) fn stub(&self, id: &JobId) -> Stub {
        let (Write::Spec(spec), Write::Certificate(certificate)) =
            (self.spec(id), self.certificate(id, Phase::Succeeded))
        else {
            panic!("a job has both");
        };
        let body = spec.body();
        let (created, expires_at) = (body.created, body.expires_at);
        Stub { certificate: *certificate, created, expires_at }
    }

    pub(super) fn service(&self, name: &str, deleted: bool) -> Vec<Write> {
        let subject = Subject::Service(ServiceId::new(name).unwrap());
        let at = Hlc { ms: 40, count: 0 };
        let def = ServiceDef {
            name: name.into(),
            command: "run".into(),
            replicas: 1,
            ..ServiceDef::default()
        };
        let state = ServiceState { deleted, ..ServiceState::first(def, at) };
        let row = self.voter(self.val(State::Service(Box::new(state))));
        vec![self.seal_spec(subject.clone(), at, None), Write::Row { subject, created: at, row }]
    }

    pub(super) fn result(&self, id: &JobId, attempt: u32) -> Signed<JobResult> {
        self.seal_result(id, attempt, "out".into())
    }

    /// A result with this output.
    pub(super) fn result_of(&self, id: &JobId, attempt: u32, out: String) -> Signed<JobResult> {
        self.seal_result(id, attempt, out)
    }

    pub(super) fn long_result(&self, id: &JobId) -> Signed<JobResult> {
        self.seal_result(id, 1, "x".repeat(5 << 20))
    }

    fn seal_result(&self, id: &JobId, attempt: u32, out: String) -> Signed<JobResult> {
        let body = JobResult {
            job: id.clone(),
            attempt,
            host: HostId::new("h").unwrap(),
            ok: true,
            at: Hlc { ms: 77, count: 0 },
            duration: Some(Milli::whole(12)),
            exit_code: Some(0),
            stdout: Some(out),
            stderr: None,
            error: None,
            outputs: Vec::new(),
            agent: None,
            receipt: None,
            earlier: Vec::new(),
        };
        Signed::seal(&self.key, self.network, body)
    }

    pub(super) fn host(&self, id: &str) -> Signed<HostDesc> {
        let body = HostDesc {
            node: None,
            id: HostId::new(id).unwrap(),
            name: format!("host {id}"),
            capabilities: vec!["cpu".into()],
            max_parallel: Milli::whole(2),
            registered: Hlc { ms: 1, count: 0 },
            at: Hlc { ms: 2, count: 0 },
            by: "node".into(),
            display_version: 1,
            removed: false,
            openclaw: None,
        };
        Signed::seal(&self.key, self.network, body)
    }
}

/// When the `n`th job was made: three share a millisecond.
pub(super) fn created(n: u64) -> Hlc {
    Hlc { ms: 10_000 + n / 3, count: (n % 3) as u16 }
}

/// Which job an id of [`World::id`] is of.
pub(super) fn number(id: &JobId) -> u64 {
    let digits = &id.as_str()[id.as_str().len() - 12..];
    u64::from_str_radix(digits, 16).unwrap() >> 6
}
