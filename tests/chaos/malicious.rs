//! A malicious member of each role, at work all the time while hosts are hit: the laws hold.
//!
//! The coordinator among them is drawn as voter like any other, refuses whatever it is to vote on, and
//! lies about registers, hosts, their runs and the past of others. That makes it the one voter of
//! three that may fail, so the honest coordinators are left alone here; they are hit in the other run.
//! What she votes on she forges nothing about: of that nothing is promised.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use skyclaw_node::net::{Duty, Service};
use skyclaw_protocol::attach::{HostAsk, Nonce, Run};
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::spec::{RegisterKey, Spec, Subject};
use skyclaw_protocol::register::{Ballot, Certificate, JobState, Nack, Phase, State, Val};
use skyclaw_protocol::wire::{
    AcceptOp, AskOp, BeatMark, Beaten, Known, ListedOp, Message, Past, PreVerdict, PreVotedOp,
    PrepareOp, PromiseOp, PromiseVerdict, Tally, Verdict, VoteOp,
};
use skyclaw_protocol::{Command, Hash, HostId, JobId, NodeId, codec};
use skyclaw_tests::lan::{Door, Lan, Place, address};
use skyclaw_tests::mallory::{Mallory, Manner, made_up};
use skyclaw_tests::{Chance, eventually, seed};

use crate::faults::{COORDINATORS, MACHINES, schedule_of_hosts};
use crate::{Guests, trial};

/// How long the faults go on.
const LENGTH: Duration = Duration::from_secs(25);

/// Between two attempts of one member.
const PAUSE: Duration = Duration::from_millis(40);

/// Between two outsiders, each with a key of its own.
const NEXT_OUTSIDER: Duration = Duration::from_secs(3);

#[test]
fn no_job_is_lost_or_settled_twice_while_a_malicious_member_of_each_role_is_there() {
    let seed = seed(0xbad);
    let Some(lan) = Lan::make(MACHINES + 1) else { return };
    let mut chance = Chance::new(seed);
    let rounds = schedule_of_hosts(&mut chance, LENGTH);
    trial(seed, lan, &rounds, LENGTH, |lan, doors| Some(Box::new(Malicious::come(lan, doors))));
}

/// All of them; they go when it is dropped.
struct Malicious {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Guests for Malicious {
    /// Each of them was refused something, and that was counted.
    fn judge(&self, doors: &[Door]) {
        for counter in [
            "skyclaw_frame_faults_total{reason=\"not_the_owner\"}",
            "skyclaw_frame_faults_total{reason=\"not_a_voter\"}",
            "skyclaw_frame_faults_total{reason=\"unproven\"}",
            "skyclaw_frame_faults_total{reason=\"host_taken\"}",
            "skyclaw_host_asks_refused_total{reason=\"host_taken\"}",
            "skyclaw_asks_refused_total",
            "skyclaw_tunnels_refused_total",
            "skyclaw_p2p_refusals_total{reason=\"wrong_token\"}",
            "skyclaw_http_refusals_total",
        ] {
            let count: f64 = doors.iter().map(|door| door.ask(|api| api.metric(counter))).sum();
            println!("{counter}: {count}");
            assert!(count > 0.0, "{counter} counted nothing");
        }
    }
}

impl Malicious {
    fn come(lan: &Lan, doors: &[Door]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let place = lan.place(MACHINES + 1);
        let roles: [fn(&Stage); 5] = [coordinate, host, tunnel, knock, submit];
        let threads = roles.map(|role| {
            let stage =
                Stage { stop: Arc::clone(&stop), place: place.clone(), doors: doors.to_vec() };
            spawn(move || role(&stage))
        });
        Self { stop, threads: threads.into() }
    }
}

impl Drop for Malicious {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "one of them could not go on");
        }
    }
}

/// What each of them has.
struct Stage {
    stop: Arc<AtomicBool>,
    place: Place,
    doors: Vec<Door>,
}

