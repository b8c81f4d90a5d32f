//! Coordinators as their engines drive them, without threads and sockets: the machine, and the store on a
//! real file. Time stands still.

use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::clock::{Mono, Now, Wall};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::machine::{Config, Effect, Machine, Token};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{
    Command, Completion, HostId, JobId, JobRequest, Milli, NetworkId, NodeId, Refusal,
};
use skyclaw_protocol::{codec, learned};
use skyclaw_store::{Opened, Options, Store};
use tempfile::TempDir;

/// Jobs of one batch: as many as a commit has under load.
pub(crate) const BATCH: u64 = 64;

const NOW: Now = Now { mono: Mono(3_600_000_000_000), wall: Wall(1_800_000_000_000) };

/// One coordinator.
pub(crate) struct Node {
    id: NodeId,
    machine: Machine,
    opened: Opened,
    folder: TempDir,
    options: Options,
    config: Config,
    asked: u64,
    answers: Vec<Result<KeyAnswer, Refusal>>,
    published: Vec<Message>,
}

/// Two of them, or one, and the frames between them.
pub(crate) struct Net {
    nodes: Vec<Node>,
    under_way: Vec<(NodeId, NodeId, Message)>,
}

fn config(replicas: usize) -> Config {
    Config { replicas, ..Config::usual(NetworkId::of_name("instructions"), "bench") }
}

/// A job as clients send them.
pub(crate) fn submission(n: u64) -> Command {
    let args: Vec<String> = (0..8).map(|arg| format!("\"--argument-{n}-{arg}\"")).collect();
    let payload = format!(r#"{{"kind":"shell","command":"true","args":[{}]}}"#, args.join(","));
    Command::Submit(JobRequest::new(payload.into_bytes(), vec!["shell".into()]))
}

impl Node {
    fn new(seed: u8, replicas: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let options = Options { ballast_bytes: 0, ..Options::new([seed; 32]) };
        let opened = Store::open(folder.path().join("node.db"), &options).expect("a new store");
        let config = config(replicas);
        let (id, machine) = start(&opened, &config, seed);
        let (answers, published) = (Vec::new(), Vec::new());
        Self { id, machine, opened, folder, options, config, asked: 0, answers, published }
    }

    /// Hands over what there is to do, writes and releases until nothing is left. Returns frames.
    fn drain(&mut self) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        loop {
            let mut effects = Vec::new();
            if let Some(step) = self.machine.take_step() {
                effects.extend(step.early);
                if let Some(batch) = step.batch {
                    let durable = self.opened.store.commit(batch).expect("the disk works");
                    self.machine.durable(NOW, &self.opened.reader, &durable);
                }
            }
            self.machine.settle(NOW, &self.opened.reader);
            effects.extend(self.machine.take_effects());
            if effects.is_empty() {
                return sent;
            }
            for effect in effects {
                match effect {
                    Effect::Reply { answer, .. } => self.answers.push(answer),
                    Effect::Send { to, message } => sent.push((to, message)),
                    Effect::Publish(message) => self.published.push(message),
                    Effect::Witness { .. } | Effect::Probe(_) => {}
                }
            }
        }
    }
}

fn start(opened: &Opened, config: &Config, seed: u8) -> (NodeId, Machine) {
    let key: NodeKey = opened.key.clone();
    let snapshot = skyclaw_protocol::batch::Snapshot {
        clock: opened.snapshot.clock,
        version: opened.snapshot.version,
        hosts: opened.snapshot.hosts.clone(),
        controls: opened.snapshot.controls.clone(),
        gc_floor: opened.snapshot.gc_floor,
        batches: opened.snapshot.batches,
    };
    let id = key.id();
    (id, Machine::new(config.clone(), key, [seed; 32], NOW, snapshot))
}

impl Net {
    /// Coordinators of which each keeps every job.
    pub(crate) fn new(count: u8) -> Self {
        Self::of(count, usize::from(count))
    }

    /// Coordinators, and on how many of them a job is kept.
    pub(crate) fn of(count: u8, copies: usize) -> Self {
        let mut nodes: Vec<Node> = (1..=count).map(|seed| Node::new(seed, copies)).collect();
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        for node in &mut nodes {
            let peers = ids.iter().copied().filter(|id| *id != node.id).collect();
            node.machine.set_peers(NOW, peers);
        }
        let mut net = Self { nodes, under_way: Vec::new() };
        net.quiet();
        net
    }

    /// Asks the first node, without waiting.
    pub(crate) fn ask(&mut self, command: Command) {
        let node = &mut self.nodes[0];
        node.asked += 1;
        let token = Token(node.asked);
        node.machine.handle(NOW, &node.opened.reader, token, command, None);
    }

