//! A coordinator that votes on the jobs of others and does not do as it should.
//!
//! Promised is what crash faults allow: with two honest voters of three, whatever the third one
//! refuses, delays or makes up about promises, each job that was answered 200 ends, once. Not promised is
//! what a voter can do that says "accepted" and forgets, while the only other copy goes: such a job may be
//! lost or settled otherwise. But what it says is sworn, so whoever finds two of its oaths at odds has
//! proof of it, and all coordinators cut it off.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::codec::decode;
use skyclaw_protocol::record::Record;
use skyclaw_protocol::register::{Ballot, Certificate, Nack};
use skyclaw_protocol::wire::{
    Message, PreVerdict, PreVotedOp, PromiseOp, PromiseVerdict, Verdict, VoteOp,
};
use skyclaw_tests::mallory::{Mallory, Manner};
use skyclaw_tests::{Node, PATIENCE, Setup, eventually, within};

use crate::{cluster, number, text};

/// A grant that was on its way through a coordinator which was killed is made again when its lease of
/// half a minute is over.
const ENDED: Duration = Duration::from_secs(90);

/// Answers each proposal so, and each question as `would` says.
fn votes(
    verdict: impl Fn(NodeId) -> Verdict + Send + Sync + 'static,
    would: PreVerdict,
    promise: impl Fn(NodeId) -> PromiseVerdict + Send + Sync + 'static,
) -> Box<Manner> {
    Box::new(move |from, message| match message {
        Message::Accept(ops) => {
            let vote = |op: &skyclaw_protocol::wire::AcceptOp| VoteOp {
                key: op.key.clone(),
                ballot: op.ballot,
                ver: op.val.ver,
                verdict: verdict(from),
                sworn: None,
            };
            // More than once, too.
            vec![Message::Vote(ops.iter().chain(ops).map(vote).collect())]
        }
        Message::Prepare(ops) => {
            let promised = |op: &skyclaw_protocol::wire::PrepareOp| PromiseOp {
                key: op.key.clone(),
                ballot: op.ballot,
                verdict: promise(from),
                result: None,
                sworn: None,
            };
            vec![Message::Promise(ops.iter().map(promised).collect())]
        }
        Message::PreVote(ops) => {
            let told = |op: &skyclaw_protocol::wire::PreVoteOp| PreVotedOp {
                key: op.key.clone(),
                verdict: would,
            };
            vec![Message::PreVoted(ops.iter().map(told).collect())]
        }
        _ => Vec::new(),
    })
}

struct Net {
    nodes: Vec<Node>,
    _host: Node,
    mallory: Mallory,
}

/// Two honest coordinators, a host, and Mallory, who votes on all that comes.
#[track_caller]
fn net(manner: Box<Manner>) -> Net {
    let nodes = cluster::nodes(2, 2);
    let host = Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&nodes[0]))
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_MAX_PARALLEL", 4)
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
        .start();
    let addresses: Vec<String> = nodes.iter().map(cluster::address).collect();
    let mallory = Mallory::with_manner("coordinator", &addresses, manner);
    for node in &nodes {
        node.api.until_hosts(1);
        cluster::until_peers(node, 3);
    }
    Net { nodes, _host: host, mallory }
}

/// Jobs taken by both; those that were answered 200.
#[track_caller]
fn submit(net: &Net, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            eventually("it is taken", || {
                let job = skyclaw_tests::shell("echo honest");
                let answer = net.nodes[n % 2].api.post("/v1/jobs", &job);
                match answer.status {
                    200 => Ok(text(&answer.json()["job"], "id").to_owned()),
                    _ => Err(answer.text()),
                }
            })
        })
        .collect()
}

#[track_caller]
fn all_end(net: &Net, jobs: &[String], attempts: u64) {
    for id in jobs {
        for node in &net.nodes {
            let job = within(ENDED, "it has ended", || {
                let job = node.api.job(id);
                if job["status"] == "completed" { Ok(job) } else { Err(job.to_string()) }
            });
            assert_eq!(text(&job["result"], "stdout"), "honest\n");
            assert!(number(&job, "attempts") <= attempts, "{job}");
        }
    }
    for node in &net.nodes {
        assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());
    }
}

/// She votes on the jobs: one of three.
#[track_caller]
fn is_a_voter(net: &Net, jobs: &[String]) {
    let known = net.mallory.find_job(&jobs[0]);
    let spec = known.spec.expect("it came along");
    let spec = spec.reopen::<skyclaw_protocol::record::spec::Spec>().expect("it reads");
    let voters = &spec.body().voters;
    assert!(voters.contains(&net.mallory.id()) && voters.len() == 3, "{voters:?}");
}

#[test]
fn jobs_end_while_a_voter_is_silent() {
    let net = net(Box::new(|_, _| Vec::new()));
    let jobs = submit(&net, 8);
    is_a_voter(&net, &jobs);
    all_end(&net, &jobs, 1);
}