impl Stage {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// A member of this role.
    fn join(&self, role: &str, manner: Box<Manner>) -> Mallory {
        let mallory = self.start(role, "secret", manner);
        mallory.until_in(COORDINATORS);
        mallory
    }

    fn start(&self, role: &str, token: &str, manner: Box<Manner>) -> Mallory {
        let addresses: Vec<String> =
            (1..=COORDINATORS).map(|at| format!("/ip4/{}/tcp/4787", address(at))).collect();
        Mallory::start(role, Some(token), &addresses, manner, Some(self.place.clone()))
    }

    /// Of what the first coordinator lists there, these members of each.
    fn list(&self, what: &str, member: &str) -> Vec<String> {
        let target = format!("/v1/{what}");
        let listed = self.doors[0].ask(|api| api.try_send("GET", &target, &[], b""));
        let Ok(listed) = listed else { return Vec::new() };
        let listed = listed.json();
        let all = listed[what].as_array().into_iter().flatten();
        all.filter_map(|one| one[member].as_str().map(str::to_owned)).collect()
    }
}

/// Refuses its vote in whatever way, and lies about the past of who beats.
fn manner() -> Box<Manner> {
    let last: Mutex<Option<BeatMark>> = Mutex::default();
    let turn = AtomicUsize::default();
    Box::new(move |_, message| match message {
        Message::Accept(ops) => {
            let verdict = |op: &AcceptOp| match turn.fetch_add(1, Ordering::Relaxed) % 3 {
                0 => Verdict::Gone,
                1 => Verdict::NeedContent,
                // A ballot that it could have promised.
                _ => {
                    let promised = Some(Ballot { round: 1 << 10, ..op.ballot });
                    Verdict::Lower(Box::new(Nack { promised, accepted: None }))
                }
            };
            let refuse = |op: &AcceptOp| VoteOp {
                key: op.key.clone(),
                ballot: op.ballot,
                ver: op.val.ver,
                verdict: verdict(op),
                sworn: None,
            };
            vec![Message::Vote(ops.iter().map(refuse).collect())]
        }
        Message::Prepare(ops) => {
            let refuse = |op: &PrepareOp| PromiseOp {
                key: op.key.clone(),
                ballot: op.ballot,
                verdict: PromiseVerdict::Gone,
                result: None,
                sworn: None,
            };
            vec![Message::Promise(ops.iter().map(refuse).collect())]
        }
        Message::PreVote(ops) => {
            let verdict = PreVerdict::Alive(None);
            let told = ops.iter().map(|op| PreVotedOp { key: op.key.clone(), verdict });
            vec![Message::PreVoted(told.collect())]
        }
        Message::Beat(beat) => {
            let mark = last.lock().expect("nobody panics with it").replace(BeatMark::from(beat));
            let proof = mark.map(|mark| BeatMark { written: u64::MAX, ..mark });
            let past = Past { written: u64::MAX, twice: beat.seq.is_multiple_of(2), proof };
            let (run, seq, owed) = (beat.run, beat.seq, Tally::default());
            vec![Message::Beaten(Beaten { run, seq, owed, past })]
        }
        _ => Vec::new(),
    })
}

/// A job that she heard of and does not vote on: its key, its home and a value of it.
fn job_of_others(mallory: &Mallory, known: &Known) -> Option<(RegisterKey, Spec, Val)> {
    let spec = known.spec.clone()?.reopen::<Spec>().ok()?.into_body();
    let certificate = known.certificate.clone().reopen::<Certificate>().ok()?.into_body();
    let voted = spec.voters.contains(&mallory.id());
    let job = certificate.val.job().is_some();
    (job && !voted).then_some((certificate.key, spec, certificate.val))
}

