//! Questions of hosts attached over libp2p, as a running coordinator answers them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use skyclaw_http_compat::{Backend, Request};
use skyclaw_node::attach::{Attach, Refused};
use skyclaw_node::config::{Config, EnvVars, Layer, Layers};
use skyclaw_node::handle::NodeHandle;
use skyclaw_node::run::Node;
use skyclaw_protocol::attach::{Grant, HostAsk, HostTell, Nonce};
use skyclaw_protocol::record::spec::Spec;
use skyclaw_protocol::{
    Answer, Command, Completion, HostId, JobId, JobRequest, Milli, NodeId, OpenclawInstall,
    Refusal, codec,
};

struct Bench {
    node: Node,
    attach: Attach,
    _folder: tempfile::TempDir,
}

const ME: NodeId = NodeId([1; 32]);
const OTHER: NodeId = NodeId([2; 32]);

fn host() -> HostId {
    HostId::new("h").unwrap()
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = EnvVars::new([
            ("SKYCLAW_ROLE", "coordinator"),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
            ("SKYCLAW_COORDINATOR_PORT", "0"),
            ("SKYCLAW_P2P", "0"),
            ("SKYCLAW_DB_PATH", folder.path().join("node.db").to_str().unwrap()),
        ]);
        let layers = Layers::new(Layer::default(), settings.layer(), Layer::default());
        let node = Node::start(&Config::resolve(&layers).unwrap().config).await.unwrap();
        let attach = Attach::new(
            node.coordinator().unwrap().handle().clone(),
            Vec::new(),
            Refused::default(),
        );
        Self { node, attach, _folder: folder }
    }

    fn handle(&self) -> &NodeHandle {
        self.node.coordinator().unwrap().handle()
    }

    async fn ask(&self, from: NodeId, ask: HostAsk) -> HostTell {
        let told = self.attach.answer(from, codec::encode(&ask));
        let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("answered");
        codec::decode(&told.unwrap(), usize::MAX).unwrap()
    }

    async fn register(&self, from: NodeId) -> HostTell {
        let ask = HostAsk::Register {
            id: Some(host()),
            name: "n".into(),
            capabilities: vec!["shell".into()],
            max_parallel: Milli::whole(8),
            openclaw: None,
        };
        self.ask(from, ask).await
    }

    async fn submit(&self, payload: &[u8]) -> JobId {
        let request = JobRequest::new(payload.to_vec(), vec!["shell".into()]);
        let command = Command::Submit(request);
        match self.handle().command(Request { command, idempotency: None }).await.unwrap() {
            Answer::Job(job) => job.id,
            other => panic!("{other:?}"),
        }
    }

    async fn claim(&self, nonce: u8, most: u16, wait_ms: u32) -> Vec<Grant> {
        match self.ask(ME, claim(nonce, most, wait_ms)).await {
            HostTell::Granted(grants) => grants,
            other => panic!("{other:?}"),
        }
    }
}

fn claim(nonce: u8, most: u16, wait_ms: u32) -> HostAsk {
    HostAsk::Claim { host: host(), nonce: Nonce([nonce; 16]), most, wait_ms, without: Vec::new() }
}

fn job_of(grant: &Grant) -> JobId {
    let spec = grant.spec.clone().reopen::<Spec>().unwrap().into_body();
    match spec.subject {
        skyclaw_protocol::record::spec::Subject::Job(id) => id,
        other => panic!("{other:?}"),
    }
}

