//! The agent against scripted orders, in virtual time, without a process.

mod random;

use std::collections::BTreeMap;

use skyclaw_protocol::orders::Over;

use super::*;

const GRACE: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(1);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn service(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

fn id(name: &str, epoch: u64) -> InstanceId {
    InstanceId { service: service(name), epoch }
}

fn def() -> ServiceDef {
    ServiceDef { command: "c".into(), replicas: 1, ..ServiceDef::default() }
}

fn order(name: &str, epoch: u64, ver: u64) -> Order {
    Order { id: service(name), ver, slot: 0, epoch, generation: 1, def: def() }
}

fn orders(orders: Vec<Order>) -> Orders {
    Orders { orders, over: Vec::new() }
}

fn over(name: &str, ver: u64) -> Orders {
    Orders { orders: Vec::new(), over: vec![Over { id: service(name), ver }] }
}

/// An agent and the moment it is asked at.
struct Rig {
    agent: ServiceAgent,
    now: Duration,
}

impl Rig {
    fn new() -> Self {
        let now = secs(1000);
        let pace = Pace { grace: GRACE, linger: LINGER };
        Self { agent: ServiceAgent::new(pace, now), now }
    }

    fn told(&mut self, orders: Orders) -> bool {
        self.agent.told(self.now, self.now, orders)
    }

    fn all(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.agent.poll(self.now)).collect()
    }

    /// What is started, by instance, with its attempt; other actions are dropped.
    fn starts(&mut self) -> Vec<(InstanceId, u64)> {
        let starts = self.all().into_iter().filter_map(|action| match action {
            Action::Start { id, attempt, .. } => Some((id, attempt)),
            _ => None,
        });
        starts.collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Goes to when the agent next wants to be asked.
    fn wake(&mut self) -> Duration {
        let at = self.agent.wakeup(self.now).expect("nothing is due");
        let passed = at.saturating_sub(self.now);
        self.now = self.now.max(at);
        passed
    }

    fn ended(&mut self, id: &InstanceId, attempt: u64, end: End) {
        self.agent.ended(self.now, id, attempt, end, 0.5);
    }

    fn broke(&mut self, id: &InstanceId, attempt: u64) {
        self.ended(id, attempt, End::Broke("why".into()));
    }

    /// Takes the report that is due, and answers what was said.
    fn report(&mut self, id: &InstanceId) -> Option<Said> {
        let report = self.all().into_iter().find_map(|action| match action {
            Action::Report { id: of, said } if of == *id => Some(said),
            _ => None,
        })?;
        self.agent.reported(self.now, id, Reply::Accepted, 0.5);
        Some(report)
    }
}

#[test]
fn an_ordered_instance_is_started_once_and_reported_when_it_serves() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    assert!(rig.told(orders(vec![order("a", 1, 1)])));
    assert_eq!(rig.starts(), [(a.clone(), 1)]);
    assert!(rig.told(orders(vec![order("a", 1, 1)])));
    assert_eq!(rig.all(), []);
    rig.agent.up(rig.now, &a, 1, Some("http://h:1".into()));
    let said = rig.report(&a).unwrap();
    assert_eq!(
        (said.status, said.endpoint.as_deref()),
        (ServiceStatus::Running, Some("http://h:1"))
    );
    assert_eq!(rig.report(&a), None);
    assert_eq!(rig.agent.wakeup(rig.now), None);
}

#[test]
fn a_new_epoch_runs_beside_the_old_one_until_that_is_over() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.agent.up(rig.now, &id("a", 1), 1, None);
    rig.told(orders(vec![order("a", 1, 2), order("a", 2, 2)]));
    assert_eq!(rig.starts(), [(id("a", 2), 1)]);
    rig.agent.up(rig.now, &id("a", 2), 1, None);
    rig.told(orders(vec![order("a", 2, 3)]));
    // Gateways may not know yet.
    assert!(!rig.all().iter().any(|action| matches!(action, Action::Stop { .. })));
    assert_eq!(rig.wake(), LINGER);
    assert_eq!(rig.all(), [Action::Stop { id: id("a", 1), grace: GRACE }]);
    rig.ended(&id("a", 1), 1, End::Stopped);
    assert_eq!(rig.all(), [Action::Forget(id("a", 1))]);
    assert_eq!(rig.agent.len(), 1);
}

