//! Carries out what the agent decides about services: one task, one owner of all state.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skyclaw_protocol::orders::{Order, Orders, Question};
use skyclaw_protocol::{Hash, HostId, ServiceReport};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::agent::{Action, End, Pace, Reply, Said, ServiceAgent};
use super::process::{Home, Process, Up};
use super::table::Entry;
use super::{InstanceId, Services, health};
use crate::host::{Coordinator, PortError, due, ready};
use crate::supervisor::{LogRing, Supervisor};
use crate::time;

/// How long a coordinator is asked to hold a question.
const ORDERS_WAIT: Duration = Duration::from_secs(20);

/// The same while some instance is to stop when nobody answers: answers must come often.
const GUARDED_WAIT: Duration = Duration::from_secs(1);

/// While an instance is to be dead at some moment the clocks are looked at so often: timers of the
/// system do not count the time that the machine sleeps.
const LOOK: Duration = Duration::from_millis(250);

/// No two questions follow closer than this, however quickly answers change.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// Pause after a question that nobody answered.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a stopping host waits until it was heard that its services go: gateways then lead
/// nothing here any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Beyond the grace of instances, until the last one is gone.
const STOP_SLACK: Duration = Duration::from_secs(6);

/// Instances that began to serve and are not yet looked at.
const UPS: usize = 64;

enum Event {
    Told {
        asked: Duration,
        begun: Instant,
        answer: Result<Orders, PortError>,
    },
    Reported(InstanceId, Result<(), PortError>),
    Ended(InstanceId, u64, End),
    Up(Up),
    /// The host was registered, again.
    Registered,
    /// Something nobody waits for is done.
    Done,
}

/// An instance's own.
struct Own {
    home: Arc<Mutex<Home>>,
    stop: watch::Sender<Option<Duration>>,
    until: watch::Sender<Option<Duration>>,
    order: Box<Order>,
}

struct Driver<'a> {
    services: Services,
    coordinator: &'a dyn Coordinator,
    supervisor: &'a Supervisor,
    host: watch::Receiver<HostId>,
    client: reqwest::Client,
    agent: ServiceAgent,
    own: HashMap<InstanceId, Own>,
    pending: FuturesUnordered<BoxFuture<'a, Event>>,
    ups: (mpsc::Sender<Up>, mpsc::Receiver<Up>),
    /// The question under way; none while it waits for `ask_at`.
    ask: Option<BoxFuture<'a, Event>>,
    ask_at: Instant,
    /// Nothing is asked any more.
    stopping: bool,
    mark: Option<Hash>,
    /// What was said last about questions that fail.
    trouble: Option<String>,
}

/// Runs the services of a registered host until `stop`, and then until none is left.
pub(crate) async fn run(
    services: Services,
    coordinator: &dyn Coordinator,
    supervisor: &Supervisor,
    host: watch::Receiver<HostId>,
    stop: CancellationToken,
) {
    let client = match health::client() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!("no services are run: {error}");
            return;
        }
    };
    let mut driver = Driver::new(services, coordinator, supervisor, host, client);
    loop {
        driver.act();
        driver.question();
        tokio::select! {
            () = stop.cancelled() => break,
            event = driver.next() => driver.handle(event),
        }
    }
    driver.stop().await;
}

impl<'a> Driver<'a> {
    fn new(
        services: Services,
        coordinator: &'a dyn Coordinator,
        supervisor: &'a Supervisor,
        host: watch::Receiver<HostId>,
        client: reqwest::Client,
    ) -> Self {
        let config = &services.0.config;
        let pace = Pace { grace: config.grace, linger: config.linger };
        Self {
            agent: ServiceAgent::new(pace, time::since_boot()),
            coordinator,
            supervisor,
            host,
            client,
            own: HashMap::new(),
            pending: FuturesUnordered::new(),
            ups: mpsc::channel(UPS),
            ask: None,
            ask_at: Instant::now(),
            stopping: false,
            mark: None,
            trouble: None,
            services,
        }
    }
}

