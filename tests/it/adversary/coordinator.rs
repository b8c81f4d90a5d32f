//! A malicious coordinator that votes on none of the jobs that are there.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use skyclaw_node::net::Service;
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::limits::{MAX_BATCH_OPS, MAX_BEAT_PEERS};
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{JobSpec, RegisterKey, Spec, Subject};
use skyclaw_protocol::record::{Proof, Raw, Signed};
use skyclaw_protocol::register::{Ballot, Certificate, JobState, Nack, Phase, State, Val};
use skyclaw_protocol::repair::{Records, RepairAsk};
use skyclaw_protocol::wire::{
    AcceptOp, AskOp, Beat, Beaten, ConfirmOp, Known, ListedOp, Message, Past, PreVerdict,
    PreVoteOp, PreVotedOp, PrepareOp, Tally, TellOp, Verdict, VoteOp,
};
use skyclaw_protocol::{Command, Hash, JobId, Milli, NodeId, codec};
use skyclaw_tests::eventually;
use skyclaw_tests::mallory::Mallory;

use super::scene::{Job, Scene, host_id};

fn faults(reason: &str) -> String {
    format!("skyclaw_frame_faults_total{{reason=\"{reason}\"}}")
}

fn now() -> Hlc {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Hlc { ms: u64::try_from(since.as_millis()).expect("it fits"), count: 0 }
}

/// What Mallory would like the next value of a job to be.
fn next(job: &Job, phase: Phase, result: Option<Hash>) -> Val {
    let val = job.certificate.body().val.clone();
    let state = val.job().expect("of a job").clone();
    let (attempt, host) =
        (state.attempt.max(1), state.host.clone().or_else(|| Some(host_id("evil"))));
    let state = JobState { phase, attempt, host, result, ..state };
    Val { ver: val.ver + 1, at: now(), state: State::Job(state), ..val }
}

/// A certificate as Mallory would have it.
fn certificate(mallory: &Mallory, job: &Job, round: u32, val: Val, voters: &[NodeId]) -> Raw {
    let ballot = Ballot { round, proposer: mallory.id() };
    mallory.sign(Certificate {
        key: job.key(),
        ballot,
        val,
        voters: voters.to_vec(),
        sworn: Vec::new(),
    })
}

const fn bare(certificate: Raw) -> Known {
    Known { certificate, spec: None, result: None }
}

