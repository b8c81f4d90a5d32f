//! A malicious host: it speaks for others, and of what it was never granted.

use skyclaw_node::net::Service;
use skyclaw_protocol::attach::{HostAsk, HostTell, Nonce, Run};
use skyclaw_protocol::orders::Question;
use skyclaw_protocol::repair::{Range, RepairAsk};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{
    Completion, HostId, JobId, Milli, NodeId, Refusal, ServiceId, ServiceReport, ServiceStatus,
    codec,
};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{capabilities, eventually, shell};

use super::scene::{Scene, counted, host_id};
use crate::text;

const REFUSED: &str = "skyclaw_host_asks_refused_total{reason=";

/// Whatever the reason is.
const ANY: &str = "";

fn register(id: Option<HostId>) -> HostAsk {
    HostAsk::Register {
        id,
        name: "mallory".into(),
        capabilities: vec!["evil".into()],
        max_parallel: Milli::whole(4),
        openclaw: None,
    }
}

fn complete(job: JobId, host: HostId, attempt: u32, stdout: &str) -> HostAsk {
    let completion = Completion {
        job,
        host,
        attempt: None,
        success: true,
        duration: None,
        exit_code: Some(0),
        stdout: Some(stdout.into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    };
    HostAsk::Complete { completion: Box::new(completion), attempt }
}

fn claim(host: HostId, nonce: u8) -> HostAsk {
    HostAsk::Claim { host, nonce: Nonce([nonce; 16]), most: 8, wait_ms: 100, without: Vec::new() }
}

fn report(host: HostId) -> HostAsk {
    HostAsk::Report(Box::new(ServiceReport {
        id: ServiceId::new("svc_none").expect("an id"),
        host,
        status: ServiceStatus::Running,
        endpoint: Some("http://127.0.0.1:1".into()),
        error: None,
        epoch: Some(1),
        node: None,
    }))
}

/// All that a host may ask, in the name of `host` and about `job`.
fn in_the_name_of(host: &HostId, job: &JobId) -> Vec<(&'static str, HostAsk)> {
    let (host, job) = (host.clone(), job.clone());
    let run = Run { job: job.clone(), attempt: 1 };
    let question = Question { host: host.clone(), running: Vec::new(), mark: None, wait_ms: 0 };
    vec![
        ("beats", HostAsk::Beat { host: host.clone(), running: vec![run] }),
        ("claims", claim(host.clone(), 1)),
        ("withdraws", HostAsk::Withdraw { host: host.clone(), nonce: Nonce([0; 16]) }),
        ("renews", HostAsk::Renew { host: host.clone(), job: job.clone(), attempt: 1, word: None }),
        (
            "hands back",
            HostAsk::HandBack { host: host.clone(), job: job.clone(), attempt: 1, word: None },
        ),
        ("asks for orders", HostAsk::Services(question)),
        ("reports", report(host.clone())),
        ("completes", complete(job, host, 1, "evil\n")),
    ]
}

struct Host<'a> {
    scene: &'a Scene,
    mallory: &'a Mallory,
    /// The first coordinator.
    at: NodeId,
}

impl Host<'_> {
    /// Asks what must be refused for this reason.
    #[track_caller]
    fn refused(&self, name: &str, reason: &str, ask: &HostAsk) -> Refusal {
        let counter = match reason {
            ANY => "skyclaw_host_asks_refused_total".to_owned(),
            reason => format!("{REFUSED}\"{reason}\"}}"),
        };
        let told = self.scene.counted(name, &counter, || self.mallory.ask(self.at, ask));
        let refusal = match told {
            HostTell::Refused(refusal) => Some(refusal),
            _ => None,
        };
        refusal.expect(name)
    }
}

/// The first coordinator: it counts that nobody of that name is known.
#[track_caller]
fn first(scene: &Scene, mallory: &Mallory) -> NodeId {
    let nodes = mallory.handle.coordinators().borrow().clone();
    let counted = || scene.nodes[0].api.metric(&format!("{REFUSED}\"unknown_host\"}}"));
    let here = |node: &&NodeId| {
        let before = counted();
        mallory.ask(**node, &HostAsk::Withdraw { host: host_id("?"), nonce: Nonce([0; 16]) });
        counted() > before
    };
    *nodes.iter().find(here).expect("one of them is it")
}

