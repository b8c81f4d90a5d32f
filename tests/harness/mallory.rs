//! A malicious member: the network part of a node, with a key of its own, that says whatever a test
//! wants.
//!
//! Always: it is let in like any other member, by the handshake; what it sends travels as everybody's
//! frames, gossip, questions and tunnels do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use skyclaw_node::net::{
    AskError, Description, Duty, Listen, Membership, Net, NetConfig, NetHandle, OpenError, Service,
    Sink, Tunnel,
};
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::oath::{Point, Said, Sworn, swear};
use skyclaw_protocol::record::spec::{RegisterKey, Subject};
use skyclaw_protocol::record::{Raw, Record, Signed};
use skyclaw_protocol::register::Certificate;
use skyclaw_protocol::wire::{AcceptOp, Known, Message, PromiseVerdict, Sought, Verdict};
use skyclaw_protocol::{Completion, HostId, JobId, NetworkId, NodeId, codec};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::lan::{Place, enter};
use crate::wait::eventually;

/// The network of the tests' nodes, whose token is `secret`.
const NETWORK: &str = "local";

/// Frames kept of those that came last.
const EARS: usize = 20_000;

/// How long an answer may take: claims are held for a while.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it says to a frame of somebody.
pub type Manner = dyn Fn(NodeId, &Message) -> Vec<Message> + Send + Sync;

/// A report of a run that never was, in the name of that host.
#[must_use]
pub fn made_up(host: HostId, job: JobId, attempt: Option<u32>) -> Completion {
    Completion {
        job,
        host,
        attempt,
        success: true,
        duration: None,
        exit_code: Some(0),
        stdout: Some("evil\n".into()),
        stderr: None,
        error: None,
        outputs: Vec::new(),
        agent: None,
        receipt: None,
    }
}

/// It goes when it is dropped.
#[derive(Debug)]
pub struct Mallory {
    /// Its own.
    pub key: NodeKey,
    /// Of all that it signs.
    pub network: NetworkId,
    /// Whom it knows, and how it sends.
    pub handle: NetHandle,
    ears: Arc<Ears>,
    net: Option<Net>,
    runtime: Runtime,
    _folder: TempDir,
}

/// What it hears.
struct Ears {
    frames: Mutex<VecDeque<(NodeId, Message)>>,
    manner: Box<Manner>,
    mouth: OnceLock<NetHandle>,
    key: NodeKey,
    network: NetworkId,
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears").finish_non_exhaustive()
    }
}

impl Ears {
    fn keep(&self, from: NodeId, message: Message) {
        let mut frames = self.frames.lock().expect("nobody panics with it");
        if frames.len() == EARS {
            frames.pop_front();
        }
        frames.push_back((from, message));
    }
}

impl Ears {
    /// Votes and promises as a voter says them: under oath. What was asked tells what is voted for.
    fn sworn(&self, asked: &Message, answer: Message) -> Message {
        match (asked, answer) {
            (Message::Accept(proposed), Message::Vote(mut votes)) => {
                for vote in votes.iter_mut().filter(|it| it.verdict == Verdict::Accepted) {
                    let of = |op: &&AcceptOp| op.key == vote.key && op.val.ver == vote.ver;
                    let point = proposed.iter().find(of).map(|op| Point::of(vote.ballot, &op.val));
                    vote.sworn = point.map(|point| self.swear(&vote.key, Said::Accepted(point)));
                }
                Message::Vote(votes)
            }
            (_, Message::Promise(mut promises)) => {
                for promise in &mut promises {
                    if let PromiseVerdict::Promised(accepted) = &promise.verdict {
                        let said = Said::promised(promise.ballot, accepted.as_deref());
                        promise.sworn = Some(self.swear(&promise.key, said));
                    }
                }
                Message::Promise(promises)
            }
            (_, answer) => answer,
        }
    }

    fn swear(&self, key: &RegisterKey, said: Said) -> Sworn {
        swear(&self.key, self.network, [(key, &said)]).remove(0)
    }
}

impl Sink for Ears {
    fn frame(&self, from: NodeId, message: Message) -> bool {
        if let Some(mouth) = self.mouth.get() {
            for answer in (self.manner)(from, &message) {
                mouth.send(from, self.sworn(&message, answer));
            }
        }
        self.keep(from, message);
        true
    }

    /// Kept like frames.
    fn learned(&self, from: NodeId, learned: Vec<Learned>) -> bool {
        for one in learned {
            let message = match one {
                Learned::Register(standing) => {
                    let (certificate, spec, result) = standing.into_parts();
                    Message::Known(vec![Known {
                        certificate: certificate.raw().clone(),
                        spec: spec.map(|spec| spec.raw().clone()),
                        result: result.map(|result| result.raw().clone()),
                    }])
                }
                Learned::Host(host) => Message::Hosts(vec![host.raw().clone()]),
                Learned::Stub(_) | Learned::Work(_) | Learned::Control(_) => continue,
            };
            self.keep(from, message);
        }
        true
    }

    fn gone(&self, _: NodeId) {}

    /// It answers nothing.
    fn answer(&self, _: Service, _: NodeId, _: Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(futures::future::ready(None))
    }
}

impl Mallory {
    /// A member with this role that is connected to coordinators at these addresses, and says nothing
    /// of its own accord.
    #[track_caller]
    pub fn join(role: &str, addresses: &[String]) -> Self {
        Self::with_manner(role, addresses, Box::new(|_, _| Vec::new()))
    }

    /// The same, answering frames in its manner.
    #[track_caller]
    pub fn with_manner(role: &str, addresses: &[String], manner: Box<Manner>) -> Self {
        let this = Self::start(role, Some("secret"), addresses, manner, None);
        this.until_in(addresses.len());
        this
    }