#[test]
fn jobs_end_while_a_voter_refuses_everything_in_all_ways() {
    let none = || PromiseVerdict::Gone;
    for verdict in [Verdict::Gone, Verdict::NeedContent] {
        let net = net(votes(move |_| verdict.clone(), PreVerdict::Alive(None), move |_| none()));
        let jobs = submit(&net, 8);
        is_a_voter(&net, &jobs);
        all_end(&net, &jobs, 1);
    }
}

/// Of ballots that nobody could have been promised: beyond all rounds, or of who votes on nothing.
#[test]
fn jobs_end_while_a_voter_makes_up_higher_ballots() {
    for (round, of_home) in [(u32::MAX, true), (5, false)] {
        let high = move |home: NodeId| {
            let proposer = if of_home { home } else { NodeId([0xff; 32]) };
            Some(Ballot { round, proposer })
        };
        let nack = move |home| Box::new(Nack { promised: high(home), accepted: None });
        let net = net(votes(
            move |home| Verdict::Lower(nack(home)),
            PreVerdict::Alive(None),
            move |home| PromiseVerdict::Lower(nack(home)),
        ));
        let jobs = submit(&net, 8);
        is_a_voter(&net, &jobs);
        all_end(&net, &jobs, 1);
    }
}

/// Of ballots that it could have promised: the other honest voter's. Its homes go on with him.
#[test]
fn jobs_end_while_a_voter_names_ballots_of_the_other_one() {
    let others: Arc<Mutex<BTreeSet<NodeId>>> = Arc::default();
    let high = move |home: NodeId| {
        let mut known = others.lock().expect("nobody panics with it");
        known.insert(home);
        let proposer = known.iter().copied().find(|node| *node != home).unwrap_or(home);
        Box::new(Nack { promised: Some(Ballot { round: 1 << 10, proposer }), accepted: None })
    };
    let (nack, refusal) = (high.clone(), high);
    let net = net(votes(
        move |home| Verdict::Lower(nack(home)),
        PreVerdict::Alive(None),
        move |home| PromiseVerdict::Lower(refusal(home)),
    ));
    let jobs = submit(&net, 12);
    is_a_voter(&net, &jobs);
    all_end(&net, &jobs, 1);
}

/// The home goes, and she promises the other one as if she had never voted.
#[test]
fn a_voter_that_hides_its_votes_is_proven_to_have_lied_and_cut_off() {
    let mut net =
        net(votes(|_| Verdict::Accepted, PreVerdict::Would, |_| PromiseVerdict::Promised(None)));
    // No host takes these, so that they are there when their home goes.
    let waiting = json!({ "payload": { "kind": "shell", "command": "sh" },
        "requirement": { "requiredCapabilities": ["none-has-this"] } });
    // Of three votes two are enough, and only those that came in time are kept: hers is, of some.
    let kept_hers = |_: &u32| {
        let id = net.nodes[0].api.submit(&waiting)["id"].as_str().expect("an id").to_owned();
        let known = net.mallory.find_job(&id);
        let certificate: Certificate =
            decode(&known.certificate.body, Certificate::MAX_BYTES).expect("it is one");
        certificate.sworn.iter().any(|vote| vote.voter == net.mallory.id())
    };
    let sworn = (0..100).filter(kept_hers).take(3).count();
    assert_eq!(sworn, 3, "no quorum came about with her vote");
    net.nodes[0].kill();
    let liar = net.mallory.id().to_string();
    let told = "cut off: this coordinator swore what contradicts an earlier vote";
    let cut = |node: &Node| {
        within(ENDED, "she is cut off", || {
            let (log, offences) = (node.process.log(), node.api.metric("skyclaw_offences "));
            let proven = log.contains(told) && log.contains(&liar) && offences == 1.0;
            let gone = net.mallory.handle.coordinators().borrow().is_empty();
            if proven && gone { Ok(()) } else { Err(node.process.log_tail()) }
        });
    };
    cut(&net.nodes[1]);
    let _ = net.nodes[0].wait(PATIENCE);
    net.nodes[0].start_again();
    // Who was away hears of it, and what is left goes on.
    cut(&net.nodes[0]);
    cluster::until_peers(&net.nodes[0], 2);
    let jobs = submit(&net, 4);
    all_end(&net, &jobs, 1);
}

/// Who accepts all and keeps nothing, and promises all to everybody, as long as the honest ones live.
#[test]
fn jobs_end_once_while_a_voter_says_yes_to_everybody() {
    let net =
        net(votes(|_| Verdict::Accepted, PreVerdict::Would, |_| PromiseVerdict::Promised(None)));
    let jobs = submit(&net, 16);
    is_a_voter(&net, &jobs);
    all_end(&net, &jobs, 1);
}

/// The home goes while she refuses: nobody can lead, nothing is made up, and all goes on when it is back.
#[test]
fn what_a_refusing_voter_blocks_goes_on_when_the_home_is_back() {
    let mut net = net(votes(|_| Verdict::Gone, PreVerdict::Alive(None), |_| PromiseVerdict::Gone));
    let jobs = submit(&net, 8);
    is_a_voter(&net, &jobs);
    net.nodes[0].kill();
    let _ = net.nodes[0].wait(PATIENCE);
    net.nodes[0].start_again();
    all_end(&net, &jobs, 2);
}
