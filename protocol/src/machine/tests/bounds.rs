//! What clients can make a machine hold is bounded.

use super::world::{LEASE_MS, Reply, World, host_id, job_at, request};
use crate::batch::KeyAnswer;
use crate::command::{Command, Refusal};
use crate::limits::{
    MAX_HOSTS, MAX_LIVE_JOBS, MAX_PARKED_CLAIMS, MAX_REGISTER_QUEUE, MAX_REQUIREMENT_SETS,
    MAX_SERVICES,
};
use crate::view::Milli;

#[test]
fn timers_do_not_gather_under_heartbeats() {
    let mut world = World::alone();
    world.host(0, "h", 3);
    for _ in 0..3 {
        world.submit(0);
        world.claim(0, "h");
    }
    let commits = world.nodes[0].disk.commits;
    for _ in 0..10_000 {
        world.pass(10);
        world.beat(0, "h", 3).unwrap();
        assert!(world.nodes[0].machine.timers.len() <= 4);
    }
    let written = world.nodes[0].disk.commits - commits;
    let seconds = 10_000 * 10 / 1000;
    assert!(written < 10 * seconds, "{written} commits for {seconds} s of heartbeats");
}

#[test]
fn ended_jobs_leave_nothing_in_memory() {
    let mut world = World::alone();
    world.host(0, "h", 5);
    for n in 0..200 {
        let job = world.submit(0);
        if n % 3 != 0 {
            world.claim(0, "h");
        }
        if n % 3 == 2 {
            world.beat(0, "h", 1).unwrap();
            job_at(world.complete(0, &job, "h"));
        } else {
            job_at(world.cancel(0, &job));
        }
        world.pass(LEASE_MS / 3);
    }
    let machine = &world.nodes[0].machine;
    assert!(machine.registers.is_empty() && machine.queue.is_empty());
    assert_eq!(machine.timers.len(), 1, "the sweep of keys alone");
    assert_eq!(machine.gauges().leased, 0);
    assert!(world.nodes[0].disk.notes.is_empty());
}

#[test]
fn jobs_hosts_and_services_are_refused_beyond_their_bounds() {
    let mut world = World::alone();
    world.nodes[0].machine.jobs_live = MAX_LIVE_JOBS;
    let token = world.ask(0, Command::Submit(request("")));
    let machine = &mut world.nodes[0].machine;
    machine.jobs_live = 0;
    world.drain(0);
    let full = Refusal::Full { what: "unfinished jobs".into(), limit: MAX_LIVE_JOBS };
    assert_eq!(world.reply(token), Some(Err(full)));

    for n in 0..MAX_HOSTS {
        world.ask(0, register(&format!("h{n}")));
        if n % 1000 == 0 {
            world.drain(0);
        }
    }
    world.drain(0);
    let full = Refusal::Full { what: "hosts".into(), limit: MAX_HOSTS };
    assert_eq!(world.call(0, register("one more")), Err(full));
    assert!(world.call(0, register("h5")).is_ok(), "a known one may register again");

    let put = || Command::PutService { id: None, def: World::def("s", 1, ""), owner: None };
    for n in 0..MAX_SERVICES {
        world.ask(0, put());
        if n % 1000 == 0 {
            world.drain(0);
        }
    }
    world.drain(0);
    let full = Refusal::Full { what: "services".into(), limit: MAX_SERVICES };
    assert_eq!(world.call(0, put()), Err(full));
}

fn register(name: &str) -> Command {
    Command::RegisterHost {
        id: Some(host_id(name)),
        name: "n".into(),
        capabilities: Vec::new(),
        max_parallel: crate::Milli::whole(1),
        node: None,
        openclaw: None,
    }
}

#[test]
fn distinct_requirements_in_the_queue_are_bounded() {
    let mut world = World::alone();
    for n in 0..MAX_REQUIREMENT_SETS {
        world.ask(0, Command::Submit(request(&format!("cap{n:05}"))));
    }
    world.drain(0);
    let refused = world.call(0, Command::Submit(request("new")));
    assert!(matches!(refused, Err(Refusal::Full { limit: MAX_REQUIREMENT_SETS, .. })));
    job_at(world.call(0, Command::Submit(request("cap00001"))));
}

#[test]
fn parked_claims_are_bounded() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let claim = || Command::Claim { host: host_id("h"), wait_ms: 30_000, without: Vec::new() };
    for _ in 0..MAX_PARKED_CLAIMS {
        world.ask(0, claim());
    }
    let refused = world.call(0, claim());
    assert!(matches!(refused, Err(Refusal::Busy(_))));
}

#[test]
fn commands_behind_one_write_are_bounded_and_all_answered() {
    let mut world = World::alone();
    let job = world.submit(0);
    let asked: Vec<_> = (0..MAX_REGISTER_QUEUE + 3)
        .map(|_| world.ask(0, Command::Cancel { job: job.clone() }))
        .collect();
    world.drain(0);
    let replies: Vec<_> = asked.into_iter().map(|t| world.reply(t).unwrap()).collect();
    let job = |reply: &&Reply| matches!(reply, Ok(KeyAnswer::Job(_)));
    assert_eq!(replies.iter().filter(job).count(), 1);
    // Those without room are wishes, which are tried again.
    let wishes = |reply: &&Reply| matches!(reply, Ok(KeyAnswer::Cancelling(_)));
    assert_eq!(replies.iter().filter(wishes).count(), 2);
}

#[test]
fn removed_hosts_do_not_gather_on_disk() {
    let mut world = World::alone();
    for n in 0..20 {
        world.host(0, &format!("h{n}"), 1);
        let gone = world.call(0, Command::RemoveHost { host: host_id(&format!("h{n}")) });
        gone.unwrap();
    }
    world.now.wall = world.now.wall.plus_ms(world.config.job_ttl_ms);
    world.crash(0);
    world.pass(61_000);
    assert_eq!(world.nodes[0].disk.hosts(), 0);
}

#[test]
fn what_could_not_be_read_back_is_refused_and_the_job_goes_on() {
    let mut world = World::alone();
    world.host(0, "h", 1);
    let job = world.submit(0);
    world.claim(0, "h");
    let Command::Complete(mut completion) = World::completion(&job, "h", true) else {
        panic!("a completion")
    };
    completion.stdout = Some("x".repeat(crate::limits::MAX_OUTPUT_BYTES + 1));
    let refusal = World::refusal(world.call(0, Command::Complete(completion)));
    assert_eq!(refusal, Refusal::TooLarge("output is too long".into()));
    world.complete(0, &job, "h").unwrap();
    let name = "n".repeat(crate::limits::MAX_TEXT_BYTES + 1);
    let register = Command::RegisterHost {
        id: None,
        name,
        capabilities: Vec::new(),
        max_parallel: Milli::whole(1),
        node: None,
        openclaw: None,
    };
    assert!(matches!(World::refusal(world.call(0, register)), Refusal::TooLarge(_)));
}