#[test]
fn what_is_missing_in_an_answer_goes_on_until_it_is_said_to_be_over() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 1, 5)]));
    rig.all();
    rig.agent.up(rig.now, &id("a", 1), 1, None);
    rig.report(&id("a", 1));
    assert!(rig.told(orders(vec![])));
    assert!(!rig.told(over("a", 4)));
    assert_eq!((rig.all(), rig.agent.wakeup(rig.now)), (vec![], None));
    assert!(rig.told(over("a", 5)));
    rig.wake();
    assert_eq!(rig.all(), [Action::Stop { id: id("a", 1), grace: GRACE }]);
}

#[test]
fn a_coordinator_that_has_heard_less_neither_starts_nor_ends_anything() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 2, 7)]));
    rig.all();
    // It still believes in the instance before.
    assert!(!rig.told(orders(vec![order("a", 1, 6), order("b", 1, 1)])));
    assert_eq!(rig.starts(), [(id("b", 1), 1)]);
    assert_eq!(rig.agent.len(), 2);
    // Also after all of the service is gone.
    rig.told(over("a", 8));
    rig.all();
    rig.ended(&id("a", 2), 1, End::Stopped);
    assert_eq!(rig.all(), [Action::Forget(id("a", 2))]);
    assert!(!rig.told(orders(vec![order("a", 2, 7)])));
    assert_eq!(rig.starts(), []);
    // But not for ever: one that is removed and deployed again counts from the beginning.
    rig.pass(secs(21));
    rig.told(orders(vec![]));
    assert!(rig.told(orders(vec![order("a", 1, 0)])));
    assert_eq!(rig.starts(), [(id("a", 1), 1)]);
}

#[test]
fn one_that_is_over_before_it_serves_is_stopped_at_once_and_one_that_waits_is_gone() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 1, 1), order("b", 1, 1)]));
    rig.all();
    rig.broke(&id("b", 1), 1);
    rig.told(Orders { orders: vec![], over: [over("a", 2).over, over("b", 2).over].concat() });
    assert_eq!(
        rig.all(),
        [Action::Stop { id: id("a", 1), grace: GRACE }, Action::Forget(id("b", 1))]
    );
}

#[test]
fn ordered_again_while_it_is_stopped_it_is_started_again() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.told(over("a", 2));
    rig.all();
    rig.told(orders(vec![order("a", 1, 3)]));
    assert_eq!(rig.all(), []);
    rig.ended(&id("a", 1), 1, End::Stopped);
    assert_eq!(rig.starts(), [(id("a", 1), 2)]);
}

#[test]
fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    let mut pauses = Vec::new();
    for attempt in 1..=4 {
        rig.broke(&a, attempt);
        rig.report(&a);
        pauses.push(rig.wake().as_secs_f64());
        assert_eq!(rig.starts(), [(a.clone(), attempt + 1)]);
    }
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0]);
    // The fifth end in a row.
    rig.broke(&a, 5);
    let said = rig.report(&a).unwrap();
    assert_eq!(said.status, ServiceStatus::Failed);
    assert_eq!(said.error.as_deref(), Some("ended 5 times in a row: why"));
    assert_eq!(rig.wake(), SLOWEST);
    assert_eq!(rig.starts(), [(a.clone(), 6)]);
    // It serves, but not for long.
    rig.agent.up(rig.now, &a, 6, None);
    assert_eq!(rig.report(&a).unwrap().status, ServiceStatus::Running);
    rig.pass(HEALTHY_RUN - secs(1));
    rig.broke(&a, 6);
    assert_eq!(rig.report(&a).unwrap().status, ServiceStatus::Failed);
    assert_eq!(rig.wake(), SLOWEST);
    rig.all();
    rig.agent.up(rig.now, &a, 7, None);
    rig.report(&a);
    rig.pass(HEALTHY_RUN);
    rig.broke(&a, 7);
    assert_eq!(rig.report(&a).unwrap().status, ServiceStatus::Pending);
    assert_eq!(rig.wake(), secs(1));
}

