//! Clients: submit with and without a key, try again elsewhere after a 503 or silence, cancel.

use std::collections::BTreeMap;

use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::verify::{self, Verify};
use skyclaw_protocol::{Command, Hash, Idempotency, JobId, JobRequest};

use crate::clock::{MS, SECOND};
use crate::host::{GPU, Host};
use crate::net::{Party, Reply, What};
use crate::words::outcome;
use crate::world::{Event, Mutation, World};

/// Something a client does.
#[derive(Clone, Debug)]
pub(crate) enum ClientEvent {
    Submit,
    /// No answer came.
    Silence(u64),
    Again(u64),
    Cancel(JobId),
}

/// A request, and how often it was made.
#[derive(Clone, Debug)]
struct Wish {
    command: Command,
    key: Option<Idempotency>,
    tries: u32,
}

pub(crate) struct Client {
    party: Party,
    wishes: BTreeMap<u64, Wish>,
    /// Wishes that wait to be made again.
    later: BTreeMap<u64, Wish>,
}

const MOST_TRIES: u32 = 6;

/// The payload of a usual job.
const SHELL: &[u8] = br#"{"kind":"shell"}"#;

/// The payload of a job that must not begin twice.
pub(crate) const ONCE: &[u8] = br#"{"kind":"openclaw-agent"}"#;

/// The payload of a job that two hosts must agree about.
pub(crate) const VERIFIED: &[u8] = br#"{"kind":"shell","verify":true}"#;

/// As many of them.
pub(crate) const AGREE: usize = 2;

impl Client {
    pub(crate) const fn new(party: Party) -> Self {
        Self { party, wishes: BTreeMap::new(), later: BTreeMap::new() }
    }
}

impl World {
    pub(crate) fn client_event(&mut self, client: usize, event: ClientEvent) {
        match event {
            ClientEvent::Submit => {
                let gpu = self.dice.one_in(6) && self.hosts.iter().any(Host::has_gpu);
                let mut required = if gpu { vec![GPU.to_owned()] } else { Vec::new() };
                let once = self.dice.one_in(4);
                // Their runs follow one another: with long ones it would take too long.
                let able = self.hosts.iter().filter(|h| !gpu || h.has_gpu()).count();
                let short = self.scene.run <= 8 * SECOND;
                let verified = !once && self.dice.one_in(4) && short && able >= AGREE;
                let copies = if able > AGREE && self.dice.one_in(2) { 3 } else { 2 };
                if verified {
                    required.push(verify::CAPABILITY.to_owned());
                }
                let verify = Verify { copies, agree: 2 };
                let request = JobRequest {
                    payload: if once {
                        ONCE
                    } else if verified {
                        VERIFIED
                    } else {
                        SHELL
                    }
                    .to_vec(),
                    required,
                    submitted_by: None,
                    max_attempts: (!once && self.dice.one_in(8)).then_some(2),
                    timeout_ms: None,
                    retry: (self.dice.one_in(8) && !verified).then_some(1),
                    queue_timeout_ms: None,
                    once: once && self.mutation != Some(Mutation::BlindRepeat),
                    verify: (verified && self.mutation != Some(Mutation::Unverified))
                        .then_some(verify),
                };
                let number = self.name();
                let key = self.dice.one_in(3).then(|| Idempotency {
                    scope: Hash::of(format!("{client} {number}").as_bytes()),
                    fingerprint: Hash::of(b"request"),
                    route: "/v1/jobs".into(),
                });
                self.wish(client, Wish { command: Command::Submit(request), key, tries: 0 });
            }
            ClientEvent::Cancel(job) => {
                let command = Command::Cancel { job };
                self.wish(client, Wish { command, key: None, tries: 3 });
            }
            ClientEvent::Silence(call) => {
                if let Some(wish) = self.clients[client].wishes.remove(&call) {
                    self.again(client, wish);
                }
            }
            ClientEvent::Again(call) => {
                if let Some(wish) = self.clients[client].later.remove(&call) {
                    self.wish(client, wish);
                }
            }
        }
    }

    fn wish(&mut self, client: usize, mut wish: Wish) {
        wish.tries += 1;
        let to = self.dice.index(self.nodes.len());
        let call = self.name();
        let from = self.clients[client].party;
        self.say(|_| format!("client {client}->{to} {call} {:?}", wish.command));
        self.post(from, to, What::Call(call, Box::new(wish.command.clone()), wish.key.clone()));
        self.clients[client].wishes.insert(call, wish);
        self.after(5 * SECOND, Event::Client(client, ClientEvent::Silence(call)));
    }

    fn again(&mut self, client: usize, wish: Wish) {
        if wish.tries < MOST_TRIES && !self.healed {
            let call = self.name();
            self.clients[client].later.insert(call, wish);
            let pause = self.dice.within(100, 2000) * MS;
            self.after(pause, Event::Client(client, ClientEvent::Again(call)));
        }
    }

    pub(crate) fn client_answered(&mut self, client: usize, call: u64, reply: Reply) {
        let Some(wish) = self.clients[client].wishes.remove(&call) else { return };
        self.say(|_| format!("client {client} {call}: {}", outcome(&reply)));
        match (&wish.command, reply) {
            (Command::Submit(_), Ok(KeyAnswer::Job(at))) if self.dice.one_in(8) => {
                let pause = self.dice.below(20 * SECOND);
                self.after(pause, Event::Client(client, ClientEvent::Cancel(at.job)));
            }
            (Command::Cancel { job }, Ok(KeyAnswer::Job(at))) => self.laws.settled(job, &at.val),
            (Command::Submit(_), Err(_)) => self.again(client, wish),
            _ => {}
        }
    }
}