#[test]
fn a_malicious_host_speaks_for_nobody_else_and_reports_nothing_it_was_not_granted() {
    let scene = Scene::set();
    scene.nodes[0].api.register("web", &["web"], 1);
    scene.nodes.iter().for_each(|node| drop(node.api.until_hosts(2)));
    let before = scene.until_agreed();
    let mallory = Mallory::join("host", &scene.addresses());
    let at = first(&scene, &mallory);
    let this = Host { scene: &scene, mallory: &mallory, at };
    let running = scene.job_id(&scene.running);

    for (name, ask) in in_the_name_of(&host_id("honest-host"), &running) {
        let refusal = this.refused(name, "host_taken", &ask);
        assert!(matches!(refusal, Refusal::HostTaken(_)), "{name}: {refusal:?}");
    }
    for (name, ask) in in_the_name_of(&host_id("web"), &running) {
        this.refused(name, "unknown_host", &ask);
    }
    this.refused("takes an id", "host_taken", &register(Some(host_id("honest-host"))));
    // Of a host that talks HTTP, also where it does not.
    for to in mallory.handle.coordinators().borrow().clone() {
        scene.counted_by_one("takes an id", &format!("{REFUSED}\"host_taken\"}}"), || {
            let told = mallory.ask(to, &register(Some(host_id("web"))));
            assert!(matches!(told, HostTell::Refused(Refusal::HostTaken(_))), "{told:?}");
        });
    }

    let HostTell::Registered(own) = mallory.ask(at, &register(None)) else { panic!("not let in") };
    let jobs = [&scene.running, &scene.queued, &scene.done].map(|id| scene.job_id(id));
    for (name, job) in ["a running job", "a queued job", "an ended job"].iter().zip(jobs) {
        for attempt in [0, 1, 2, u32::MAX] {
            let ask = complete(job.clone(), own.clone(), attempt, "evil\n");
            let refusal = this.refused(name, ANY, &ask);
            assert!(matches!(refusal, Refusal::AssignedElsewhere { .. } | Refusal::NotLeased(_)));
            let renew = HostAsk::Renew { host: own.clone(), job: job.clone(), attempt, word: None };
            this.refused(name, ANY, &renew);
            let back =
                HostAsk::HandBack { host: own.clone(), job: job.clone(), attempt, word: None };
            this.refused(name, ANY, &back);
        }
    }
    let none = JobId::new("job_none").expect("an id");
    this.refused("no job", "unknown_job", &complete(none, own.clone(), 1, ""));
    this.refused("runs no such service", "unknown_service", &report(own.clone()));

    let huge = |capabilities: Vec<String>, name: String, max_parallel| HostAsk::Register {
        id: None,
        name,
        capabilities,
        max_parallel,
        openclaw: None,
    };
    let word = "x".repeat(100_000);
    let many = (0..100_000).map(|n| format!("c{n}")).collect();
    for (name, ask) in [
        ("a huge capability", huge(vec![word.clone()], "m".into(), Milli::whole(1))),
        ("many capabilities", huge(many, "m".into(), Milli::whole(1))),
        ("a huge name", huge(Vec::new(), word, Milli::whole(1))),
        ("no slots", huge(Vec::new(), "m".into(), Milli::whole(0))),
        ("all slots", huge(Vec::new(), "m".into(), Milli(u64::MAX))),
    ] {
        this.refused(name, "too_large", &ask);
    }
    let counter = format!("{REFUSED}\"unreadable\"}}");
    for bytes in [Vec::new(), vec![0xff; 64], vec![0x9f; 10_000], b"{\"claim\":1}".to_vec()] {
        let asked = || mallory.ask_raw(at, Service::Host, bytes);
        assert!(scene.counted("nonsense", &counter, asked).is_err());
    }
    scene.serves(&before);
}

#[test]
fn a_malicious_host_reports_what_it_was_granted_once_and_for_that_attempt() {
    let scene = Scene::set();
    let mallory = Mallory::join("host", &scene.addresses());
    let at = first(&scene, &mallory);
    let this = Host { scene: &scene, mallory: &mallory, at };
    let HostTell::Registered(own) = mallory.ask(at, &register(None)) else { panic!("not let in") };
    let job = scene.nodes[0].api.submit(&capabilities(shell("true"), &["evil"]));
    let job = scene.job_id(text(&job, "id"));
    let grants = eventually("it is granted", || match mallory.ask(at, &claim(own.clone(), 9)) {
        HostTell::Granted(grants) if !grants.is_empty() => Ok(grants),
        other => Err(format!("{other:?}")),
    });
    assert_eq!((grants.len(), grants[0].attempt), (1, 1));
    // Nothing of other attempts, before or after its report.
    for attempt in [0, 2, 3] {
        this.refused(
            "another attempt",
            "assigned_elsewhere",
            &complete(job.clone(), own.clone(), attempt, "other"),
        );
    }
    let said = complete(job.clone(), own.clone(), 1, "first");
    assert_eq!(mallory.ask(at, &said), HostTell::Accepted);
    for stdout in ["second", "third"] {
        this.refused("again", "not_leased", &complete(job.clone(), own.clone(), 1, stdout));
    }
    let renew = HostAsk::Renew { host: own.clone(), job: job.clone(), attempt: 1, word: None };
    this.refused("it goes on", "not_leased", &renew);
    for node in &scene.nodes {
        let shown = node.api.until_job_is(job.as_str(), "completed");
        assert_eq!(shown["result"]["stdout"], "first", "{shown}");
    }
    scene.serves(&scene.until_agreed());
}

#[test]
fn a_host_is_no_coordinator_whatever_it_sends() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let mallory = Mallory::join("host", &scene.addresses());
    let at = first(&scene, &mallory);
    assert!(!mallory.handle.send(at, Message::Want(Vec::new())), "it has no such stream");
    let ask = codec::encode(&RepairAsk::Copy(Range::ALL));
    let asked = || mallory.ask_raw(at, Service::Repair, ask);
    let node = &scene.nodes[0];
    assert!(counted(node, "copies all", "skyclaw_asks_refused_total", asked).is_err());
    scene.serves(&before);
}