#[test]
fn the_first_pause_is_the_services_own_and_is_spread_by_chance() {
    for (asked, chance, want) in [
        (Some(200), 0.5, 200),
        (Some(200), 0.0, 150),
        (Some(200), 1.0, 250),
        (Some(0), 0.5, 10),
        (Some(u64::MAX), 0.5, 60_000),
        (None, 0.5, 1000),
    ] {
        let mut rig = Rig::new();
        let mut order = order("a", 1, 1);
        order.def.backoff_ms = asked;
        rig.told(orders(vec![order]));
        rig.all();
        rig.agent.ended(rig.now, &id("a", 1), 1, End::Broke("why".into()), chance);
        rig.report(&id("a", 1));
        assert_eq!(rig.wake(), Duration::from_millis(want), "{asked:?} {chance}");
    }
}

#[test]
fn what_is_hopeless_fails_at_once_and_is_tried_again_each_minute() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.ended(&a, 1, End::Hopeless("command not allowed: c".into()));
    let said = rig.report(&a).unwrap();
    assert_eq!(said.status, ServiceStatus::Failed);
    assert_eq!(said.error.as_deref(), Some("command not allowed: c"));
    assert_eq!(rig.wake(), SLOWEST);
    assert_eq!(rig.starts(), [(a, 2)]);
}

#[test]
fn a_fault_of_the_host_is_said_to_be_one() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.ended(&a, 1, End::Host("no space left".into()));
    let said = rig.report(&a).unwrap();
    assert_eq!(said.error.as_deref(), Some("this host is not able to run it: no space left"));
    assert_eq!(said.status, ServiceStatus::Failed);
    assert_eq!(rig.wake(), secs(1));
}

#[test]
fn a_taken_port_is_no_end_unless_it_goes_on_for_ever() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    for attempt in 1..=20 {
        rig.ended(&a, attempt, End::PortTaken("EADDRINUSE".into()));
        assert_eq!(rig.starts(), [(a.clone(), attempt + 1)]);
        assert_eq!(rig.agent.said(&a), None);
    }
    rig.ended(&a, 21, End::PortTaken("EADDRINUSE".into()));
    assert_eq!(rig.report(&a).unwrap().status, ServiceStatus::Pending);
    assert_eq!(rig.wake(), secs(1));
}

#[test]
fn of_a_report_that_was_not_taken_the_latest_state_alone_is_offered_again() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.agent.up(rig.now, &a, 1, None);
    assert!(matches!(rig.all()[..], [Action::Report { .. }]));
    // It breaks and recovers while the report is under way.
    rig.broke(&a, 1);
    assert_eq!(rig.all(), []);
    rig.agent.reported(rig.now, &a, Reply::Failed, 0.5);
    assert_eq!(rig.all(), []);
    assert_eq!(rig.wake(), Duration::from_millis(300));
    let said = rig.report(&a).unwrap();
    assert_eq!(said.status, ServiceStatus::Pending);
    assert_eq!(rig.report(&a), None);
    assert_eq!(rig.agent.untold(), 0);
}

#[test]
fn a_refused_report_is_not_repeated_and_after_registration_all_are() {
    let mut rig = Rig::new();
    let a = id("a", 1);
    rig.told(orders(vec![order("a", 1, 1)]));
    rig.all();
    rig.agent.up(rig.now, &a, 1, None);
    rig.all();
    rig.agent.reported(rig.now, &a, Reply::Refused, 0.5);
    assert_eq!((rig.all(), rig.agent.wakeup(rig.now)), (vec![], None));
    rig.agent.registered(rig.now);
    rig.all();
    rig.agent.reported(rig.now, &a, Reply::UnknownHost, 0.5);
    // Until it is known there nothing is understood.
    rig.pass(secs(60));
    assert_eq!((rig.all(), rig.agent.wakeup(rig.now)), (vec![], None));
    rig.agent.registered(rig.now);
    assert!(rig.report(&a).is_some());
}