    /// Goes on until no frame is under way.
    pub(crate) fn quiet(&mut self) {
        loop {
            for node in &mut self.nodes {
                let from = node.id;
                let sent = node.drain();
                self.under_way.extend(sent.into_iter().map(|(to, message)| (from, to, message)));
            }
            if self.under_way.is_empty() {
                return;
            }
            for (from, to, message) in std::mem::take(&mut self.under_way) {
                if let Some(node) = self.nodes.iter_mut().find(|node| node.id == to) {
                    let reader = &node.opened.reader;
                    let faults = node.machine.receive(NOW, reader, from, message);
                    assert!(faults.is_empty(), "{faults:?}");
                }
            }
        }
    }

    /// What the first node answered since the last time, of `count` asked.
    pub(crate) fn answers(&mut self, count: u64) -> Vec<KeyAnswer> {
        let answers: Vec<KeyAnswer> = self.nodes[0]
            .answers
            .drain(..)
            .map(|answer| answer.expect("nothing is refused here"))
            .collect();
        assert_eq!(answers.len() as u64, count, "answers");
        answers
    }

    /// Submits `count` jobs, so many in a batch. Returns their ids.
    pub(crate) fn submitted(&mut self, count: u64) -> Vec<JobId> {
        let mut ids = Vec::new();
        for from in (0..count).step_by(BATCH as usize) {
            let some = BATCH.min(count - from);
            (from..from + some).for_each(|n| self.ask(submission(n)));
            self.quiet();
            ids.extend(self.answers(some).into_iter().map(|answer| match answer {
                KeyAnswer::Job(at) => at.job,
                other => unreachable!("{other:?}"),
            }));
        }
        ids
    }

    /// A host that takes that many jobs at once.
    pub(crate) fn host(&mut self, max_parallel: u64) -> HostId {
        self.ask(Command::RegisterHost {
            id: Some(HostId::new("host-1").expect("an id")),
            name: "host".into(),
            capabilities: vec!["shell".into()],
            max_parallel: Milli::whole(max_parallel),
            node: None,
            openclaw: None,
        });
        self.quiet();
        match self.answers(1).remove(0) {
            KeyAnswer::Host(host) => host.id,
            other => unreachable!("{other:?}"),
        }
    }

    /// Lets a host have that many jobs; which ones.
    pub(crate) fn claimed(&mut self, host: &HostId, count: u64) -> Vec<JobId> {
        claims(self, host, count);
        let answers = self.answers(count).into_iter();
        let job = |answer| match answer {
            KeyAnswer::Job(at) => at.job,
            other => unreachable!("{other:?}"),
        };
        answers.map(job).collect()
    }

    /// The second node hears of something by gossip.
    pub(crate) fn hear(&mut self, frame: &[u8]) {
        let from = self.nodes[0].id;
        let message: Message = codec::decode(frame, frame.len()).expect("our own frame");
        let network = self.nodes[1].config.network;
        let learned = learned::check(message, network, NOW.wall).expect("our own records");
        let node = &mut self.nodes[1];
        let faults = node.machine.learn(NOW, &node.opened.reader, from, learned);
        assert!(faults.is_empty(), "{faults:?}");
    }

    /// What the first node gossiped.
    pub(crate) fn published(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.nodes[0].published)
    }

    /// What was committed is in redb as well. Else whoever stops next does what the settler had no time for, which
    /// is another count each time.
    pub(crate) fn settle(&mut self) {
        for node in &mut self.nodes {
            node.opened.store.settle().expect("the disk works");
        }
    }

    /// The first node stops, and starts from its file.
    pub(crate) fn restart(mut self) -> Self {
        let Node { id, opened, folder, options, config, .. } = self.nodes.remove(0);
        drop(opened);
        let opened = Store::open(folder.path().join("node.db"), &options).expect("its own store");
        let (again, mut machine) = start(&opened, &config, 1);
        assert_eq!(id, again);
        let loaded = opened.reader.live(|register| machine.load(NOW, register));
        loaded.expect("the disk works");
        let (answers, published) = (Vec::new(), Vec::new());
        let node =
            Node { id, machine, opened, folder, options, config, asked: 0, answers, published };
        Self { nodes: vec![node], under_way: Vec::new() }
    }
}

/// `count` claims of one batch.
pub(crate) fn claims(net: &mut Net, host: &HostId, count: u64) {
    for _ in 0..count {
        let (host, without) = (host.clone(), Vec::new());
        net.ask(Command::Claim { host, wait_ms: 0, without });
    }
    net.quiet();
}

/// Reports of these jobs, in one batch.
pub(crate) fn completions(net: &mut Net, host: &HostId, jobs: &[JobId]) {
    for job in jobs {
        net.ask(Command::Complete(Completion {
            job: job.clone(),
            host: host.clone(),
            attempt: None,
            success: true,
            duration: Some(Milli::whole(5)),
            exit_code: Some(0),
            stdout: Some("done\n".repeat(20)),
            stderr: Some(String::new()),
            error: None,
            outputs: Vec::new(),
            agent: None,
            receipt: None,
        }));
    }
    net.quiet();
}
