//! The merge is the maximum of a total order; the view of a job in each phase.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{job_view, merge, order, service_view};
use crate::clock::{Hlc, Wall};
use crate::id::{Hash, HostId, JobId, NodeId, ServiceId};
use crate::record::result::JobResult;
use crate::record::spec::{JobSpec, RegisterKey, Spec, Subject};
use crate::register::{Ballot, Certificate, JobState, Phase, ServiceState, State, Val};
use crate::view::{Assignment, JobStatus, JobView, Milli, ServiceDef, ServiceStatus};

const PHASES: [Phase; 8] = [
    Phase::Queued,
    Phase::Leased,
    Phase::Succeeded,
    Phase::Failed,
    Phase::Cancelled,
    Phase::Exhausted,
    Phase::Aborted,
    Phase::Expired,
];

fn subject() -> Subject {
    Subject::Job(JobId::new("job_a").unwrap())
}

prop_compose! {
    /// Few distinct parts, so that ties are common.
    fn certificate()(
        phase in 0..8_usize, round in 0..3_u32, proposer in 1..3_u8, ver in 0..4_u64, who in 0..2_u64,
    ) -> Certificate {
        let state = JobState { phase: PHASES[phase], ..JobState::new() };
        Certificate {
            key: RegisterKey { subject: subject(), spec: Hash([0; 32]) },
            ballot: Ballot { round, proposer: NodeId([proposer; 32]) },
            val: Val {
                ver,
                at: Hlc::default(),
                by: "n".into(),
                display_version: who,
                state: State::Job(state),
            },
            voters: vec![NodeId([1; 32])], sworn: Vec::new() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_order_is_total(a in certificate(), b in certificate(), c in certificate()) {
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        prop_assert_eq!(order(&a, &b) == Ordering::Equal, a == b);
        if order(&a, &b).is_le() && order(&b, &c).is_le() {
            prop_assert!(order(&a, &c).is_le());
        }
    }

    #[test]
    fn the_merge_forgets_order_grouping_and_repeats(
        a in certificate(), b in certificate(), c in certificate(),
    ) {
        let m = |a: &Certificate, b: &Certificate| merge(a.clone(), b.clone());
        prop_assert_eq!(m(&a, &b), m(&b, &a));
        prop_assert_eq!(m(&m(&a, &b), &c), m(&a, &m(&b, &c)));
        prop_assert_eq!(m(&a, &a), a);
    }

    #[test]
    fn what_is_shown_depends_on_the_set_alone(
        (all, shuffled) in proptest::collection::vec(certificate(), 1..8)
            .prop_flat_map(|all| {
                let twice: Vec<_> = all.iter().chain(&all).cloned().collect();
                (Just(all), Just(twice).prop_shuffle())
            }),
    ) {
        let fold = |list: Vec<Certificate>| list.into_iter().reduce(merge).unwrap();
        let (one, other) = (fold(all), fold(shuffled));
        prop_assert_eq!(view(&one.val, None), view(&other.val, None));
    }

    /// F42.
    #[test]
    fn an_end_absorbs(all in proptest::collection::vec(certificate(), 1..8)) {
        let any = all.iter().any(|c| c.val.is_terminal());
        let folded = all.into_iter().reduce(merge).unwrap();
        prop_assert_eq!(folded.val.is_terminal(), any);
    }
}

fn spec() -> Spec {
    let me = NodeId([1; 32]);
    Spec {
        subject: subject(),
        home: me,
        voters: vec![me],
        quorum: 1,
        created: Hlc { ms: 1000, count: 0 },
        expires_at: Wall(900_000),
        job: Some(JobSpec {
            payload: b"{}".to_vec(),
            required: vec!["shell".into()],
            submitted_by: Some("me".into()),
            max_attempts: Some(3),
            timeout_ms: None,
            retry: None,
            queue_timeout_ms: None,
            adopted: false,
            once: false,
            verify: None,
        }),
        mark: None,
        owner: None,
    }
}

fn result() -> JobResult {
    JobResult {
        job: JobId::new("job_a").unwrap(),
        attempt: 2,
        host: HostId::new("h").unwrap(),
        ok: false,
        at: Hlc { ms: 5000, count: 0 },
        duration: Some(Milli::whole(7)),
        exit_code: Some(3),
        stdout: Some("out".into()),
        stderr: None,
        error: Some("exit 3".into()),
        outputs: Vec::new(),
        agent: None,
        receipt: None,
        earlier: Vec::new(),
    }
}

fn val(phase: Phase) -> Val {
    let state = JobState {
        phase,
        attempt: 2,
        lost: 1,
        host: Some(HostId::new("h").unwrap()),
        lease_ms: 1000,
        guard_ms: 0,
        lease_expires: Wall(6000),
        ..JobState::new()
    };
    let at = Hlc { ms: 5000, count: 0 };
    Val { ver: 3, at, by: "node_a".into(), display_version: 9, state: State::Job(state) }
}

fn view(val: &Val, result: Option<&JobResult>) -> JobView {
    job_view(&spec(), val, result, None, Wall(5000)).unwrap()
}

/// CONTRACT 2: assignee and lease both while leased, the assignee stays after the end, both go
/// with a requeue; `result` and `error` only where there are any.
#[test]
fn each_phase_shows_the_fields_of_the_contract() {
    use JobStatus::{Completed, Failed, Leased, Queued};
    let (done, none) = (result(), None);
    for (phase, status, host, lease, held, error) in [
        (Phase::Queued, Queued, false, false, none, None),
        (Phase::Leased, Leased, true, true, none, None),
        (Phase::Succeeded, Completed, true, false, Some(&done), Some("exit 3")),
        (Phase::Failed, Failed, true, false, Some(&done), Some("exit 3")),
        (Phase::Cancelled, Failed, true, false, none, Some("cancelled")),
        (Phase::Aborted, Failed, true, false, none, Some("aborted: replication target not met")),
        (
            Phase::Exhausted,
            Failed,
            true,
            false,
            none,
            Some(
                "gave up after 1 lost attempt, the last on host h: its host went silent each time; \
                 look there, then submit it again (a higher maxAttempts allows more)",
            ),
        ),
    ] {
        let view = view(&val(phase), held);
        assert_eq!(view.status, status, "{phase:?}");
        assert_eq!(view.assigned_host.is_some(), host, "{phase:?}");
        assert_eq!(view.lease_expires.is_some(), lease, "{phase:?}");
        assert_eq!(view.result.is_some(), held.is_some(), "{phase:?}");
        assert_eq!(view.error.as_deref(), error, "{phase:?}");
        assert_eq!((view.attempts, view.version, view.updated), (2, 9, Wall(5000)));
        assert_eq!((view.created.ms, view.updated_by.as_str()), (1000, "node_a"));
        assert_eq!((view.required, view.max_attempts), (vec!["shell".into()], Some(3)));
    }
}

#[test]
fn a_result_shows_what_the_host_sent_and_no_more() {
    let shown = view(&val(Phase::Failed), Some(&result())).result.unwrap();
    assert_eq!((shown.finished_at, shown.exit_code), (Wall(5000), Some(3)));
    assert_eq!((shown.stdout.as_deref(), shown.stderr), (Some("out"), None));
    let silent = JobResult { error: None, ..result() };
    assert_eq!(view(&val(Phase::Failed), Some(&silent)).error, None);
}

#[test]
fn while_a_job_waits_again_its_last_run_is_shown() {
    for phase in [Phase::Queued, Phase::Leased, Phase::Exhausted] {
        let shown = view(&val(phase), Some(&result()));
        assert_eq!(shown.result.unwrap().stdout.as_deref(), Some("out"), "{phase:?}");
        if phase != Phase::Exhausted {
            assert_eq!(shown.error.as_deref(), Some("exit 3"), "{phase:?}");
        }
    }
}

#[test]
fn an_extended_lease_shows_the_later_end() {
    let shown = |note| job_view(&spec(), &val(Phase::Leased), None, note, Wall(5000)).unwrap();
    assert_eq!(shown(Some(Wall(8000))).lease_expires, Some(Wall(8000)));
    assert_eq!(shown(Some(Wall(100))).lease_expires, Some(Wall(6000)));
}

#[test]
fn a_job_that_outlived_its_time_is_shown_as_expired_and_an_ended_one_as_it_ended() {
    let late = |phase| job_view(&spec(), &val(phase), None, None, Wall(900_000)).unwrap();
    for phase in [Phase::Queued, Phase::Leased] {
        let view = late(phase);
        let why = Some("expired: not finished within 14 min");
        assert_eq!((view.status, view.error.as_deref()), (JobStatus::Failed, why));
        assert_eq!(view.lease_expires, None);
    }
    assert_eq!(late(Phase::Succeeded).status, JobStatus::Completed);
    assert_eq!(late(Phase::Cancelled).error.as_deref(), Some("cancelled"));
}

#[test]
fn a_job_whose_time_was_over_says_which() {
    let mut spec = spec();
    let why = |spec: &Spec, attempt, at| {
        let state = JobState { phase: Phase::Expired, attempt, ..JobState::new() };
        let at = Hlc { ms: at, count: 0 };
        let val = Val { at, state: State::Job(state), ..val(Phase::Queued) };
        let view = job_view(spec, &val, None, None, Wall(5000)).unwrap();
        assert_eq!(view.status, JobStatus::Failed);
        view.error.unwrap()
    };
    assert_eq!(why(&spec, 0, 850_000), "expired: not started within 14 min");
    assert_eq!(why(&spec, 2, 850_000), "expired: not finished within 14 min");
    spec.job.as_mut().unwrap().queue_timeout_ms = Some(2500);
    assert_eq!(why(&spec, 0, 4000), "not started within 2500 ms");
    assert_eq!(why(&spec, 2, 850_000), "expired: not finished within 14 min");
}

#[test]
fn a_service_shows_the_sum_of_its_assignments_until_it_is_removed() {
    let assignment =
        |status| Assignment { status, ..Assignment::pending(HostId::new("h").unwrap(), Wall(1)) };
    let def =
        ServiceDef { name: "s".into(), command: "c".into(), replicas: 1, ..ServiceDef::default() };
    let state = |list: &[ServiceStatus], deleted| ServiceState {
        assignments: list.iter().map(|s| assignment(*s)).collect(),
        deleted,
        ..ServiceState::first(def.clone(), Hlc { ms: 70, count: 0 })
    };
    let spec =
        Spec { subject: Subject::Service(ServiceId::new("s").unwrap()), job: None, ..spec() };
    let show = |list: &[ServiceStatus], deleted| {
        let val =
            Val { state: State::Service(Box::new(state(list, deleted))), ..val(Phase::Queued) };
        assert!(job_view(&spec, &val, None, None, Wall(0)).is_none());
        service_view(&spec, &val)
    };
    use ServiceStatus::{Failed, Pending, Running};
    for (list, status) in [
        (&[][..], Pending),
        (&[Pending, Failed], Pending),
        (&[Failed, Running, Pending], Running),
        (&[Failed, Failed], Failed),
    ] {
        let view = show(list, false).unwrap();
        assert_eq!((view.status, view.created), (status, Wall(70)));
    }
    assert!(show(&[Running], true).is_none());
    assert!(service_view(&super::tests::spec(), &val(Phase::Queued)).is_none());
}