#[test]
fn without_a_coordinator_one_stops_in_time_and_the_other_goes_on() {
    let mut rig = Rig::new();
    let mut stop = order("a", 1, 1);
    stop.def.on_partition = OnPartition::Stop;
    rig.told(orders(vec![stop, order("b", 1, 1)]));
    let contact = rig.now;
    let actions = rig.all();
    assert!(
        matches!(&actions[0], Action::Start { until: Some(at), .. } if *at == contact + PARTITION_STOP)
    );
    assert!(matches!(&actions[1], Action::Start { until: None, .. }));
    for name in ["a", "b"] {
        rig.agent.up(rig.now, &id(name, 1), 1, None);
        rig.report(&id(name, 1));
    }
    // An answer counts from when it was asked for.
    rig.pass(secs(3));
    let asked = rig.now - secs(1);
    rig.agent.told(rig.now, asked, orders(vec![]));
    assert_eq!(rig.all(), [Action::Until { id: id("a", 1), at: asked + PARTITION_STOP }]);
    rig.wake();
    assert_eq!(rig.now, asked + PARTITION_STOP - GRACE);
    assert_eq!(rig.all(), [Action::Stop { id: id("a", 1), grace: GRACE }]);
    rig.ended(&id("a", 1), 1, End::Stopped);
    // Nothing more happens, and nobody is asked to look, until somebody answers.
    rig.pass(secs(100));
    assert!(!rig.all().iter().any(|action| matches!(action, Action::Start { .. })));
    rig.agent.reported(rig.now, &id("a", 1), Reply::Failed, 0.5);
    rig.told(orders(vec![]));
    assert_eq!(rig.starts(), [(id("a", 1), 2)]);
}

#[test]
fn a_stopping_host_says_so_and_ends_everything() {
    let mut rig = Rig::new();
    rig.told(orders(vec![order("a", 1, 1), order("b", 1, 1)]));
    rig.all();
    rig.agent.up(rig.now, &id("a", 1), 1, None);
    rig.report(&id("a", 1));
    rig.broke(&id("b", 1), 1);
    rig.report(&id("b", 1));
    rig.agent.farewell(rig.now);
    assert_eq!(rig.report(&id("a", 1)).unwrap().error.as_deref(), Some("the host is stopping"));
    rig.agent.stop(rig.now);
    let actions = rig.all();
    assert!(actions.contains(&Action::Stop { id: id("a", 1), grace: GRACE }), "{actions:?}");
    assert!(actions.contains(&Action::Forget(id("b", 1))), "{actions:?}");
    rig.ended(&id("a", 1), 1, End::Stopped);
    assert_eq!(rig.all(), [Action::Forget(id("a", 1))]);
    assert!(rig.agent.is_empty());
    rig.told(orders(vec![order("c", 1, 1)]));
    assert!(rig.agent.is_empty());
}

#[test]
fn a_host_takes_a_bounded_number_of_instances() {
    let mut rig = Rig::new();
    let many: Vec<Order> = (0..2000).map(|n| order(&format!("s{n}"), 1, 1)).collect();
    rig.told(orders(many));
    assert_eq!(rig.agent.len(), 2 * MAX_INSTANCES);
    let started = rig.starts();
    assert!(started.len() <= MAX_INSTANCES, "{}", started.len());
    let mut said = BTreeMap::new();
    for n in 0..2000 {
        if let Some(one) = rig.agent.said(&id(&format!("s{n}"), 1)) {
            said.insert(n, one.error.clone().unwrap_or_default());
        }
    }
    assert!(!said.is_empty());
    assert!(said.values().all(|text| text.contains("runs 256 instances already")), "{said:?}");
}
