//! Voters and owners that contradict themselves, and voters that do not swear.

use super::world::{World, cut, job_at, network, node_key, submit};
use crate::codec;
use crate::id::JobId;
use crate::key::NodeKey;
use crate::limits::MAX_OFFENCES;
use crate::machine::FrameFault;
use crate::oath::{Point, Said, Sworn, swear};
use crate::offence::{Oath, Offence, Proof};
use crate::record::Signed;
use crate::record::control::{Content, Control};
use crate::record::spec::{RegisterKey, Subject};
use crate::register::{Accepted, Ballot, Certificate};
use crate::wire::{Message, PromiseOp, PromiseVerdict, Verdict, VoteOp};

/// The home, an honest voter, and the liar: each a voter of every job.
const HOME: usize = 0;
const HONEST: usize = 1;
const LIAR: usize = 2;

fn oath(by: usize, key: &RegisterKey, said: Said) -> Sworn {
    swear(&node_key(by), network(), [(key, &said)]).remove(0)
}

/// A job whose certificate rests on the oath of the liar, held by all.
fn chosen_with_the_liar() -> (World, JobId, RegisterKey) {
    let mut world = World::of(3, 2);
    // The vote of the honest one is lost.
    world.cut.insert((HONEST, HOME));
    let job = world.submit(HOME);
    world.cut.clear();
    let stored = world.nodes[HONEST].disk.stored(&Subject::Job(job.clone())).unwrap();
    let certificate = stored.certificate.expect("it was told");
    let body = certificate.body();
    assert_eq!(body.voters, [node_key(HOME).id(), node_key(LIAR).id()]);
    let vote = &body.sworn[0];
    assert_eq!((body.sworn.len(), vote.voter), (1, node_key(LIAR).id()));
    assert!(vote.sworn.holds(vote.voter, network(), &body.key, &Said::Accepted(body.point())));
    let key = body.key.clone();
    (world, job, key)
}

/// The honest one asks for promises while the home is away; its ballot.
fn takes_over(world: &mut World, key: &RegisterKey) -> Ballot {
    cut(world, HOME, HONEST);
    cut(world, HOME, LIAR);
    let now = world.now;
    world.nodes[HONEST].machine.lead(now, &key.subject);
    // What the liar's own machine would answer does not arrive.
    world.cut.insert((LIAR, HONEST));
    world.settle();
    let lead = world.nodes[HONEST].machine.registers[&key.subject].lead.as_ref();
    lead.map(|lead| lead.ballot()).expect("it prepares")
}

fn promise(key: &RegisterKey, ballot: Ballot, accepted: Option<Accepted>) -> PromiseOp {
    let sworn = Some(oath(LIAR, key, Said::promised(ballot, accepted.as_ref())));
    let verdict = PromiseVerdict::Promised(accepted.map(Box::new));
    PromiseOp { key: key.clone(), ballot, verdict, result: None, sworn }
}

fn offenders(world: &World, node: usize) -> Vec<usize> {
    let all = world.nodes[node].machine.controls().offences();
    all.map(|one| (0..3).find(|n| node_key(*n).id() == one.node).unwrap()).collect()
}

#[test]
fn a_voter_that_hides_what_it_accepted_is_cut_off_by_all() {
    let (mut world, job, key) = chosen_with_the_liar();
    let ballot = takes_over(&mut world, &key);
    // What is gossiped gets there; what was missed, repair would bring.
    world.cut.remove(&(HONEST, HOME));
    world.inject(LIAR, HONEST, Message::Promise(vec![promise(&key, ballot, None)]));
    world.drain(HONEST);
    assert_eq!(offenders(&world, HONEST), [LIAR]);
    let entry = &world.nodes[HONEST].machine.registers[&key.subject];
    assert!(entry.in_flight() && entry.lead.as_ref().unwrap().current().is_none(), "no quorum yet");
    // Whatever it says from now on, nobody takes it; the job goes on with the others.
    world.cut.clear();
    world.pass(3000);
    world.host(HONEST, "h", 1);
    let grant = world.claim(HONEST, "h");
    assert_eq!(grant.job, job);
    world.crash(HONEST);
    world.settle();
    for node in [HOME, HONEST] {
        assert_eq!(offenders(&world, node), [LIAR], "node {node}");
        assert!(world.nodes[node].machine.is_expelled(node_key(LIAR).id()));
    }
}