impl Driver<'_> {
    async fn next(&mut self) -> Option<Event> {
        let now = time::since_boot();
        let pause = self.agent.wakeup(now).map(|at| at.saturating_sub(now));
        let guarding = self.agent.is_guarding();
        let pause = if guarding { Some(pause.unwrap_or(LOOK).min(LOOK)) } else { pause };
        let idle = self.ask.is_none() && !self.stopping;
        tokio::select! {
            event = self.pending.next(), if !self.pending.is_empty() => event,
            Some(up) = self.ups.1.recv() => Some(Event::Up(up)),
            event = ready(&mut self.ask) => {
                self.ask = None;
                Some(event)
            }
            Ok(()) = self.host.changed() => Some(Event::Registered),
            () = sleep_until(self.ask_at), if idle => None,
            () = due(pause) => None,
        }
    }

    /// Asks what is to run, unless that is being asked.
    fn question(&mut self) {
        if self.ask.is_some() || Instant::now() < self.ask_at {
            return;
        }
        let (coordinator, host) = (self.coordinator, self.host.borrow().clone());
        let (running, mark) = (self.agent.services(), self.mark);
        let wait = if self.agent.is_guarding() { GUARDED_WAIT } else { ORDERS_WAIT };
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let question = Question { host, running, mark, wait_ms };
        self.ask = Some(Box::pin(async move {
            let (asked, begun) = (time::since_boot(), Instant::now());
            let answer = coordinator.orders(question).await;
            Event::Told { asked, begun, answer }
        }));
    }

    fn act(&mut self) {
        while let Some(action) = self.agent.poll(time::since_boot()) {
            match action {
                Action::Start { id, attempt, order, until } => {
                    self.start(id, attempt, order, until)
                }
                Action::Stop { id, grace } => {
                    if let Some(own) = self.own.get(&id) {
                        own.stop.send_replace(Some(grace));
                    }
                }
                Action::Until { id, at } => {
                    if let Some(own) = self.own.get(&id) {
                        own.until.send_replace(Some(at));
                    }
                }
                Action::Report { id, said } => self.report(id, said),
                Action::Forget(id) => {
                    tracing::info!(service = %id.service, epoch = id.epoch, "an instance is gone");
                    self.services.0.table.remove(&id);
                    if let Some(own) = self.own.remove(&id) {
                        self.pending.push(Box::pin(async move {
                            own.home.lock().await.remove().await;
                            Event::Done
                        }));
                    }
                }
            }
        }
    }

    fn start(&mut self, id: InstanceId, attempt: u64, order: Box<Order>, until: Option<Duration>) {
        tracing::info!(service = %id.service, name = %order.def.name, epoch = id.epoch, attempt, "an instance starts");
        let table = &self.services.0.table;
        let log = table.log(&id).unwrap_or_else(|| {
            let log = LogRing::new(self.services.0.config.log_bytes);
            table.put(Entry {
                id: id.clone(),
                slot: order.slot,
                generation: order.generation,
                address: None,
                log: log.clone(),
            });
            log
        });
        let own = self.own.entry(id.clone()).or_insert_with(|| Own {
            home: Arc::default(),
            stop: watch::Sender::new(None),
            until: watch::Sender::new(None),
            order: order.clone(),
        });
        own.stop.send_replace(None);
        own.until.send_replace(until);
        let process = Process {
            id: id.clone(),
            attempt,
            order: own.order.clone(),
            inner: Arc::clone(&self.services.0),
            supervisor: self.supervisor.clone(),
            home: Arc::clone(&own.home),
            log,
            client: self.client.clone(),
            stop: own.stop.subscribe(),
            until: own.until.subscribe(),
            up: self.ups.0.clone(),
        };
        let task = tokio::spawn(process.run());
        self.pending.push(Box::pin(async move {
            let end = task.await.unwrap_or_else(|_| End::Host("its task failed".to_owned()));
            Event::Ended(id, attempt, end)
        }));
    }

    fn report(&mut self, id: InstanceId, said: Said) {
        let (coordinator, host) = (self.coordinator, self.host.borrow().clone());
        let report = ServiceReport {
            id: id.service.clone(),
            host,
            status: said.status,
            endpoint: said.endpoint,
            error: said.error,
            epoch: Some(id.epoch),
            node: None,
        };
        self.pending.push(Box::pin(async move {
            let answer = coordinator.report_service(report).await;
            Event::Reported(id, answer)
        }));
    }

    fn endpoint(&self, port: u16) -> Option<String> {
        let base = self.services.0.config.public_base_url.as_deref()?;
        Some(format!("{}:{port}", base.strip_suffix('/').unwrap_or(base)))
    }

    fn handle(&mut self, event: Option<Event>) {
        let (now, chance) = (time::since_boot(), rand::random());
        match event {
            Some(Event::Told { asked, begun, answer }) => self.told(now, asked, begun, answer),
            Some(Event::Reported(id, answer)) => {
                let reply = match &answer {
                    Ok(()) => Reply::Accepted,
                    Err(PortError::Refused { .. }) => Reply::Refused,
                    Err(PortError::UnknownHost(_)) => Reply::UnknownHost,
                    Err(PortError::Unavailable(_)) => Reply::Failed,
                };
                if let Err(error) = answer {
                    tracing::warn!(service = %id.service, "a report was not taken: {error}");
                }
                self.agent.reported(now, &id, reply, chance);
            }
            Some(Event::Ended(id, attempt, end)) => {
                match &end {
                    End::Stopped => {
                        tracing::info!(service = %id.service, epoch = id.epoch, "an instance stopped");
                    }
                    End::Broke(why) | End::Hopeless(why) | End::Host(why) | End::PortTaken(why) => {
                        tracing::warn!(service = %id.service, epoch = id.epoch, "an instance ended: {why}");
                    }
                }
                self.agent.ended(now, &id, attempt, end, chance);
            }
            Some(Event::Up(Up { id, attempt, address })) => {
                tracing::info!(service = %id.service, epoch = id.epoch, %address, "an instance serves");
                let endpoint = self.endpoint(address.port());
                self.agent.up(now, &id, attempt, endpoint);
            }
            Some(Event::Registered) => {
                self.agent.registered(now);
                self.ask_at = Instant::now();
            }
            Some(Event::Done) | None => {}
        }
    }

    fn told(
        &mut self,
        now: Duration,
        asked: Duration,
        begun: Instant,
        answer: Result<Orders, PortError>,
    ) {
        let ended = Instant::now();
        match answer {
            Ok(orders) => {
                let mark = orders.mark();
                let same = self.mark.replace(mark) == Some(mark);
                // One that does not hold questions, as the original, is not asked without end.
                let most = if self.agent.is_guarding() { GUARDED_WAIT } else { ORDERS_WAIT };
                let poll = self.services.0.config.poll.min(most);
                let at = if same { begun + poll } else { ended };
                self.ask_at = at.max(ended + ASK_PAUSE);
                if self.trouble.take().is_some() {
                    tracing::info!("a coordinator answers again about services");
                }
                if !self.agent.told(now, asked, orders) {
                    tracing::debug!("a coordinator has heard less of a service than another");
                }
            }
            Err(error) => {
                self.mark = None;
                self.ask_at = ended + ASK_AGAIN;
                if matches!(error, PortError::UnknownHost(_)) {
                    self.agent.forgotten();
                }
                let text = error.to_string();
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!("service claim loop error: {text}");
                    self.trouble = Some(text);
                }
            }
        }
    }

    /// Says that the services go, ends them, and returns when none is left.
    async fn stop(&mut self) {
        self.ask = None;
        self.stopping = true;
        self.agent.farewell(time::since_boot());
        let until = Instant::now() + FAREWELL;
        self.act();
        while self.agent.untold() > 0 {
            let Ok(event) = timeout_at(until, self.next()).await else { break };
            self.handle(event);
            self.act();
        }
        self.agent.stop(time::since_boot());
        let until = Instant::now() + self.services.0.config.grace + STOP_SLACK;
        self.act();
        while !self.agent.is_empty() {
            let Ok(event) = timeout_at(until, self.next()).await else {
                tracing::warn!(left = self.agent.len(), "stopping with instances that do not end");
                break;
            };
            self.handle(event);
            self.act();
        }
        // Directories are removed; what is not goes with their root.
        let tidy = async { while self.pending.next().await.is_some() {} };
        if timeout(FAREWELL, tidy).await.is_err() {
            tracing::debug!("some directories of instances are left to the end of the host");
        }
    }
}

#[cfg(test)]
mod tests;