    /// Waits until it is connected to so many coordinators.
    #[track_caller]
    pub fn until_in(&self, count: usize) {
        eventually("Mallory is let in", || {
            let met = self.handle.coordinators().borrow().len();
            if met >= count { Ok(()) } else { Err(format!("{met} met")) }
        });
    }

    /// One that may not be let in; on a machine of a [`Lan`](crate::lan::Lan), or here on loopback.
    #[track_caller]
    pub fn start(
        role: &str,
        token: Option<&str>,
        addresses: &[String],
        manner: Box<Manner>,
        place: Option<Place>,
    ) -> Self {
        let here = if place.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        let go = move || {
            if let Some(Place(namespace)) = &place {
                enter(namespace);
            }
        };
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        // All that it opens is opened by its own threads, which are there.
        let runtime = threads.worker_threads(1).enable_all().on_thread_start(go).build();
        let runtime = runtime.expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        seed[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let key = NodeKey::from_seed(&seed);
        let membership = Membership::new(token, NETWORK);
        let network = membership.id();
        let handle = NetHandle::new(membership.clone());
        let ears = Arc::new(Ears {
            frames: Mutex::default(),
            manner,
            mouth: OnceLock::from(handle.clone()),
            key: key.clone(),
            network,
        });
        let bootstrap = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let listen = format!("/ip4/{here}/tcp/0").parse().expect("an address");
        let config = NetConfig {
            membership,
            listen: Listen::Asked(vec![listen]),
            external: Vec::new(),
            bootstrap,
            mdns: false,
            gossip: true,
            book: folder.path().join("mallory.peers"),
            about: Description {
                label: "mallory".into(),
                roles: vec![role.to_owned()],
                ..Description::default()
            },
            token: None,
        };
        let (sink, own, seen) = (Arc::<Ears>::clone(&ears), key.clone(), handle.clone());
        let start = async move { Net::start(config, &seen, &own, Vec::new, sink).await };
        let started = runtime.block_on(runtime.spawn(start)).expect("nothing panics");
        let net = started.expect("its network part starts");
        Self { key, network, handle, ears, net: Some(net), runtime, _folder: folder }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.key.id()
    }

    /// Signs anything.
    #[must_use]
    pub fn sign<T: Record>(&self, body: T) -> Raw {
        Signed::seal(&self.key, self.network, body).raw().clone()
    }

    /// Sends a frame.
    #[track_caller]
    pub fn tell(&self, to: NodeId, message: Message) {
        eventually("the frame is sent", || match self.handle.send(to, message.clone()) {
            true => Ok(()),
            false => Err("it has no room, or is not connected".to_owned()),
        });
    }

    /// Asks as a host.
    #[track_caller]
    pub fn ask(&self, to: NodeId, ask: &HostAsk) -> HostTell {
        let answer = self.ask_raw(to, Service::Host, codec::encode(ask)).expect("an answer");
        codec::decode(&answer, 64 << 20).expect("it reads")
    }

    /// Asks anything.
    ///
    /// # Errors
    /// There was no answer.
    pub fn ask_raw(&self, to: NodeId, service: Service, ask: Vec<u8>) -> Result<Vec<u8>, AskError> {
        self.runtime.block_on(self.handle.ask(to, service, ask, PATIENCE))
    }

    /// Opens a tunnel.
    ///
    /// # Errors
    /// It was not opened.
    pub fn open(&self, to: NodeId, duty: Duty, header: Vec<u8>) -> Result<Tunnel, OpenError> {
        self.runtime.block_on(self.handle.open(to, duty, header, PATIENCE))
    }

    /// Waits for something.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What it heard since it was asked last, in frames and by gossip.
    #[must_use]
    pub fn take_heard(&self) -> Vec<Message> {
        let mut frames = self.ears.frames.lock().expect("nobody panics with it");
        frames.drain(..).map(|(_, message)| message).collect()
    }

    /// What coordinators answer to the question for an id.
    #[track_caller]
    pub fn find_job(&self, id: &str) -> Known {
        let what = Sought::Job(skyclaw_protocol::JobId::new(id).expect("an id"));
        self.seek(what, |message| match message {
            Message::Known(all) => all.iter().find(|one| one.spec.is_some() && names(one, id)),
            _ => None,
        })
    }

    /// The record of a host.
    #[track_caller]
    pub fn find_host(&self, id: &str) -> Raw {
        let what = Sought::Host(skyclaw_protocol::HostId::new(id).expect("an id"));
        self.seek(what, |message| match message {
            Message::Hosts(all) => all.first(),
            _ => None,
        })
    }

    #[track_caller]
    fn seek<T: Clone>(&self, what: Sought, find: impl Fn(&Message) -> Option<&T>) -> T {
        self.ears.frames.lock().expect("nobody panics with it").clear();
        let nodes = self.handle.coordinators().borrow().clone();
        for node in nodes {
            self.tell(node, Message::Seek(vec![what.clone()]));
        }
        eventually("it is found", || {
            let frames = self.ears.frames.lock().expect("nobody panics with it");
            let found = frames.iter().find_map(|(_, message)| find(message)).cloned();
            found.ok_or_else(|| format!("{} frames", frames.len()))
        })
    }
}

fn names(known: &Known, id: &str) -> bool {
    let certificate = known.certificate.clone().reopen::<Certificate>();
    certificate.is_ok_and(|certificate| {
        matches!(&certificate.body().key.subject,
            Subject::Job(job) if job.as_str() == id)
    })
}

impl Drop for Mallory {
    fn drop(&mut self) {
        if let Some(net) = self.net.take() {
            self.runtime.block_on(net.stop());
        }
    }
}
