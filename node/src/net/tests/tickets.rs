//! A ticket network of live nodes: whoever does what its capability does not allow is not heard.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use skyclaw_protocol::network::{MemberRole, Roles, Seed, Target, Ticket};
use skyclaw_protocol::wire::Known;

use super::super::counts::Overstep;
use super::super::tickets::{ADMIN_KEY_PREFIX, InviteWish, Tickets};
use super::gossip::work_in;
use super::*;
use crate::joined::Joined;

fn first(folder: &Path) -> Arc<Tickets> {
    let admin = Seed::new([200; 32]);
    let key = folder.join("admin.key");
    std::fs::write(&key, format!("{ADMIN_KEY_PREFIX}{}", admin.to_text().as_str())).unwrap();
    Tickets::new(Joined {
        path: folder.join("first.network"),
        name: "home".into(),
        admin: admin.id(),
        allowed: Roles::ALL,
        bootstrap: Vec::new(),
        ticket: None,
        capability: None,
        seal: None,
        admin_key: Some(key),
    })
}

fn invite(by: &Tickets, roles: &[MemberRole]) -> Ticket {
    let (roles, life_ms) = (Roles::of(roles), 3_600_000);
    let wish = InviteWish { roles, life_ms, uses: 1, peer: None, addresses: Vec::new() };
    by.invite(wish).unwrap().0
}

fn newcomer(folder: &Path, name: &str, ticket: Ticket) -> Membership {
    let joined = Joined::of_ticket(folder.join(name), ticket).unwrap();
    Membership::by_tickets(Tickets::new(joined))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_it_is_a_coordinator_is_not_one() {
    let folder = tempfile::tempdir().unwrap();
    let tickets = first(folder.path());
    let sink = Desk::new(|_, _, _| Box::pin(futures::future::ready(Some(vec![1]))));
    let membership = Membership::by_tickets(Arc::clone(&tickets));
    let a = Plan { membership, sink: Arc::clone(&sink), ..plan(150) }.start().await;
    let bootstrap = vec![a.address()];
    // Its own program is honest about nothing.
    let membership = newcomer(folder.path(), "liar.network", invite(&tickets, &[MemberRole::Host]));
    let roles: &[&str] = &["coordinator", "gateway", "host"];
    let liar = Plan { membership, roles, bootstrap: bootstrap.clone(), ..plan(151) }.start().await;
    let coordinator = invite(&tickets, &[MemberRole::Coordinator]);
    let membership = newcomer(folder.path(), "b.network", coordinator);
    let b = Plan { membership, bootstrap, ..plan(152) }.start().await;
    until_connected(&liar, "node150").await;
    until_connected(&b, "node150").await;
    until(
        || *a.handle.coordinators().borrow() == [b.id],
        || format!("{:?}", a.handle.coordinators().borrow()),
    )
    .await;
    let shown = a.handle.view().peers.into_iter().find(|it| it.label == "node151").unwrap();
    assert_eq!(shown.roles, ["host"]);

    // Votes, questions of coordinators, gossip of coordinators, work of coordinators that are none.
    let network = tickets.network();
    let over = |what: Overstep| {
        let counts = &a.handle.0.counts;
        move || counts.oversteps(what).load(Relaxed) > 0
    };
    until(
        || {
            liar.handle.send(a.id, Message::Known(Vec::<Known>::new()));
            over(Overstep::Frames)()
        },
        || "no frame was refused".into(),
    )
    .await;
    let asked = liar.handle.ask(a.id, Service::Repair, vec![0], Duration::from_secs(5)).await;
    assert!(asked.is_err(), "{asked:?}");
    assert!(over(Overstep::Questions)());
    let said = std::cell::Cell::new(0);
    until(
        || {
            said.set(said.get() + 1);
            liar.handle.publish(work_in(network, 151, said.get()));
            over(Overstep::Gossip)()
        },
        || "no gossip was ignored".into(),
    )
    .await;
    assert!(sink.frames.lock().unwrap().is_empty());
    assert!(sink.learned.lock().unwrap().is_empty());
    // What is for hosts it may ask, and a coordinator is heard.
    let asked = liar.handle.ask(a.id, Service::Host, vec![0], Duration::from_secs(5)).await;
    assert_eq!(asked, Ok(vec![1]));
    assert!(a.handle.may(liar.id, Roles::of(&[MemberRole::Host])));
    assert!(!a.handle.may(liar.id, Roles::of(&[MemberRole::Gateway])));
    super::gossip::until_heard(&b, &[&sink], |ms| work_in(network, 152, ms)).await;
    for live in [a, b, liar] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_who_is_connected_and_a_stranger_never_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let tickets = first(folder.path());
    let membership = Membership::by_tickets(Arc::clone(&tickets));
    let a = Plan { membership, ..plan(155) }.start().await;
    let bootstrap = vec![a.address()];
    let coordinator = invite(&tickets, &[MemberRole::Coordinator]);
    let membership = newcomer(folder.path(), "b.network", coordinator);
    let b = Plan { membership, bootstrap: bootstrap.clone(), ..plan(156) }.start().await;
    until_connected(&a, "node156").await;
    let membership = newcomer(folder.path(), "h.network", invite(&tickets, &[MemberRole::Host]));
    let bootstrap = vec![a.address(), b.address()];
    let host = Plan { membership, roles: &["host"], bootstrap: bootstrap.clone(), ..plan(157) };
    let host = host.start().await;
    let stranger = Plan { bootstrap, ..plan(158) }.start().await;
    until_connected(&a, "node157").await;
    until_connected(&b, "node157").await;
    tickets.revoke(Target::Peer(host.id)).unwrap();
    for live in [&a, &b] {
        let began = Instant::now();
        until(
            || !connected(live).contains(&"node157".to_owned()),
            || format!("{:?}", connected(live)),
        )
        .await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    let told = || stranger.handle.view().refused;
    until(|| told().iter().any(|it| it.why == "another network"), || format!("{:?}", told())).await;
    assert_eq!(connected(&stranger), Vec::<String>::new());
    for live in [a, b, host, stranger] {
        live.net.stop().await;
    }
}
