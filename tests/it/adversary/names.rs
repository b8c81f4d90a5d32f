//! A malicious coordinator that asks in the names of hosts: of those that sign it gets nothing.

use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::word::{Act, Word};
use skyclaw_protocol::wire::{AskOp, Message};
use skyclaw_protocol::{
    Command, Completion, JobId, NodeId, ServiceId, ServiceReport, ServiceStatus,
};
use skyclaw_tests::mallory::{Mallory, made_up};

use super::scene::{Scene, host_id};

const UNPROVEN: &str = "skyclaw_frame_faults_total{reason=\"unproven\"}";
const TAKEN: &str = "skyclaw_frame_faults_total{reason=\"host_taken\"}";

fn report(job: &JobId) -> Completion {
    made_up(host_id("honest-host"), job.clone(), Some(1))
}

#[test]
fn a_coordinator_ends_renews_and_hands_back_nothing_in_the_name_of_a_host() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let mallory = Mallory::join("coordinator", &scene.addresses());
    let nodes: Vec<NodeId> = mallory.handle.coordinators().borrow().clone();
    let host = host_id("honest-host");
    let node = scene.host_desc(&mallory).body().node.expect("it is attached");
    let job = scene.job_id(&scene.running);
    let signed = |key: &NodeKey, node: NodeId, act: Act| {
        let word =
            Word { host: host.clone(), node, job: job.clone(), attempt: 1, act, at_ms: u64::MAX };
        Box::new(Signed::seal(key, mallory.network, word).raw().clone())
    };
    let own = |act| signed(&mallory.key, mallory.id(), act);
    // In the host's name, by a signature that is not the host's.
    let forged = |act| {
        let mut raw = signed(&mallory.key, node, act);
        raw.signer = node;
        raw
    };
    let renew = |word| Command::Renew {
        host: host.clone(),
        job: job.clone(),
        attempt: 1,
        named: true,
        word,
    };
    let back = |word| Command::HandBack { host: host.clone(), job: job.clone(), attempt: 1, word };
    // A receipt of another run of the host, as anybody can read it.
    let shown = scene.nodes[0].api.get(&format!("/v1/jobs/{}/receipt", scene.done));
    assert_eq!(shown.status, 200, "{}", shown.text());
    let done = mallory.find_job(&scene.done).result.expect("it came along");
    let done = done.reopen::<skyclaw_protocol::record::result::JobResult>().expect("it reads");
    let stolen = done.body().receipt.clone();
    assert!(stolen.is_some());
    let grant =
        |node| Command::Grant { host: host.clone(), capabilities: vec!["shell".into()], node };
    let tells = |node| {
        Command::ReportService(ServiceReport {
            id: ServiceId::new("svc_any").expect("an id"),
            host: host.clone(),
            status: ServiceStatus::Running,
            endpoint: Some("http://127.0.0.1:1".into()),
            error: None,
            epoch: Some(1),
            node,
        })
    };
    let lies = [
        ("completes", UNPROVEN, Command::Complete(report(&job))),
        ("completes by another receipt", UNPROVEN, {
            Command::Complete(Completion { receipt: stolen, ..report(&job) })
        }),
        ("renews", UNPROVEN, renew(None)),
        ("renews by her own word", UNPROVEN, renew(Some(own(Act::Renew)))),
        ("renews by a forged word", UNPROVEN, renew(Some(forged(Act::Renew)))),
        ("hands back", UNPROVEN, back(None)),
        ("hands back by her own word", UNPROVEN, back(Some(own(Act::HandBack)))),
        ("hands back by a forged word", UNPROVEN, back(Some(forged(Act::HandBack)))),
        ("takes jobs", TAKEN, grant(Some(mallory.id()))),
        ("takes jobs as by HTTP", TAKEN, grant(None)),
        ("says where it is reached", TAKEN, tells(Some(mallory.id()))),
    ];
    for (name, counter, command) in lies {
        scene.counted_by_one(name, counter, || {
            for to in &nodes {
                let op = AskOp { seq: 9, command: command.clone(), idempotency: None };
                mallory.tell(*to, Message::Ask(vec![op]));
            }
        });
    }
    scene.serves(&before);
}