fn complete(job: &JobId, attempt: u32) -> HostAsk {
    let completion = Completion {
        attempt: None,
        job: job.clone(),
        host: host(),
        success: true,
        duration: None,
        exit_code: Some(0),
        stdout: Some("out".into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    };
    HostAsk::Complete { completion: Box::new(completion), attempt }
}

/// F43.
#[tokio::test]
async fn a_host_is_spoken_for_by_the_node_that_registered_it() {
    let bench = Bench::start().await;
    let beat = || HostAsk::Beat { host: host(), running: Vec::new() };
    let unknown = HostTell::Refused(Refusal::UnknownHost("h".into()));
    assert_eq!(bench.ask(ME, beat()).await, unknown);
    assert_eq!(bench.register(ME).await, HostTell::Registered(host()));
    assert_eq!(bench.ask(ME, beat()).await, HostTell::Alive { ended: Vec::new() });
    let taken = HostTell::Refused(Refusal::HostTaken("h".into()));
    assert_eq!(bench.ask(OTHER, beat()).await, taken);
    assert_eq!(bench.register(OTHER).await, taken);
    assert_eq!(bench.ask(OTHER, claim(1, 1, 0)).await, taken);
    // Also by the record alone, as after a restart.
    let fresh = Attach::new(bench.handle().clone(), Vec::new(), Refused::default());
    let told = fresh.answer(OTHER, codec::encode(&beat())).await.unwrap();
    assert_eq!(codec::decode::<HostTell>(&told, usize::MAX).unwrap(), taken);
    let told = fresh.answer(ME, codec::encode(&beat())).await.unwrap();
    assert_eq!(
        codec::decode::<HostTell>(&told, usize::MAX).unwrap(),
        HostTell::Alive { ended: Vec::new() }
    );
}

#[tokio::test]
async fn what_is_no_question_is_not_answered_and_what_is_out_of_bounds_is_refused() {
    let bench = Bench::start().await;
    assert_eq!(bench.attach.answer(ME, b"nonsense".to_vec()).await, None);
    assert_eq!(bench.attach.answer(ME, vec![0; 8 << 20]).await, None);
    let ask = HostAsk::Register {
        id: None,
        name: "n".repeat(1 << 20),
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        openclaw: None,
    };
    let told = bench.ask(ME, ask).await;
    assert!(matches!(told, HostTell::Refused(Refusal::TooLarge(_))), "{told:?}");
}

#[tokio::test]
async fn grants_come_together_and_the_same_nonce_brings_them_again() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    for _ in 0..3 {
        bench.submit(br#"{"kind":"shell","command":"true"}"#).await;
    }
    let grants = bench.claim(1, 2, 0).await;
    assert_eq!((grants.len(), grants[0].attempt), (2, 1));
    assert_eq!(Some(grants[0].owner), bench.handle().node());
    assert!(grants[0].lease_ms > 0);
    assert_eq!(bench.claim(1, 2, 0).await, grants, "the same again");
    let rest = bench.claim(2, 8, 20_000).await;
    assert_eq!(rest.len(), 1);
    assert!(!grants.contains(&rest[0]));

    let job = job_of(&rest[0]);
    assert_eq!(bench.ask(ME, complete(&job, 1)).await, HostTell::Accepted);
    let again = bench.ask(ME, complete(&job, 1)).await;
    let settled = matches!(&again, HostTell::Accepted | HostTell::Refused(Refusal::NotLeased(_)))
        || matches!(&again, HostTell::Refused(Refusal::AlreadyEnded { .. }));
    assert!(settled, "{again:?}");
}

#[tokio::test]
async fn answers_stay_small_enough_for_one_frame() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    let payload = format!(r#"{{"kind":"shell","command":"true","x":"{}"}}"#, "x".repeat(5 << 20));
    bench.submit(payload.as_bytes()).await;
    bench.submit(payload.as_bytes()).await;
    assert_eq!(bench.claim(1, 8, 0).await.len(), 1);
}

#[tokio::test]
async fn a_parked_claim_is_answered_by_a_job_or_when_it_is_withdrawn() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    let parked = bench.claim(1, 4, 20_000);
    let submit = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.submit(br#"{"kind":"shell","command":"true"}"#).await
    };
    let (grants, job) = tokio::join!(parked, submit);
    assert_eq!(grants.iter().map(job_of).collect::<Vec<_>>(), [job]);

    let start = Instant::now();
    let parked = bench.claim(2, 4, 20_000);
    let withdraw = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.ask(ME, HostAsk::Withdraw { host: host(), nonce: Nonce([2; 16]) }).await
    };
    let (grants, told) = tokio::join!(parked, withdraw);
    assert_eq!((grants, told), (Vec::new(), HostTell::Granted(Vec::new())));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_claim_whose_asker_went_away_is_given_up_and_what_it_got_is_kept() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    let gone = tokio::time::timeout(Duration::from_millis(200), bench.claim(1, 4, 20_000)).await;
    assert!(gone.is_err());
    // It has ended by the time its nonce has an answer.
    assert_eq!(bench.claim(1, 4, 0).await, []);
    // The job waits for the next claim instead of going to the one that nobody hears.
    let job = bench.submit(br#"{"kind":"shell","command":"true"}"#).await;
    let grants = bench.claim(2, 4, 0).await;
    assert_eq!(grants.iter().map(job_of).collect::<Vec<_>>(), [job]);
    assert_eq!(grants[0].attempt, 1, "it was never granted to the first");
    // An answer that was lost is there for whoever asks again.
    assert_eq!(bench.claim(2, 4, 0).await, grants);
}

#[tokio::test]
async fn a_result_of_an_earlier_attempt_is_fenced() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    let job = bench.submit(br#"{"kind":"shell","command":"true"}"#).await;
    let grants = bench.claim(1, 1, 0).await;
    assert_eq!(grants[0].attempt, 1);
    // A later attempt than the register knows of is its own business to refuse.
    let told = bench.ask(ME, complete(&job, 0)).await;
    assert!(matches!(told, HostTell::Refused(Refusal::AssignedElsewhere { .. })), "{told:?}");
    assert_eq!(bench.ask(ME, complete(&job, 1)).await, HostTell::Accepted);
}

#[tokio::test]
async fn a_claim_brings_nothing_that_its_host_has_no_room_for() {
    let bench = Bench::start().await;
    bench.register(ME).await;
    let job = bench.submit(br#"{"kind":"shell"}"#).await;
    let ask = |nonce, without: Vec<String>| HostAsk::Claim {
        host: host(),
        nonce: Nonce([nonce; 16]),
        most: 4,
        wait_ms: 0,
        without,
    };
    let none = bench.ask(ME, ask(1, vec!["shell".into()])).await;
    assert_eq!(none, HostTell::Granted(Vec::new()));
    let refused = bench.ask(ME, ask(2, vec!["x".into(); 65])).await;
    assert!(matches!(refused, HostTell::Refused(Refusal::TooLarge(_))), "{refused:?}");
    let grants = bench.claim(3, 4, 0).await;
    assert_eq!(grants.iter().map(job_of).collect::<Vec<_>>(), [job]);
}

#[tokio::test]
async fn what_an_attached_host_says_of_its_openclaw_is_shown() {
    let bench = Bench::start().await;
    let install = OpenclawInstall { gateway: true, ..OpenclawInstall::default() };
    let register = |openclaw| HostAsk::Register {
        id: Some(host()),
        name: "n".into(),
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        openclaw,
    };
    bench.ask(ME, register(Some(install.clone()))).await;
    let shown = bench.handle().host(host()).await.unwrap().unwrap();
    assert_eq!(shown.openclaw, Some(install));
    let trouble = Some("x".repeat(5000));
    let long = OpenclawInstall { trouble, ..OpenclawInstall::default() };
    let refused = bench.ask(ME, register(Some(long))).await;
    assert!(matches!(refused, HostTell::Refused(Refusal::TooLarge(_))), "{refused:?}");
}