#[test]
fn a_promise_that_was_believed_is_held_against_its_voter_later() {
    let mut world = World::of(3, 2);
    // Both vote; the word that it was chosen reaches the liar alone.
    world.cut.insert((HONEST, HOME));
    let token = world.ask(HOME, submit());
    for _ in 0..8 {
        (0..3).for_each(|node| world.drain(node));
        for frame in std::mem::take(&mut world.net) {
            let message: Message = codec::decode(&frame.bytes, usize::MAX).unwrap();
            let word = matches!(message, Message::Certificates(_) | Message::Known(_));
            if !(word && frame.to == HONEST) {
                world.deliver(&frame);
            }
        }
    }
    let job = job_at(world.reply(token).expect("it is chosen")).job;
    let subject = Subject::Job(job);
    let held = world.nodes[HOME].disk.stored(&subject).unwrap();
    let key = held.certificate.as_ref().unwrap().body().key.clone();
    let known = world.nodes[HOME].machine.known(&world.nodes[HOME].disk, &subject, usize::MAX);
    let ballot = takes_over(&mut world, &key);
    world.inject(LIAR, HONEST, Message::Promise(vec![promise(&key, ballot, None)]));
    world.drain(HONEST);
    assert!(offenders(&world, HONEST).is_empty(), "nothing speaks against it yet");
    world.cut.clear();
    world.inject(HOME, HONEST, Message::Known(vec![known.unwrap()]));
    world.settle();
    assert_eq!(offenders(&world, HONEST), [LIAR]);
    assert_eq!(offenders(&world, HOME), [LIAR]);
}

#[test]
fn an_honest_promise_convicts_nobody() {
    let (mut world, _, key) = chosen_with_the_liar();
    let ballot = takes_over(&mut world, &key);
    let accepted = world.nodes[LIAR].machine.registers[&key.subject].row.accepted.clone();
    world.inject(LIAR, HONEST, Message::Promise(vec![promise(&key, ballot, accepted)]));
    world.cut.clear();
    world.settle();
    assert!(world.nodes[HONEST].machine.registers[&key.subject].leads());
    assert!((0..3).all(|node| offenders(&world, node).is_empty()));
}

#[test]
fn an_owner_that_certifies_two_values_is_cut_off_by_all() {
    let (mut world, _, key) = chosen_with_the_liar();
    let stored = world.nodes[HONEST].disk.stored(&key.subject).unwrap();
    let body = stored.certificate.unwrap().body().clone();
    let mut other: Certificate = body.clone();
    other.val.by = "another".into();
    let seal = |body| Signed::seal(&node_key(HOME), network(), body).raw().clone();
    // The same once more is no lie.
    world.inject(HOME, HONEST, Message::Certificates(vec![seal(body)]));
    world.settle();
    assert!(offenders(&world, HONEST).is_empty());
    world.inject(HOME, HONEST, Message::Certificates(vec![seal(other)]));
    world.settle();
    assert_eq!(offenders(&world, HONEST), [HOME]);
    assert_eq!(offenders(&world, LIAR), [HOME]);
    assert!(!world.nodes[HOME].machine.is_expelled(node_key(HOME).id()), "others act on it");
}

#[test]
fn votes_and_promises_that_are_not_sworn_do_not_count() {
    let mut world = World::of(3, 2);
    world.cut.extend([(HONEST, HOME), (LIAR, HOME)]);
    let token = world.ask(HOME, submit());
    world.settle();
    let (key, val) = {
        let registers = &world.nodes[HOME].machine.registers;
        let entry = registers.values().next().unwrap();
        (entry.head.key.clone(), entry.lead.as_ref().unwrap().current().unwrap().clone())
    };
    let ballot = Ballot { round: 0, proposer: node_key(HOME).id() };
    let said = Said::Accepted(Point::of(ballot, &val));
    let other = Said::Accepted(Point { ver: 1, ..Point::of(ballot, &val) });
    let not_its_own = [
        None,
        Some(oath(HONEST, &key, said)),
        Some(oath(LIAR, &key, other)),
        Some(oath(LIAR, &key, Said::Promised { ballot, accepted: None })),
    ];
    let vote = |sworn| {
        let verdict = Verdict::Accepted;
        Message::Vote(vec![VoteOp { key: key.clone(), ballot, ver: 0, verdict, sworn }])
    };
    for sworn in not_its_own {
        world.inject(LIAR, HOME, vote(sworn));
        assert_eq!(std::mem::take(&mut world.faults), [FrameFault::Unproven]);
    }
    world.settle();
    assert_eq!(world.reply(token), None);
    world.inject(LIAR, HOME, vote(Some(oath(LIAR, &key, said))));
    world.settle();
    assert_eq!(std::mem::take(&mut world.faults), []);
    assert!(world.reply(token).expect("it is chosen").is_ok());

    let (mut world, _, key) = chosen_with_the_liar();
    let ballot = takes_over(&mut world, &key);
    let unsworn = PromiseOp { sworn: None, ..promise(&key, ballot, None) };
    world.inject(LIAR, HONEST, Message::Promise(vec![unsworn]));
    assert_eq!(std::mem::take(&mut world.faults), [FrameFault::Unproven]);
    assert!(offenders(&world, HONEST).is_empty());
}

