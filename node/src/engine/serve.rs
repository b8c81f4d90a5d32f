//! One incarnation: a machine over an open store, until told to stop or the store fails.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::Instant;

use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::clock::Now;
use skyclaw_protocol::limits::{MAX_BATCH_BYTES, MAX_BATCH_OPS};
use skyclaw_protocol::machine::{Effect, Machine, Token};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{HostId, Refusal};
use skyclaw_store::{CommitError, Opened, Reader, Store};
use tokio::sync::oneshot;

use super::{End, Input, Life, ReplySender, Status, Witness, chain};
use crate::limits::{EARLIEST_WALL_MS, ENGINE_TICK, SILENCE_LOOK};
use crate::time;

struct Incarnation<'a> {
    life: &'a Life,
    machine: Machine,
    store: Store,
    reader: Reader,
    waiting: HashMap<Token, ReplySender>,
    /// Told after the next commit. No more than one round takes from the inbox.
    marks: Vec<oneshot::Sender<()>>,
    space: SpaceWatch,
    silent: SilenceWatch,
}

/// Hosts that are silent, looked for once a second: nothing else changes when one falls silent.
struct SilenceWatch {
    looked: Instant,
    hosts: BTreeSet<HostId>,
}

/// Free space, looked up at most once per tick unless it is low: new work is refused then.
struct SpaceWatch {
    checked: Instant,
    low: Option<String>,
}

impl SpaceWatch {
    /// Looks now; says so in the log when it became low or has recovered since `before`.
    fn look(reader: &Reader, before: Option<&str>) -> Self {
        let low = reader.space_check().err().map(|low| low.to_string());
        match (before, &low) {
            (None, Some(low)) => tracing::error!("no new work is taken: {low}"),
            (Some(_), None) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
        Self { checked: Instant::now(), low }
    }
}

impl Life {
    /// Why nothing new is taken now.
    fn closed(&self, space: &SpaceWatch) -> Option<Refusal> {
        if time::wall().0 < EARLIEST_WALL_MS {
            return Some(Refusal::Clock(
                "the clock of this machine is not set: it stands before 2026".into(),
            ));
        }
        let off = self.shared.clock_off().map(Refusal::Clock);
        off.or_else(|| space.low.clone().map(Refusal::LowSpace))
    }