fn result_of(job: &Job, id: &JobId) -> JobResult {
    let attempt = job.certificate.body().val.job().map_or(1, |state| state.attempt.max(1));
    JobResult {
        job: id.clone(),
        attempt,
        host: host_id("evil"),
        ok: true,
        at: now(),
        duration: None,
        exit_code: Some(0),
        stdout: Some("evil\n".into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
        earlier: Vec::new(),
    }
}

/// A job of Mallory's own under this id.
fn own_spec(mallory: &Mallory, id: JobId, created: Hlc, expires_at: Wall) -> Spec {
    let job = JobSpec {
        payload: br#"{"kind":"shell","command":"sh","args":["-c","echo evil"]}"#.to_vec(),
        required: Vec::new(),
        submitted_by: None,
        max_attempts: None,
        timeout_ms: None,
        retry: None,
        queue_timeout_ms: None,
        adopted: false,
        once: false,
        verify: None,
    };
    Spec {
        subject: Subject::Job(id),
        home: mallory.id(),
        voters: vec![mallory.id()],
        quorum: 1,
        created,
        expires_at,
        job: Some(job),
        mark: None,
        owner: None,
    }
}

/// The first value of such a job, with all it needs to be believed.
fn own_job(mallory: &Mallory, spec: Spec, at: Hlc) -> Known {
    let subject = spec.subject.clone();
    let spec = Signed::seal(&mallory.key, mallory.network, spec);
    let state = State::Job(JobState::new());
    let val = Val { ver: 0, at, by: "evil".into(), display_version: 1, state };
    let body = Certificate {
        key: RegisterKey { subject, spec: spec.hash() },
        ballot: Ballot { round: 0, proposer: mallory.id() },
        val,
        voters: vec![mallory.id()],
        sworn: Vec::new(),
    };
    Known { certificate: mallory.sign(body), spec: Some(spec.raw().clone()), result: None }
}

struct Coordinator {
    scene: Scene,
    mallory: Mallory,
    nodes: Vec<NodeId>,
}

impl Coordinator {
    #[track_caller]
    fn set() -> Self {
        let scene = Scene::set();
        let mallory = Mallory::join("coordinator", &scene.addresses());
        let nodes = mallory.handle.coordinators().borrow().clone();
        Self { scene, mallory, nodes }
    }

    /// Says it to all coordinators, each of which counts it.
    #[track_caller]
    fn refused(&self, name: &str, reason: &str, message: &Message) {
        self.scene.counted_by_all(name, &faults(reason), || {
            for node in &self.nodes {
                self.mallory.tell(*node, message.clone());
            }
        });
    }
}

#[test]
fn a_coordinator_forges_nothing_about_jobs_of_others() {
    let this = Coordinator::set();
    let before = this.scene.until_agreed();
    let (scene, mallory) = (&this.scene, &this.mallory);
    for id in [&scene.queued, &scene.running, &scene.done] {
        let job = scene.job(mallory, id);
        let voters = job.spec.body().voters.clone();
        assert!(!voters.contains(&mallory.id()), "she votes on it");
        let result = result_of(&job, &scene.job_id(id));
        let result = Signed::seal(&mallory.key, mallory.network, result);
        let invented: Vec<NodeId> = (1..4).map(|n| NodeId([n; 32])).collect();
        let hers = [mallory.id(); 3];
        for phase in [Phase::Succeeded, Phase::Cancelled, Phase::Queued, Phase::Expired] {
            let named = (phase == Phase::Succeeded).then(|| result.hash());
            let brought = named.map(|_| result.raw().clone());
            for round in [0, 1, 7, u32::MAX] {
                for votes in [&voters[..], &invented, &hers, &[]] {
                    let val = next(&job, phase, named);
                    let forged = certificate(mallory, &job, round, val, votes);
                    let forged = Known { result: brought.clone(), ..bare(forged) };
                    let message = Message::Known(vec![forged]);
                    this.refused("signed by her", "not_the_owner", &message);
                }
            }
        }
        // In the home's name.
        let home = Ballot { round: 0, proposer: job.home() };
        let body = Certificate {
            key: job.key(),
            ballot: home,
            val: next(&job, Phase::Cancelled, None),
            voters: voters.clone(),
            sworn: Vec::new(),
        };
        let mut forged = mallory.sign(body);
        this.refused(
            "of another's ballot",
            "bad_record",
            &Message::Known(vec![bare(forged.clone())]),
        );
        forged.signer = job.home();
        this.refused("in another's name", "bad_record", &Message::Known(vec![bare(forged)]));
        // A true one, changed in one byte, and one with the head of another register.
        let mut changed = job.known.clone();
        changed.certificate.body[20] ^= 1;
        this.refused("changed", "bad_record", &Message::Known(vec![changed]));
        let val = next(&job, Phase::Cancelled, None);
        let mut mixed = bare(certificate(mallory, &job, 1, val.clone(), &voters));
        let spec = own_spec(mallory, scene.job_id(id), now(), Wall(now().ms + 90_000_000));
        let spec = Signed::seal(&mallory.key, mallory.network, spec);
        mixed.spec = Some(spec.raw().clone());
        this.refused("with another spec", "bad_record", &Message::Known(vec![mixed]));
        let mut stolen = job.known.clone();
        stolen.spec.as_mut().expect("it came along").signer = mallory.id();
        this.refused("with a spec signed by another", "bad_record", &Message::Known(vec![stolen]));
        let future = Val { at: Hlc { ms: now().ms + 3_600_000, count: 0 }, ..val.clone() };
        let future = certificate(mallory, &job, 1, future, &voters);
        this.refused("from the future", "bad_record", &Message::Known(vec![bare(future)]));
        // As proposals.
        for ballot in [home, Ballot { round: 9, proposer: mallory.id() }] {
            let op = AcceptOp {
                key: job.key(),
                ballot,
                val: val.clone(),
                spec: None,
                result: Some(result.raw().clone()),
            };
            this.refused("proposed", "not_the_owner", &Message::Accept(vec![op]));
            let ballot = Ballot { round: ballot.round.max(1), ..ballot };
            let op = PrepareOp { key: job.key(), ballot, spec: None };
            this.refused("prepared", "not_the_owner", &Message::Prepare(vec![op]));
        }
    }
    scene.serves(&before);
}

#[test]
fn a_coordinator_has_no_word_on_registers_on_which_it_does_not_vote() {
    let this = Coordinator::set();
    let before = this.scene.until_agreed();
    let mallory = &this.mallory;
    for id in [&this.scene.queued, &this.scene.running] {
        let job = this.scene.job(mallory, id);
        let (key, home) = (job.key(), Ballot { round: 0, proposer: job.home() });
        let voter = *job.spec.body().voters.iter().find(|node| **node != job.home()).expect("one");
        let high = Ballot { round: 1 << 20, proposer: voter };
        let nack = Verdict::Lower(Box::new(Nack { promised: Some(high), accepted: None }));
        let ver = job.certificate.body().val.ver;
        let vote = |verdict| VoteOp { key: key.clone(), ballot: home, ver, verdict, sworn: None };
        let confirm = ConfirmOp { key: key.clone(), ballot: home, round: 1 };
        let would = |verdict| Message::PreVoted(vec![PreVotedOp { key: key.clone(), verdict }]);
        let lies = [
            ("accepted", Message::Vote(vec![vote(Verdict::Accepted)])),
            ("refused", Message::Vote(vec![vote(nack)])),
            ("gone", Message::Vote(vec![vote(Verdict::Gone)])),
            ("would", would(PreVerdict::Would)),
            ("alive", would(PreVerdict::Alive(Some(high)))),
            (
                "wants to lead",
                Message::PreVote(vec![PreVoteOp { key: key.clone(), disowned: true }]),
            ),
            ("you lead", Message::Listed(vec![ListedOp { key: key.clone(), ballot: Some(high) }])),
            ("confirms", Message::Confirm(vec![confirm])),
        ];
        for (name, lie) in lies {
            this.refused(name, "not_a_voter", &lie);
        }
        let disowned = Message::NotMine(vec![ListedOp { key: key.clone(), ballot: None }]);
        this.nodes.iter().for_each(|node| mallory.tell(*node, disowned.clone()));
    }
    this.scene.serves(&before);
}

#[test]
fn a_coordinator_brings_nothing_back_and_sets_nothing_back() {
    let this = Coordinator::set();
    let mallory = &this.mallory;
    // A true word, kept until it is not true any more.
    let old = this.scene.job(mallory, &this.scene.queued);
    let cancel = format!("/v1/jobs/{}/cancel", this.scene.queued);
    this.scene.nodes[0].api.post(&cancel, &serde_json::json!({})).ok();
    for node in &this.scene.nodes {
        node.api.until_job_is(&this.scene.queued, "failed");
    }
    let before = this.scene.until_agreed();
    let at = now();
    let past = Hlc { ms: at.ms - 7_200_000, count: 0 };
    let id = JobId::mint(past, 7);
    let over = own_spec(mallory, id.clone(), past, Wall(at.ms - 1000));
    let over = Message::Known(vec![own_job(mallory, over, past)]);
    this.refused("a job whose time is over", "expired", &over);
    let far = Hlc { ms: at.ms + 600_000, count: 0 };
    let later = own_spec(mallory, id.clone(), far, Wall(far.ms + 90_000_000));
    let later = Message::Known(vec![own_job(mallory, later, far)]);
    this.refused("a job of later", "bad_record", &later);
    // Another one under the id of a job that there is.
    let ours = own_spec(mallory, this.scene.job_id(&this.scene.done), at, Wall(at.ms + 90_000_000));
    let ours = own_job(mallory, ours, at);
    for node in &this.nodes {
        mallory.tell(*node, Message::Known(vec![old.known.clone()]));
        mallory.tell(*node, Message::Known(vec![ours.clone()]));
        let records =
            Records { registers: vec![old.known.clone(), ours.clone()], ..Records::default() };
        let offer = codec::encode(&RepairAsk::Offer(records));
        mallory.ask_raw(*node, Service::Repair, offer).expect("an answer");
    }
    mallory.handle.publish(Message::Known(vec![old.known.clone()]));
    mallory.handle.publish(Message::Known(vec![ours]));
    // What came before it on the same streams was taken in by then.
    this.refused("the last word", "expired", &over);
    assert_eq!(this.scene.until_agreed(), before);
    for node in &this.scene.nodes {
        assert_eq!(node.api.job(&this.scene.queued)["status"], "failed");
        assert_eq!(node.api.get(&format!("/v1/jobs/{}", id.as_str())).status, 404);
    }
}

#[test]
fn a_coordinator_takes_nobodys_hosts_away() {
    let this = Coordinator::set();
    let before = this.scene.until_agreed();
    let mallory = &this.mallory;
    let true_one = this.scene.host_desc(mallory);
    let node = true_one.body().node;
    let lie = |node: Option<NodeId>, removed: bool, ahead_ms: u64| {
        let at = Hlc { ms: now().ms + ahead_ms, count: 0 };
        let by = "evil".to_owned();
        mallory.sign(HostDesc { node, removed, at, by, ..true_one.body().clone() })
    };
    let owner = || this.scene.host_desc(mallory).body().node;
    // What is said again is stamped after the lie, so the next one must be later still.
    for (name, thief, ahead) in
        [("by her", Some(mallory.id()), [0, 30_000]), ("by HTTP", None, [35_000, 40_000])]
    {
        for ahead_ms in ahead {
            let raw = lie(thief, false, ahead_ms);
            // Those that hear the host count it, and tell the others.
            this.scene.counted_by_one(name, &faults("host_taken"), || {
                for to in &this.nodes {
                    mallory.tell(*to, Message::Hosts(vec![raw.clone()]));
                }
            });
            eventually("it is not hers", || match owner() {
                now if now == node => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }
    // It registers anew, as after any removal.
    let removal = lie(node, true, 45_000);
    for to in &this.nodes {
        mallory.tell(*to, Message::Hosts(vec![removal.clone()]));
    }
    for node in &this.scene.nodes {
        node.api.until_hosts(1);
    }
    let mut nonsense = lie(node, false, 0);
    nonsense.body[9] ^= 1;
    this.refused("nonsense", "bad_record", &Message::Hosts(vec![nonsense]));
    let huge = HostDesc { max_parallel: Milli(u64::MAX), ..true_one.body().clone() };
    let huge = Message::Hosts(vec![mallory.sign(huge)]);
    this.refused("all slots", "bad_record", &huge);
    this.scene.serves(&before);
}

/// Who says "your disk was set back", or "there are two of you", ends nobody.
#[test]
fn a_coordinator_ends_nobodys_identity_by_lies_about_the_past() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let ids: Vec<_> =
        scene.nodes.iter().map(|node| node.api.get("/v1/network").ok()["peerId"].clone()).collect();
    let heard: Mutex<Option<Beat>> = Mutex::new(None);
    let manner = move |_: NodeId, message: &Message| {
        let Message::Beat(beat) = message else { return Vec::new() };
        let proof = heard.lock().expect("nobody panics with it").replace(beat.clone());
        let lie = |written, twice, proof| {
            let past = Past { written, twice, proof };
            Message::Beaten(Beaten { run: beat.run, seq: beat.seq, owed: Tally::default(), past })
        };
        // With a true beat, with one that says more, and with none.
        let old = proof.as_ref().map(|beat| beat.into());
        let more = |mut mark: skyclaw_protocol::wire::BeatMark| {
            mark.written = u64::MAX;
            mark
        };
        vec![
            lie(u64::MAX, true, None),
            lie(u64::MAX, false, old.map(more)),
            lie(
                u64::MAX,
                true,
                old.map(|mark| skyclaw_protocol::wire::BeatMark { run: 1, ..mark }),
            ),
            lie(u64::MAX, true, old),
            lie(0, true, Some(more(beat.into()))),
        ]
    };
    let counter = faults("unproven");
    let mut mallory = None;
    scene.counted_by_all("lies about the past", &counter, || {
        let addresses = scene.addresses();
        mallory = Some(Mallory::with_manner("coordinator", &addresses, Box::new(manner)));
        // Beats come each second.
        eventually("some are told", || {
            let told: f64 = scene.nodes.iter().map(|node| node.api.metric(&counter)).sum();
            if told > 30.0 { Ok(()) } else { Err(format!("{told}")) }
        });
    });
    let mallory = mallory.expect("she came");
    // Her own beats: of any run, back and forth, about anybody.
    for seq in 0..50 {
        let alive = mallory.handle.coordinators().borrow().clone();
        let wall = Wall(now().ms + 10_000_000);
        let beat = Beat { run: seq % 3, seq, alive, wall, written: u64::MAX - seq };
        for node in mallory.handle.coordinators().borrow().iter() {
            mallory.tell(*node, Message::Beat(beat.clone()));
        }
    }
    for (node, id) in scene.nodes.iter().zip(ids) {
        assert_eq!(node.api.get("/v1/network").ok()["peerId"], id);
        assert_eq!(node.api.get("/readyz").status, 200, "{}", node.api.get("/readyz").text());
    }
    scene.serves(&before);
}

#[test]
fn a_coordinator_that_floods_is_refused_and_the_others_are_served() {
    let this = Coordinator::set();
    let before = this.scene.until_agreed();
    let mallory = &this.mallory;
    let job = this.scene.job(mallory, &this.scene.running);
    let ballot = Ballot { round: 1, proposer: mallory.id() };
    let unknown = |n: usize| RegisterKey {
        subject: Subject::Job(JobId::new(format!("job_unknown_{n}")).expect("an id")),
        spec: Hash([7; 32]),
    };
    let keys = |most: usize| (0..most).map(unknown);
    let prepare = |key| PrepareOp { key, ballot, spec: None };
    let too_many = MAX_BATCH_OPS + 1;
    let beat = Beat {
        run: 1,
        seq: 1,
        alive: vec![mallory.id(); MAX_BEAT_PEERS + 1],
        wall: Wall(now().ms),
        written: 1,
    };
    for (name, message) in [
        ("prepares", Message::Prepare(keys(too_many).map(prepare).collect())),
        ("wants", Message::Want(keys(too_many).collect())),
        ("known", Message::Beat(beat)),
    ] {
        this.refused(name, "too_many_ops", &message);
    }
    // What only a host or a caller asks.
    let ask = |command| AskOp { seq: 9, command, idempotency: None };
    let asks = vec![
        ask(Command::RemoveHost { host: host_id("honest-host") }),
        ask(Command::Claim { host: host_id("honest-host"), wait_ms: 1, without: Vec::new() }),
        ask(Command::Heartbeat { host: host_id("honest-host"), active: None, running: None }),
        ask(Command::Leave { host: host_id("honest-host") }),
    ];
    for one in asks {
        this.refused("asks what is not passed on", "not_the_owner", &Message::Ask(vec![one]));
    }
    // Nested without end, in her own hand.
    let mut deep = mallory.sign(result_of(&job, &this.scene.job_id(&this.scene.running)));
    deep.body = vec![0x81; 60_000];
    deep.proof = Proof::alone(mallory.key.sign(mallory.network, "certificate", &deep.body));
    this.refused("nested without end", "bad_record", &Message::Known(vec![bare(deep.clone())]));
    // Longer than a frame may be: the stream ends, and Mallory opens another one.
    let long = Raw { body: vec![0; 13 << 20], ..deep };
    this.scene.counted_by_all("a long frame", "skyclaw_frames_refused_total", || {
        for node in &this.nodes {
            mallory.tell(*node, Message::Known(vec![bare(long.clone())]));
        }
    });
    // Once each, so before they have more to do than they answer in time.
    for ask in [vec![0xff; 100], codec::encode(&RepairAsk::Fetch(Vec::new()))] {
        this.scene.counted_by_all("nonsense in repair", "skyclaw_repair_refused_total", || {
            for node in &this.nodes {
                assert!(mallory.ask_raw(*node, Service::Repair, ask.clone()).is_err());
            }
        });
    }
    // As many as fit, of what nobody knows; meanwhile the others are served.
    for _ in 0..50 {
        for node in &this.nodes {
            mallory
                .handle
                .send(*node, Message::Prepare(keys(MAX_BATCH_OPS).map(prepare).collect()));
            mallory.handle.send(*node, Message::Want(keys(MAX_BATCH_OPS).collect()));
            mallory.handle.send(*node, Message::Want(vec![job.key(); MAX_BATCH_OPS]));
            mallory.handle.send(*node, Message::List(None));
            let answer = Err(skyclaw_protocol::Refusal::Stopping);
            let tell = TellOp { seq: 1, answer, known: Some(Box::new(job.known.clone())) };
            mallory.handle.send(*node, Message::Tell(vec![tell]));
        }
    }
    let begun = std::time::Instant::now();
    this.scene.serves(&before);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