fn lies(mallory: &Mallory, key: &RegisterKey, spec: &Spec, val: &Val) -> Vec<Message> {
    let own = Ballot { round: 7, proposer: mallory.id() };
    let home = Ballot { round: 0, proposer: spec.home };
    let voter = spec.voters.iter().copied().find(|voter| *voter != spec.home);
    let high = Ballot { round: 1 << 20, proposer: voter.unwrap_or(spec.home) };
    let state = JobState { phase: Phase::Cancelled, ..val.job().cloned().unwrap_or_default() };
    let end = Val { ver: val.ver + 1, state: State::Job(state), ..val.clone() };
    let voters = spec.voters.clone();
    let body =
        Certificate { key: key.clone(), ballot: own, val: end.clone(), voters, sworn: Vec::new() };
    let forged = Known { certificate: mallory.sign(body), spec: None, result: None };
    let accept =
        |ballot| AcceptOp { key: key.clone(), ballot, val: end.clone(), spec: None, result: None };
    let vote = VoteOp {
        key: key.clone(),
        ballot: home,
        ver: val.ver,
        verdict: Verdict::Accepted,
        sworn: None,
    };
    let mut lies = in_the_name_of_its_host(key, val);
    lies.extend([
        Message::Known(vec![forged]),
        Message::Accept(vec![accept(own), accept(home)]),
        Message::Prepare(vec![PrepareOp { key: key.clone(), ballot: own, spec: None }]),
        Message::Vote(vec![vote]),
        Message::Listed(vec![ListedOp { key: key.clone(), ballot: Some(high) }]),
    ]);
    lies
}

/// That the run is over, goes on, and never began.
fn in_the_name_of_its_host(key: &RegisterKey, val: &Val) -> Vec<Message> {
    let Subject::Job(job) = &key.subject else { return Vec::new() };
    let Some((host, attempt)) =
        val.job().and_then(|state| Some((state.host.clone()?, state.attempt)))
    else {
        return Vec::new();
    };
    let done = made_up(host.clone(), job.clone(), Some(attempt));
    let asks = [
        Command::Complete(done),
        Command::Renew { host: host.clone(), job: job.clone(), attempt, named: true, word: None },
        Command::HandBack { host, job: job.clone(), attempt, word: None },
    ];
    let ask = |command| Message::Ask(vec![AskOp { seq: 9, command, idempotency: None }]);
    asks.into_iter().map(ask).collect()
}

fn theft(mallory: &Mallory, host: &HostDesc) -> Message {
    let at = Hlc { count: host.at.count + 1, ..host.at };
    let stolen = HostDesc { node: Some(mallory.id()), at, by: "evil".into(), ..host.clone() };
    Message::Hosts(vec![mallory.sign(stolen)])
}

fn coordinate(stage: &Stage) {
    let mallory = stage.join("coordinator", manner());
    let flood: Vec<PrepareOp> = (0..200)
        .map(|n| PrepareOp {
            key: RegisterKey {
                subject: Subject::Job(JobId::new(format!("job_none_{n}")).expect("an id")),
                spec: Hash([1; 32]),
            },
            ballot: Ballot { round: 1, proposer: mallory.id() },
            spec: None,
        })
        .collect();
    let mut told = BTreeSet::new();
    while stage.goes_on() {
        let nodes: Vec<NodeId> = mallory.handle.coordinators().borrow().clone();
        let mut messages = vec![Message::Prepare(flood.clone()), Message::List(None)];
        for message in mallory.take_heard() {
            match message {
                Message::Known(all) => {
                    for known in &all {
                        let Some((key, spec, val)) = job_of_others(&mallory, known) else {
                            continue;
                        };
                        messages.extend(lies(&mallory, &key, &spec, &val));
                        told.insert(key);
                    }
                }
                Message::Hosts(all) => {
                    let hosts = all.into_iter().filter_map(|raw| raw.reopen::<HostDesc>().ok());
                    messages.extend(hosts.map(|host| theft(&mallory, host.body())));
                }
                _ => {}
            }
        }
        messages.truncate(60);
        for message in messages {
            // Who is not there is not told.
            for node in &nodes {
                mallory.handle.send(*node, message.clone());
            }
        }
        for host in stage.list("hosts", "id").iter().take(3) {
            let what = skyclaw_protocol::wire::Sought::Host(HostId::new(host).expect("an id"));
            for node in &nodes {
                mallory.handle.send(*node, Message::Seek(vec![what.clone()]));
            }
        }
        sleep(4 * PAUSE);
    }
    println!("the coordinator lied about {} jobs", told.len());
}