    /// Serves `opened`; `started` is told once requests find it.
    pub(super) fn serve(&self, opened: Opened, started: &SyncSender<()>) -> End {
        let Opened { store, reader, key, snapshot, .. } = opened;
        let mut seed = [0; 32];
        rand::fill(&mut seed);
        let (now, node) = (time::now(), key.id());
        let own = key.clone();
        let mut machine = Machine::new(self.config.machine.clone(), key, seed, now, snapshot);
        match reader.live(|register| machine.load(now, register)) {
            Ok(registers) => tracing::info!(%node, registers, "store opened"),
            Err(error) => return End::StoreFailed(chain(&error)),
        }
        let space = SpaceWatch::look(&reader, None);
        machine.set_closed(self.closed(&space));
        machine.set_peers(now, self.shared.coordinators());
        machine.revoke(now, self.shared.revoked());
        let (known_and_alive, seen) = self.shared.outside();
        machine.set_outside(now, &reader, known_and_alive, seen);
        let mut incarnation = Incarnation {
            life: self,
            machine,
            store,
            reader: reader.clone(),
            waiting: HashMap::new(),
            marks: Vec::new(),
            space,
            silent: SilenceWatch { looked: Instant::now(), hosts: BTreeSet::new() },
        };
        self.shared.set_gauges(incarnation.machine.gauges());
        self.shared.set_duties(incarnation.machine.duties());
        self.shared.set_controls(incarnation.machine.controls());
        self.shared.set_key(own);
        self.shared.set_reader(Some(reader));
        self.shared.set_status(Status::Ready);
        // Whoever waits is told once: later incarnations find the channel closed.
        let _ = started.try_send(());
        incarnation.run()
    }
}

impl Incarnation<'_> {
    fn run(&mut self) -> End {
        let mut stopping = false;
        // Registers led before the start may have something to say already.
        if let Err(reason) = self.drain(time::now()) {
            return End::StoreFailed(reason);
        }
        loop {
            let patience = self
                .machine
                .next_timeout()
                .map_or(ENGINE_TICK, |at| time::now().mono.until(at).min(ENGINE_TICK));
            match self.life.inbox.recv_timeout(patience) {
                Ok(input) => {
                    stopping |= self.take(input);
                    // Whatever waits joins this commit, up to its bounds.
                    for _ in 1..MAX_BATCH_OPS {
                        if self.machine.pending_bytes() > MAX_BATCH_BYTES {
                            break;
                        }
                        let Ok(input) = self.life.inbox.try_recv() else { break };
                        stopping |= self.take(input);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.store.settle_beside() {
                        return End::StoreFailed(self.store_failed(&error));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => stopping = true,
            }
            let now = time::now();
            self.look_for_room(false);
            self.machine.expire(now, &self.reader);
            self.look_at_clock(now);
            self.look_for_silence(now);
            if let Some(fence) = self.machine.fenced() {
                let why = Refusal::Store(fence.to_string());
                self.refuse_all(&why);
                return End::Fenced(fence);
            }
            if let Err(reason) = self.drain(now) {
                return End::StoreFailed(reason);
            }
            for mark in self.marks.drain(..) {
                let _ = mark.send(());
            }
            if stopping {
                self.refuse_all(&Refusal::Stopping);
                return End::Stopped;
            }
        }
    }

    /// True if asked to stop.
    fn take(&mut self, input: Input) -> bool {
        let is_new = match &input {
            Input::Call { command, .. } => command.begins(),
            Input::Frame { message, .. } => {
                matches!(message, Message::Ask(_) | Message::Accept(_) | Message::Prepare(_))
            }
            _ => false,
        };
        self.look_for_room(is_new);
        match input {
            Input::Call { token, command, idempotency, reply } => {
                self.life.shared.count_command();
                self.waiting.insert(token, reply);
                self.machine.handle(time::now(), &self.reader, token, command, idempotency);
            }
            Input::HangUp(token) => self.machine.hang_up(&self.reader, token),
            Input::Undelivered(answer) => self.machine.undelivered(time::now(), &answer),
            Input::Drain => self.machine.drain(time::now()),
            Input::Frame { from, message } => {
                let faults = self.machine.receive(time::now(), &self.reader, from, message);
                if !faults.is_empty() {
                    tracing::debug!(node = %from, ?faults, "a frame broke the rules");
                    self.life.shared.count_faults(&faults);
                }
            }
            Input::Learn { from, learned } => {
                let faults = self.machine.learn(time::now(), &self.reader, from, learned);
                self.life.shared.count_faults(&faults);
            }
            Input::HandedOver { duties, jobs } => {
                self.machine.handed_over(time::now(), &self.reader, &duties, &jobs);
            }
            Input::Mark(mark) => self.marks.push(mark),
            Input::Coordinators(nodes) => {
                self.machine.set_peers(time::now(), nodes.clone());
                self.life.shared.set_coordinators(nodes);
            }
            Input::Revoked(nodes) => {
                self.machine.revoke(time::now(), nodes.clone());
                self.life.shared.set_revoked(nodes);
            }
            Input::Gone(node) => self.machine.refused_by(time::now(), node),
            Input::Outside { known, alive, seen } => {
                self.machine.set_outside(time::now(), &self.reader, (known, alive), seen);
                self.life.shared.set_outside((known, alive), seen);
            }
            Input::Witnessed { subject, ballot, ver, by } => {
                self.machine.witnessed(time::now(), &self.reader, &subject, (ballot, ver), by);
            }
            Input::HostWays { host, reply } => {
                let _ = reply.send(Ok(self.machine.host_ways(&host)));
            }
            Input::WhyService { id, only, reply } => {
                let why = self.machine.why_service(time::now(), &id, only.as_ref());
                let _ = reply.send(Ok(why));
            }
            Input::WhyHost { id, reply } => {
                let _ = reply.send(Ok(self.machine.why_host(time::now(), &id)));
            }
            Input::WhyHosts { ids, reply } => {
                let _ = reply.send(Ok(self.machine.why_hosts(time::now(), &ids)));
            }
            Input::Hosts(reply) => {
                let _ = reply.send(Ok(self.machine.host_views()));
            }
            Input::Stop => return true,
        }
        false
    }

    /// The machine takes nothing new while the disk is nearly full or the clock was never set.
    fn look_for_room(&mut self, is_new: bool) {
        // While it is low whatever would be new looks, so that what `/readyz` says holds at once.
        let anew = is_new && self.space.low.is_some();
        if anew || self.space.checked.elapsed() > ENGINE_TICK {
            self.space = SpaceWatch::look(&self.reader, self.space.low.as_deref());
        }
        self.machine.set_closed(self.life.closed(&self.space));
    }

    /// Tells those who follow of hosts that fell silent, and of those that are heard again.
    fn look_for_silence(&mut self, now: Now) {
        if self.silent.looked.elapsed() < SILENCE_LOOK {
            return;
        }
        self.silent.looked = Instant::now();
        let silent = self.machine.silent_hosts(now);
        self.life.shared.set_silent_hosts(silent.len());
        let news: Vec<Shown> =
            silent.symmetric_difference(&self.silent.hosts).cloned().map(Shown::Host).collect();
        if !news.is_empty() {
            self.life.shared.changed(news);
        }
        self.silent.hosts = silent;
    }

    /// Says so in the log when this machine's clock left that of the others, or is back.
    fn look_at_clock(&mut self, now: Now) {
        let off = self.machine.clock_off(now).map(|ms| {
            let (seconds, how) =
                (ms.unsigned_abs() / 1000, if ms > 0 { "behind" } else { "ahead" });
            // Minutes: a text that does not change with every beat.
            let minutes = seconds.div_ceil(60);
            format!(
                "the clock of this machine is {how} of that of most other coordinators by about \
                 {minutes} min: set it right (NTP)"
            )
        });
        let before = self.life.shared.clock_off();
        if before == off {
            return;
        }
        match &off {
            Some(off) => tracing::error!("no new work is taken: {off}"),
            None => tracing::info!("the clock of this machine agrees with the others again"),
        }
        self.life.shared.set_clock_off(off);
    }

    /// Writes and releases until nothing is left to do.
    fn drain(&mut self, now: Now) -> Result<(), String> {
        if let Err(error) = self.store.health() {
            return Err(self.store_failed(&error));
        }
        loop {
            let mut progressed = false;
            if let Some(step) = self.machine.take_step() {
                progressed = true;
                self.deliver(step.early);
                if let Some(batch) = step.batch {
                    let shown = batch.shown().filter(|shown| !self.machine.leaves_here(shown));
                    let shown: Vec<Shown> = shown.collect();
                    match self.store.commit(batch) {
                        Ok(durable) => {
                            self.life.shared.changed(shown);
                            // All that the machine holds of them was in this batch, or before.
                            self.life.shared.set_controls(self.machine.controls());
                            self.machine.durable(time::now(), &self.reader, &durable);
                        }
                        Err(error) => return Err(self.store_failed(&error)),
                    }
                }
            }
            self.machine.settle(now, &self.reader);
            let effects = self.machine.take_effects();
            progressed |= !effects.is_empty();
            // Whoever is answered finds what was answered in the numbers, too.
            self.life.shared.set_gauges(self.machine.gauges());
            self.life.shared.set_duties(self.machine.duties());
            self.deliver(effects);
            if !progressed {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { to, answer, grant } => {
                    let Some(reply) = self.waiting.remove(&to) else { continue };
                    if let Err(Ok(answer)) = reply.send(answer)
                        && grant
                    {
                        self.machine.undelivered(time::now(), &answer);
                    }
                }
                Effect::Witness { subject, ballot, val } => {
                    self.life.shared.witness(Witness { subject, ballot, val });
                }
                Effect::Publish(message) => {
                    if let Some(net) = self.life.shared.net() {
                        net.publish(message);
                    }
                }
                Effect::Probe(node) => {
                    if let Some(net) = self.life.shared.net() {
                        net.probe(node);
                    }
                }
                // What does not get there is repeated by the machine while it matters.
                Effect::Send { to, message } => {
                    if let Some(net) = self.life.shared.net() {
                        net.send(to, message);
                    }
                }
            }
        }
    }

    /// Tells all who wait; why, for whoever goes on.
    fn store_failed(&mut self, error: &CommitError) -> String {
        let reason = chain(error);
        self.refuse_all(&Refusal::Store(reason.clone()));
        reason
    }

    fn refuse_all(&mut self, refusal: &Refusal) {
        for (_, reply) in self.waiting.drain() {
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}