/// Seldom, so that a liar cannot have it do so for every write. Of services alone.
#[test]
fn a_voter_that_promised_a_ballot_nobody_leads_under_is_won_back() {
    let mut world = World::of(3, 2);
    let (home, lost) = (HOME, LIAR);
    let name = world.name_at(home);
    world.deploy(home, &name, 1);
    let subject = Subject::Service(crate::ServiceId::new(name.clone()).unwrap());
    let lose = |world: &mut World| {
        // Its promise to itself is on its disk; what it asks of the others gets lost.
        (0..3).filter(|node| *node != lost).for_each(|node| cut(world, lost, node));
        let now = world.now;
        world.nodes[lost].machine.lead(now, &subject);
        world.settle();
        world.nodes[lost].machine.step_down(&subject);
        world.drain(lost);
        world.cut.clear();
        world.nodes[lost].machine.registers[&subject].highest().unwrap()
    };
    let promised = lose(&mut world);
    let ballot = |world: &World| world.nodes[home].machine.registers[&subject].highest().unwrap();
    assert!(ballot(&world) < promised);
    let votes = |world: &World| {
        let row = |node: usize| world.nodes[node].machine.registers[&subject].row.accepted.clone();
        row(lost) == row(home)
    };
    world.deploy(home, &name, 2);
    world.settle();
    assert!(world.nodes[home].machine.registers[&subject].leads());
    assert!(ballot(&world) > promised && ballot(&world).proposer == node_key(home).id());
    assert!(votes(&world), "it votes again");
    let promised = lose(&mut world);
    world.deploy(home, &name, 3);
    world.settle();
    assert!(ballot(&world) < promised, "not so soon again");
    assert!(!votes(&world));
    world.check_disks();
}

#[test]
fn a_renewal_without_a_quorum_believes_who_refused_it() {
    let mut world = World::of(3, 2);
    world.attach(HOME, "h");
    let job = world.submit(HOME);
    world.claim(HOME, "h");
    let subject = Subject::Job(job.clone());
    let key = world.nodes[HOME].machine.registers[&subject].head.key.clone();
    cut(&mut world, HOME, HONEST);
    world.cut.insert((LIAR, HOME));
    let renew = world.renew(&job, "h", 1);
    world.ask(HOME, renew);
    world.settle();
    let ballot = Ballot { round: 0, proposer: node_key(HOME).id() };
    let promised = Some(Ballot { round: 1, proposer: node_key(LIAR).id() });
    let op = crate::wire::ConfirmOp { key, ballot, round: 0 };
    let answer = Message::Confirmed(vec![crate::wire::ConfirmedOp { op, promised }]);
    world.inject(LIAR, HOME, answer);
    assert!(world.nodes[HOME].machine.registers[&subject].leads(), "the other may answer yet");
    world.pass(super::world::QUORUM_MS);
    assert!(!world.nodes[HOME].machine.registers[&subject].leads());
}

#[test]
fn a_second_promise_does_not_cover_up_the_first() {
    let (mut world, _, key) = chosen_with_the_liar();
    let accepted = world.nodes[LIAR].machine.registers[&key.subject].row.accepted.clone();
    let ballot = takes_over(&mut world, &key);
    // What it knows itself says nothing here.
    world.nodes[HONEST].machine.registers.get_mut(&key.subject).unwrap().chosen = None;
    let lie = promise(&key, ballot, None);
    let (now, from) = (world.now, node_key(LIAR).id());
    let said = Said::promised(ballot, None);
    let at = &mut world.nodes[HONEST];
    let mut checked = crate::machine::judging::Checked::default();
    let mut hear = |said, sworn| {
        at.machine.hear_promise(now, &at.disk, from, &key, (said, sworn), &mut checked)
    };
    assert_eq!(hear(said, lie.sworn), Ok(true));
    let honest = promise(&key, ballot, accepted.clone());
    assert_eq!(hear(Said::promised(ballot, accepted.as_ref()), honest.sworn), Ok(false));
    world.drain(HONEST);
    assert_eq!(offenders(&world, HONEST), [LIAR]);
}