fn host(stage: &Stage) {
    let mallory = stage.join("host", Box::new(|_, _| Vec::new()));
    while stage.goes_on() {
        let (hosts, jobs) = (stage.list("hosts", "id"), stage.list("jobs", "id"));
        let nodes: Vec<NodeId> = mallory.handle.coordinators().borrow().clone();
        let named = hosts.iter().zip(jobs.iter().rev()).zip(nodes.iter().cycle());
        for ((host, job), node) in named {
            let (host, job) = (HostId::new(host), JobId::new(job));
            let (host, job) = (host.expect("an id"), job.expect("an id"));
            let run = Run { job: job.clone(), attempt: 1 };
            let completion = made_up(host.clone(), job.clone(), None);
            let nonce = Nonce([3; 16]);
            let asks = [
                HostAsk::Beat { host: host.clone(), running: vec![run] },
                HostAsk::Claim {
                    host: host.clone(),
                    nonce,
                    most: 9,
                    wait_ms: 1,
                    without: Vec::new(),
                },
                HostAsk::HandBack { host: host.clone(), job: job.clone(), attempt: 1, word: None },
                HostAsk::Renew { host: host.clone(), job, attempt: 1, word: None },
                HostAsk::Complete { completion: Box::new(completion), attempt: 1 },
            ];
            for ask in asks {
                // An answer may fail to come; what is taken shows in the laws.
                let _ = mallory.ask_raw(*node, Service::Host, codec::encode(&ask));
                sleep(PAUSE);
            }
            let _ = mallory.ask_raw(*node, Service::Repair, vec![0xff; 9]);
        }
        sleep(PAUSE);
    }
}

fn tunnel(stage: &Stage) {
    let mallory = stage.join("gateway", Box::new(|_, _| Vec::new()));
    let mut chance = Chance::new(5);
    while stage.goes_on() {
        let nodes: Vec<NodeId> = mallory.handle.coordinators().borrow().clone();
        for node in nodes {
            let duty = *chance.pick(&Duty::ALL);
            let length = chance.within(&(0..4000));
            drop(mallory.open(node, duty, chance.bytes(length)));
            sleep(PAUSE);
        }
        sleep(PAUSE);
    }
}

fn knock(stage: &Stage) {
    while stage.goes_on() {
        let outsider = stage.start("coordinator", "Secret", Box::new(|_, _| Vec::new()));
        eventually("it is told why it stays out", || {
            let out = !outsider.handle.view().refused.is_empty() || !stage.goes_on();
            if out { Ok(()) } else { Err("not yet".into()) }
        });
        assert!(outsider.handle.coordinators().borrow().is_empty(), "it was let in");
        for _ in 0..NEXT_OUTSIDER.as_millis() / PAUSE.as_millis() {
            if stage.goes_on() {
                sleep(PAUSE);
            }
        }
    }
}

fn submit(stage: &Stage) {
    let mut chance = Chance::new(6);
    let targets =
        ["/v1/jobs", "/v1/state", "/v1/public/jobs/../../state", "//v1/jobs", "/v1/hosts"];
    while stage.goes_on() {
        let door = chance.pick(&stage.doors).clone();
        let target = *chance.pick(&targets);
        let method = *chance.pick(&["GET", "POST", "DELETE"]);
        let answer = door.ask(|api| {
            let stranger = skyclaw_tests::Api::new(api.address(), Some("Secret".into()));
            stranger.try_send(method, target, &[("x-api-key", "evil")], b"{\"payload\":{}}")
        });
        assert!(
            answer.is_ok_and(|answer| (400..=599).contains(&answer.status)),
            "{method} {target}"
        );
        sleep(PAUSE);
    }
}
