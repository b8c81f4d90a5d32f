//! Our own records and those of originals as one list.

use std::collections::BTreeSet;

use serde_json::json;
use skyclaw_http_compat::Backend;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::orders::Question;
use skyclaw_protocol::{
    Command, HostId, JobCursor, JobQuery, JobStatus, JobView, Milli, ServiceDef, ServiceId,
};

use super::world::{World, host, iso, iso_at, job, service};

async fn pages(world: &World, query: JobQuery) -> Vec<JobView> {
    let mut query = query;
    let mut all = Vec::new();
    loop {
        let page = world.handle().jobs(query.clone()).await.unwrap();
        assert!(page.jobs.len() <= query.limit.unwrap());
        all.extend(page.jobs);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return all,
        }
    }
}

fn ids(jobs: &[JobView]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[tokio::test]
async fn pages_of_any_size_from_either_end_show_each_job_once_in_order() {
    let mut world = World::new().await;
    let mut own = Vec::new();
    for _ in 0..12 {
        own.push(world.submit().await);
    }
    // Before, between and after ours, at the very moments of ours, and of equal creation.
    let mut theirs = Vec::new();
    for (n, ours) in own.iter().enumerate() {
        for (m, shift) in [0_u64, 1, 2].into_iter().enumerate() {
            let created = iso_at(Wall(ours.created.ms - 1 + shift));
            let status = ["queued", "leased", "completed"][(n + m) % 3];
            theirs.push(job(&format!("job_o_{n}_{m}"), 1, status, &created));
        }
    }
    // Ended there and not here; waiting there and here.
    theirs.push(job(own[3].id.as_str(), 9, "completed", &iso_at(own[3].created.wall())));
    theirs.push(job(own[5].id.as_str(), 9, "queued", &iso_at(own[5].created.wall())));
    world.merge(&json!({ "jobs": theirs })).await;

    for status in
        [None, Some(JobStatus::Queued), Some(JobStatus::Leased), Some(JobStatus::Completed)]
    {
        let whole = |newest_first| JobQuery { status, newest_first, ..JobQuery::default() };
        let all = world.handle().jobs(whole(false)).await.unwrap().jobs;
        let place = |job: &JobView| (job.created, job.id.clone());
        assert!(all.is_sorted_by(|a, b| place(a) < place(b)), "{:?}", ids(&all));
        let expected = match status {
            None => 12 + 36,
            Some(JobStatus::Queued) => 11 + 12,
            Some(JobStatus::Completed) => 1 + 12,
            Some(_) => 12,
        };
        assert_eq!(all.iter().map(|job| &job.id).collect::<BTreeSet<_>>().len(), expected);
        assert!(all.iter().all(|job| status.is_none_or(|status| job.status == status)));
        let newest = world.handle().jobs(whole(true)).await.unwrap().jobs;
        assert!(ids(&newest).iter().rev().eq(ids(&all).iter()));
        for limit in [1, 2, 3, 7, 100] {
            for (newest_first, whole) in [(false, &all), (true, &newest)] {
                let query = JobQuery { status, newest_first, limit: Some(limit), after: None };
                assert_eq!(ids(&pages(&world, query).await), ids(whole), "{status:?} by {limit}");
            }
        }
    }
    let state = world.handle().state().await.unwrap();
    assert!(state.mixed);
    assert_eq!((state.own.jobs.len(), state.foreign.jobs.len()), (11, 37));
    world.stop().await;
}

#[tokio::test]
async fn a_place_in_the_list_of_one_that_is_gone_goes_on_behind_it() {
    let mut world = World::new().await;
    let created = iso(5000);
    let jobs: Vec<_> = (0..9).map(|n| job(&format!("job_{n}"), 1, "leased", &created)).collect();
    world.merge(&json!({ "jobs": jobs })).await;
    let first = JobQuery { limit: Some(1), ..JobQuery::default() };
    let at = world.handle().jobs(first).await.unwrap().next.unwrap();
    let after = JobCursor { id: skyclaw_protocol::JobId::new("job_44").unwrap(), ..at };
    let query = JobQuery { after: Some(after), ..JobQuery::default() };
    let page = world.handle().jobs(query).await.unwrap();
    assert_eq!(ids(&page.jobs), ["job_5", "job_6", "job_7", "job_8"]);
    world.stop().await;
}

#[tokio::test]
async fn a_page_of_large_jobs_ends_early_and_the_list_goes_on_behind_it() {
    let mut world = World::new().await;
    let (first, second) = (world.submit().await, world.submit().await);
    for n in 0..6 {
        let created = iso_at(Wall(first.created.ms + u64::from(n > 2) * 5000));
        let mut large = job(&format!("job_{n}"), 1, "leased", &created);
        large["payload"] = json!({ "kind": "x", "data": "x".repeat(7 << 20) });
        world.merge(&json!({ "jobs": [large] })).await;
    }
    let expected = [
        first.id.as_str(),
        "job_0",
        "job_1",
        "job_2",
        second.id.as_str(),
        "job_3",
        "job_4",
        "job_5",
    ];
    for newest_first in [false, true] {
        let query = JobQuery { limit: Some(100), newest_first, ..JobQuery::default() };
        let page = world.handle().jobs(query.clone()).await.unwrap();
        assert!(page.jobs.len() < expected.len() && page.next.is_some(), "{}", page.jobs.len());
        let mut all = pages(&world, query).await;
        if newest_first {
            all.reverse();
        }
        let mut found = ids(&all);
        // Those of the same moment stand by their ids, ours among them.
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let place = |job: &JobView| (job.created, job.id.clone());
        assert!(all.is_sorted_by(|a, b| place(a) < place(b)));
    }
    assert_eq!(world.handle().jobs(JobQuery::default()).await.unwrap().jobs.len(), 8);
    world.stop().await;
}

#[tokio::test]
async fn hosts_and_services_of_ours_stand_above_equal_ones_of_theirs() {
    let mut world = World::new().await;
    let register = |id: &str| Command::RegisterHost {
        id: Some(HostId::new(id).unwrap()),
        name: "ours".into(),
        capabilities: vec!["service-host".into()],
        max_parallel: Milli::whole(1),
        node: None,
        openclaw: None,
    };
    world.ask(register("h_1")).await;
    let put = |id: &str| Command::PutService {
        id: Some(ServiceId::new(id).unwrap()),
        def: ServiceDef {
            name: "ours".into(),
            command: "x".into(),
            replicas: 1,
            ..ServiceDef::default()
        },
        owner: None,
    };
    world.ask(put("svc_1")).await;
    world.ask(put("svc_gone")).await;
    world.ask(Command::RemoveService { id: ServiceId::new("svc_gone").unwrap() }).await;
    let merged = world
        .merge(&json!({
            "hosts": [host("h_1", 900), host("h_2", 1)],
            "services": [service("svc_1", 900), service("svc_2", 1), service("svc_gone", 900)],
        }))
        .await;
    assert_eq!(merged.changed, 3, "two hosts and a service that is none of ours");
    let hosts = world.handle().hosts().await.unwrap();
    let names: Vec<_> = hosts.iter().map(|it| (it.id.as_str(), it.name.as_str())).collect();
    assert_eq!(names, [("h_1", "ours"), ("h_2", "h_2")]);
    let services = world.handle().services().await.unwrap();
    let names: Vec<_> = services.iter().map(|it| (it.id.as_str(), it.def.name.as_str())).collect();
    assert_eq!(names, [("svc_2", "svc_2"), ("svc_1", "ours")]);
    for (id, name) in [("svc_1", Some("ours")), ("svc_2", Some("svc_2")), ("svc_gone", None)] {
        let one = world.handle().service(ServiceId::new(id).unwrap()).await.unwrap();
        assert_eq!(one.map(|it| it.def.name).as_deref(), name);
    }
    for (id, name) in [("h_1", Some("ours")), ("h_2", Some("h_2")), ("h_3", None)] {
        let one = world.handle().host(HostId::new(id).unwrap()).await.unwrap();
        assert_eq!(one.map(|it| it.name).as_deref(), name);
    }
    world.stop().await;
}

#[tokio::test]
async fn gateways_hear_of_services_of_originals_and_hosts_are_not_told_to_run_them() {
    let mut world = World::new().await;
    let mut theirs = service("svc_o", 1);
    theirs["assignments"][0]["hostId"] = json!("h_1");
    let (_, mark) = world.handle().routes(None, std::time::Duration::ZERO).await.unwrap();
    let handle = world.handle();
    let held = tokio::spawn(async move {
        handle.routes(Some(mark), std::time::Duration::from_secs(20)).await.unwrap()
    });
    world.merge(&json!({ "hosts": [host("h_1", 1)], "services": [theirs] })).await;
    let (told, _) = held.await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].assignments[0].endpoint.as_deref(), Some("http://127.0.0.1:9"));
    // The host comes here, and is known.
    let question =
        Question { host: HostId::new("h_1").unwrap(), running: Vec::new(), mark: None, wait_ms: 0 };
    let orders = Backend::orders(&world.handle(), question).await.unwrap();
    assert!(orders.orders.is_empty() && orders.over.is_empty());
    world.stop().await;
}