/// Anybody who can sign can make up nodes that lie.
#[test]
fn made_up_liars_take_no_room_from_those_that_were_met() {
    let mut world = World::of(3, 2);
    let job = Subject::Job(JobId::new("job_none").unwrap());
    let key = RegisterKey { subject: job, spec: crate::id::Hash([1; 32]) };
    let home = Ballot { round: 0, proposer: node_key(HOME).id() };
    let vote = Said::Accepted(Point { ballot: home, ver: 1, val: crate::id::Hash([2; 32]) });
    let hides = Said::Promised { ballot: Ballot { round: 1, ..home }, accepted: None };
    let offence = |liar: &NodeKey| {
        let oath = |said| {
            let sworn = swear(liar, network(), [(&key, &said)]).remove(0);
            Box::new(Oath { said, sworn })
        };
        let proof = Proof::Voter { key: key.clone(), one: oath(vote), other: oath(hides) };
        Content::Offence(Box::new(Offence { node: liar.id(), proof }))
    };
    let at = crate::clock::Hlc { ms: world.now.wall.0, count: 0 };
    let tell = |world: &mut World, by: &NodeKey, what: &Content| {
        let raw = Signed::seal(by, network(), what.at(at)).raw().clone();
        world.inject(LIAR, HONEST, Message::Controls(vec![raw]));
    };
    for n in 0..MAX_OFFENCES + 20 {
        let mut seed = [0xee; 32];
        seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let made_up = NodeKey::from_seed(&seed);
        // Each tells of itself, so that nobody has more than a share.
        tell(&mut world, &made_up, &offence(&made_up));
        if n % 50 == 0 {
            world.drain(HONEST);
        }
    }
    world.faults.clear();
    let held = |world: &World| world.nodes[HONEST].machine.controls().offences().len();
    assert_eq!(held(&world), MAX_OFFENCES);
    tell(&mut world, &node_key(HOME), &offence(&node_key(LIAR)));
    world.drain(HONEST);
    assert_eq!(std::mem::take(&mut world.faults), []);
    assert_eq!(held(&world), MAX_OFFENCES);
    assert!(world.nodes[HONEST].machine.is_expelled(node_key(LIAR).id()));
    world.crash(HONEST);
    assert!(world.nodes[HONEST].machine.is_expelled(node_key(LIAR).id()));
    assert_eq!(held(&world), MAX_OFFENCES);
}

/// By a record in its place, or by another date.
#[test]
fn a_proof_cannot_be_taken_away() {
    let (mut world, _, key) = chosen_with_the_liar();
    let ballot = takes_over(&mut world, &key);
    world.inject(LIAR, HONEST, Message::Promise(vec![promise(&key, ballot, None)]));
    world.drain(HONEST);
    let held = world.nodes[HONEST].disk.snapshot().controls;
    let control = held[0].body().clone();
    let accomplice = NodeKey::from_seed(&[0x77; 32]);
    let seal = |body| Signed::seal(&accomplice, network(), body).raw().clone();
    let later = crate::clock::Hlc { ms: control.at.ms + 9, ..control.at };
    for body in [vec![0xf6], control.body[..control.body.len() - 1].to_vec(), Vec::new()] {
        let junk = Control { at: later, body, ..control.clone() };
        let message = Message::Controls(vec![seal(junk)]);
        assert!(crate::learned::check(message, network(), world.now.wall).is_err());
    }
    let until = Some(crate::clock::Wall(1));
    let over = Message::Controls(vec![seal(Control { until, ..control.clone() })]);
    assert!(crate::learned::check(over, network(), world.now.wall).is_err());
    for ms in [0, control.at.ms, later.ms] {
        let again = Control { at: crate::clock::Hlc { ms, count: 0 }, ..control.clone() };
        world.inject(HOME, HONEST, Message::Controls(vec![seal(again)]));
        world.drain(HONEST);
        assert_eq!(offenders(&world, HONEST), [LIAR]);
        // What it said while it was believed stands.
        let said = crate::clock::Hlc { ms: world.now.wall.0 - 1, count: 0 };
        assert!(!world.nodes[HONEST].machine.is_revoked(node_key(LIAR).id(), said));
    }
}
