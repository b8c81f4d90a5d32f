//! Membership by ticket: whole handshakes in memory, with a clock of the test.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use skyclaw_protocol::limits::{CAPABILITY_LIFE_MS, ISSUER_LIFE_MS};
use skyclaw_protocol::network::{Target, Ticket};
use tempfile::TempDir;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::super::handshake::{Failure, Party};
use super::super::hello::Description;
use super::super::members::peer_of;
use super::super::membership::Membership;
use super::*;

const BEGIN: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

/// A network on one disk.
struct World {
    folder: TempDir,
    now: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let world =
            Self { folder: tempfile::tempdir().unwrap(), now: Arc::new(AtomicU64::new(BEGIN)) };
        let text = format!("{ADMIN_KEY_PREFIX}{}", Self::admin().to_text().as_str());
        std::fs::write(world.path("admin.key"), text).unwrap();
        world
    }

    fn admin() -> Seed {
        Seed::new([100; 32])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Relaxed);
    }

    fn node(&self, n: u8, joined: Joined) -> Node {
        let now = Arc::clone(&self.now);
        let tickets = Tickets::with_clock(joined, Arc::new(move || Wall(now.load(Relaxed))));
        let key = NodeKey::from_seed(&[n; 32]);
        tickets.begin(&key);
        Node { key, tickets }
    }

    /// The machine that made the network.
    fn first(&self) -> Node {
        self.node(
            1,
            Joined {
                path: self.path("1.network"),
                name: "home".into(),
                admin: Self::admin().id(),
                allowed: Roles::ALL,
                bootstrap: Vec::new(),
                ticket: None,
                capability: None,
                seal: Some(Seed::new([55; 32])),
                admin_key: Some(self.path("admin.key")),
            },
        )
    }

    /// One that has a ticket.
    fn newcomer(&self, n: u8, ticket: Ticket) -> Node {
        self.node(n, self.joined(n, ticket))
    }

    fn joined(&self, n: u8, ticket: Ticket) -> Joined {
        Joined {
            path: self.path(&format!("{n}.network")),
            name: ticket.name.clone(),
            admin: ticket.admin,
            allowed: Roles::ALL,
            bootstrap: Vec::new(),
            ticket: Some(ticket),
            capability: None,
            seal: None,
            admin_key: None,
        }
    }

    /// Another network with the same name.
    fn elsewhere() -> Self {
        Self::new()
    }
}

struct Node {
    key: NodeKey,
    tickets: Arc<Tickets>,
}

impl Node {
    fn id(&self) -> NodeId {
        self.key.id()
    }

    fn invite(&self, roles: &[&str], uses: u32, peer: Option<NodeId>) -> Ticket {
        let roles = Roles::parse(roles.iter().copied()).unwrap();
        let wish = InviteWish { roles, life_ms: HOUR, uses, peer, addresses: Vec::new() };
        self.tickets.invite(wish).unwrap().0
    }

    fn roles(&self) -> Option<String> {
        self.tickets.capability().map(|(capability, _)| capability.roles.to_string())
    }
}

type Outcome = Result<Description, Failure>;

async fn meet(opener: &Node, acceptor: &Node) -> (Outcome, Outcome) {
    let (a, b) = (
        Membership::by_tickets(Arc::clone(&opener.tickets)),
        Membership::by_tickets(Arc::clone(&acceptor.tickets)),
    );
    meet_as((&a, opener.id()), (&b, acceptor.id())).await
}

async fn meet_as(a: (&Membership, NodeId), b: (&Membership, NodeId)) -> (Outcome, Outcome) {
    let (left, right) = tokio::io::duplex(64 << 10);
    let (mut left, mut right) = (left.compat(), right.compat());
    let (one, two) = (peer_of(a.1).unwrap(), peer_of(b.1).unwrap());
    // Everybody says to be everything.
    let roles = ["coordinator", "host", "gateway"].map(str::to_owned).to_vec();
    let party = |membership, own, remote| Party {
        membership,
        own,
        remote,
        nonce: rand::random(),
        description: Description { roles: roles.clone(), ..Description::default() }.encode(),
    };
    tokio::join!(
        async {
            let ended = party(a.0, one, two).open(&mut left).await;
            drop(left);
            ended
        },
        async {
            let ended = party(b.0, two, one).accept(&mut right).await;
            drop(right);
            ended
        }
    )
}

/// Both sides are told the same reason.
async fn refused(opener: &Node, acceptor: &Node, why: Denial) {
    let ended = meet(opener, acceptor).await;
    let both = (Err(Failure::ByUs(why)), Err(Failure::ByThem(why)));
    let swapped = (Err(Failure::ByThem(why)), Err(Failure::ByUs(why)));
    assert!(ended == both || ended == swapped, "{ended:?}, not {why}");
}

#[tokio::test]
async fn who_made_the_network_is_its_first_issuer_and_a_ticket_makes_a_member() {
    let world = World::new();
    let first = world.first();
    assert_eq!(first.roles().as_deref(), Some("coordinator,host,gateway,issuer"));
    for (n, opens) in [(2, true), (3, false)] {
        let newcomer = world.newcomer(n, first.invite(&["host"], 1, None));
        assert_eq!(newcomer.roles(), None);
        let (seen_by_newcomer, seen_by_first) = match opens {
            true => meet(&newcomer, &first).await,
            false => {
                let (first, newcomer) = meet(&first, &newcomer).await;
                (newcomer, first)
            }
        };
        assert_eq!(seen_by_newcomer.unwrap().roles, ["coordinator", "host", "gateway"]);
        // Whatever it says it is, it is what its capability says.
        assert_eq!(seen_by_first.unwrap().roles, ["host"]);
        assert_eq!(first.tickets.roles(newcomer.id()), Roles::of(&[MemberRole::Host]));
        assert_eq!(newcomer.roles().as_deref(), Some("host"));
        assert_eq!(newcomer.tickets.seal(), Some(Seed::new([55; 32])));
        // It needs its ticket no more, nor after a start.
        let file = std::fs::read_to_string(world.path(&format!("{n}.network"))).unwrap();
        assert!(!file.contains("\"ticket\"") && file.contains("\"capability\""), "{file}");
        let (one, other) = meet(&newcomer, &first).await;
        assert!(one.is_ok() && other.is_ok());
    }
}

#[tokio::test]
async fn members_that_one_let_in_know_each_other_by_its_word() {
    let world = World::new();
    let first = world.first();
    let b = world.newcomer(2, first.invite(&["coordinator", "issuer"], 1, None));
    assert!(meet(&b, &first).await.0.is_ok());
    assert_eq!(b.roles().as_deref(), Some("coordinator,issuer"));
    // An issuer without the admin's key lets hosts in, and makes no issuers.
    let c = world.newcomer(3, b.invite(&["host", "gateway"], 1, None));
    assert!(meet(&c, &b).await.0.is_ok());
    let (by_c, by_first) = meet(&c, &first).await;
    assert_eq!(by_first.unwrap().roles, ["host", "gateway"]);
    assert!(by_c.is_ok());
    let roles = Roles::of(&[MemberRole::Issuer]);
    let wish = InviteWish { roles, life_ms: HOUR, uses: 1, peer: None, addresses: Vec::new() };
    assert_eq!(b.tickets.invite(wish.clone()).unwrap_err(), TicketRefusal::NoAdminKey);
    assert_eq!(c.tickets.invite(wish).unwrap_err(), TicketRefusal::NoAdminKey);
    assert_eq!(c.tickets.revoke(Target::Peer(b.id())), Err(TicketRefusal::NotIssuer));
}

#[tokio::test]
async fn what_does_not_count_is_refused_with_the_reason_on_both_sides() {
    let world = World::new();
    let first = world.first();
    // Without anything.
    let bare = Joined { ticket: None, ..world.joined(2, first.invite(&["host"], 1, None)) };
    refused(&world.node(2, bare), &first, Denial::NoTicket).await;
    // Of another network.
    let other = World::elsewhere();
    let mut ticket = other.first().invite(&["host"], 1, None);
    ticket.name = "other".into();
    refused(&world.newcomer(3, ticket), &first, Denial::OtherNetwork).await;
    // Bound to another node; used up; revoked.
    let bound = first.invite(&["host"], 1, Some(NodeKey::from_seed(&[77; 32]).id()));
    refused(&world.newcomer(4, bound), &first, Denial::OtherPeer).await;
    let once = first.invite(&["host"], 1, None);
    assert!(meet(&world.newcomer(5, once.clone()), &first).await.0.is_ok());
    refused(&world.newcomer(6, once.clone()), &first, Denial::UsedUp).await;
    refused(&first, &world.newcomer(6, once), Denial::UsedUp).await;
    let withdrawn = first.invite(&["host"], 1, None);
    let serial = withdrawn.check(first.tickets.now()).unwrap().named();
    first.tickets.revoke(Target::Serial(serial)).unwrap();
    refused(&world.newcomer(7, withdrawn), &first, Denial::Revoked).await;
    // Altered: its roles, signed anew by the newcomer.
    let mut forged = first.invite(&["host"], 1, None);
    forged.invite.raw.signer = NodeKey::from_seed(&[8; 32]).id();
    refused(&world.newcomer(8, forged), &first, Denial::BadTicket).await;
    // Over.
    let late = world.newcomer(9, first.invite(&["host"], 1, None));
    world.pass(HOUR);
    refused(&late, &first, Denial::Expired).await;
}

/// A newcomer's own checks are no protection: others may run anything.
#[tokio::test]
async fn a_liar_is_found_out() {
    let world = World::new();
    let first = world.first();
    let seen = Seen([1; 32]);
    let ticket = first.invite(&["host"], 1, None);
    let liar = NodeKey::from_seed(&[20; 32]).id();
    let show = |ticket: &Ticket, proof_of: &Seed, over: Seen| Credential::Newcomer {
        invite: ticket.invite.clone(),
        proof: newcomer_proof(proof_of, first.tickets.network(), &over.0),
    };
    let judge = |credential: &Credential| first.tickets.judge(credential, liar, seen).map(drop);
    assert_eq!(judge(&show(&ticket, &ticket.secret, seen)), Ok(()));
    // Who only saw the invite; who repeats a proof of another meeting.
    assert_eq!(judge(&show(&ticket, &Seed::new([3; 32]), seen)), Err(Denial::BadTicket));
    assert_eq!(judge(&show(&ticket, &ticket.secret, Seen([2; 32]))), Err(Denial::BadTicket));
    // Another's capability.
    let member = first.tickets.capability().unwrap().1;
    assert_eq!(judge(&Credential::Member(member.clone())), Err(Denial::OtherPeer));
    // An altered one.
    let mut forged = member;
    forged.raw.body[3] ^= 1;
    assert_eq!(judge(&Credential::Member(forged)), Err(Denial::BadTicket));
    world.pass(HOUR);
    assert_eq!(judge(&show(&ticket, &ticket.secret, seen)), Err(Denial::Expired));
}

#[tokio::test]
async fn two_newcomers_cannot_let_each_other_in() {
    let world = World::new();
    let first = world.first();
    let a = world.newcomer(2, first.invite(&["coordinator"], 1, None));
    let b = world.newcomer(3, first.invite(&["coordinator"], 1, None));
    refused(&a, &b, Denial::CannotAdmit).await;
    // Nor can a member that is no issuer.
    assert!(meet(&a, &first).await.0.is_ok());
    refused(&b, &a, Denial::CannotAdmit).await;
    assert!(meet(&b, &first).await.0.is_ok());
}

#[tokio::test]
async fn uses_are_counted_over_a_restart_and_by_what_other_issuers_tell() {
    let world = World::new();
    let first = world.first();
    let twice = first.invite(&["host"], 2, None);
    let two = world.newcomer(2, twice.clone());
    assert!(meet(&two, &first).await.0.is_ok());
    // The same node again, which lost what it was given, counts once.
    let again = world.newcomer(2, twice.clone());
    assert!(meet(&again, &first).await.0.is_ok());
    let (notices, _) = first.tickets.to_tell(0, true);
    let first = world.first();
    assert!(meet(&world.newcomer(3, twice.clone()), &first).await.0.is_ok());
    refused(&world.newcomer(4, twice.clone()), &first, Denial::UsedUp).await;
    // Another issuer that heard of one use lets one more in, and no third.
    let b = world.newcomer(5, first.invite(&["coordinator", "issuer"], 1, None));
    assert!(meet(&b, &first).await.0.is_ok());
    assert!(b.tickets.take_notices(notices));
    assert!(meet(&world.newcomer(6, twice.clone()), &b).await.0.is_ok());
    refused(&world.newcomer(7, twice), &b, Denial::UsedUp).await;
}

#[tokio::test]
async fn a_capability_is_renewed_at_half_its_life_and_ends_if_it_is_not() {
    let world = World::new();
    let first = world.first();
    let host = world.newcomer(2, first.invite(&["host"], 1, None));
    assert!(meet(&host, &first).await.0.is_ok());
    world.pass(CAPABILITY_LIFE_MS / 2 - 1);
    assert!(!host.tickets.wants_renewal());
    world.pass(1);
    assert!(host.tickets.wants_renewal());
    host.tickets.take_grant(first.tickets.renew(host.id()).unwrap()).unwrap();
    assert!(!host.tickets.wants_renewal());
    // Who is connected hears of it before the old one is over.
    assert!(first.tickets.fallen().is_empty());
    let own = Notice::Member(host.tickets.capability().unwrap().1);
    first.tickets.take_notices(vec![own]);
    world.pass(CAPABILITY_LIFE_MS / 2 + 1);
    assert!(first.tickets.fallen().is_empty());
    assert!(meet(&host, &first).await.0.is_ok());
    world.pass(CAPABILITY_LIFE_MS / 2);
    assert_eq!(first.tickets.fallen(), [(host.id(), Denial::Expired)]);
    refused(&host, &first, Denial::Expired).await;
    // Who is not connected gets none.
    first.tickets.left(host.id());
    assert!(first.tickets.renew(host.id()).is_err());
    // Where the admin's key lies the node sees to itself.
    world.pass(ISSUER_LIFE_MS);
    assert!(first.tickets.wants_renewal());
    first.tickets.entitle_self().unwrap();
    assert!(!first.tickets.wants_renewal());
}

#[tokio::test]
async fn who_is_revoked_goes_and_stays_out_wherever_that_is_known() {
    let world = World::new();
    let first = world.first();
    let b = world.newcomer(2, first.invite(&["coordinator", "issuer"], 1, None));
    let host = world.newcomer(3, first.invite(&["host"], 1, None));
    for node in [&b, &host] {
        assert!(meet(node, &first).await.0.is_ok());
    }
    assert!(meet(&host, &b).await.0.is_ok());
    b.tickets.revoke(Target::Peer(host.id())).unwrap();
    assert_eq!(b.tickets.fallen(), [(host.id(), Denial::Revoked)]);
    refused(&host, &b, Denial::Revoked).await;
    // Who did not hear of it yet lets it in, and drops it once it did; also after a start.
    assert!(meet(&host, &first).await.0.is_ok());
    assert!(first.tickets.take_notices(b.tickets.to_tell(0, true).0));
    assert!(!first.tickets.take_notices(b.tickets.to_tell(0, true).0));
    assert!(first.tickets.fallen().contains(&(host.id(), Denial::Revoked)));
    let first = world.first();
    refused(&host, &first, Denial::Revoked).await;
    // Not with another ticket either.
    let again = world.newcomer(3, first.invite(&["host"], 1, None));
    refused(&again, &first, Denial::Revoked).await;
    let seen = first.tickets.members().into_iter().find(|it| it.node == host.id()).unwrap();
    assert!(seen.revoked.is_some() && !seen.connected);
}

#[tokio::test]
async fn a_revoked_issuers_members_are_given_new_capabilities_while_they_are_connected() {
    let world = World::new();
    let first = world.first();
    let b = world.newcomer(2, first.invite(&["coordinator", "issuer"], 1, None));
    assert!(meet(&b, &first).await.0.is_ok());
    let host = world.newcomer(3, b.invite(&["host"], 1, None));
    assert!(meet(&host, &b).await.0.is_ok() && meet(&host, &first).await.0.is_ok());
    first.tickets.revoke(Target::Peer(b.id())).unwrap();
    host.tickets.take_notices(first.tickets.to_tell(0, false).0);
    // Its connection stands, and it asks at once.
    assert_eq!(first.tickets.fallen(), [(b.id(), Denial::Revoked)]);
    assert!(host.tickets.wants_renewal());
    host.tickets.take_grant(first.tickets.renew(host.id()).unwrap()).unwrap();
    assert!(meet(&host, &first).await.0.is_ok());
}

#[tokio::test]
async fn a_token_network_and_a_ticket_network_are_two() {
    let world = World::new();
    let first = world.first();
    let tickets = Membership::by_tickets(Arc::clone(&first.tickets));
    let token = Membership::new(Some("t"), "home");
    let other = NodeKey::from_seed(&[9; 32]).id();
    let why = Denial::OtherNetwork;
    let ended = meet_as((&token, other), (&tickets, first.id())).await;
    assert_eq!(ended, (Err(Failure::ByThem(why)), Err(Failure::ByUs(why))));
    let ended = meet_as((&tickets, first.id()), (&token, other)).await;
    assert_eq!(ended, (Err(Failure::ByThem(why)), Err(Failure::ByUs(why))));
}

#[tokio::test]
async fn a_damaged_file_of_notices_is_begun_anew() {
    let world = World::new();
    let first = world.first();
    first.tickets.revoke(Target::Peer(NodeId([1; 32]))).unwrap();
    assert_eq!(world.first().tickets.revoked().len(), 1);
    let file = world.path("1.network.notices");
    let mut bytes = std::fs::read(&file).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        bytes[at] ^= 0x55;
    }
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(world.first().tickets.revoked().len(), 0);
    assert!(Path::new(&file).exists());
}

#[tokio::test]
async fn what_others_tell_is_written_once_a_second_at_most_and_what_is_revoked_at_once() {
    let world = World::new();
    let first = world.first();
    let b = world.newcomer(2, first.invite(&["coordinator"], 1, None));
    assert!(meet(&b, &first).await.0.is_ok());
    let kept = || {
        let (file, now) = (world.path("2.network.notices"), b.tickets.now());
        file::read(&file, first.tickets.network(), World::admin().id(), now).after(0).count()
    };
    let tell = |place| {
        let (notices, next) = first.tickets.to_tell(place, true);
        for notice in &notices {
            assert!(b.tickets.take_notices(vec![notice.clone()]));
        }
        (notices.len(), next)
    };
    let (told, place) = tell(0);
    assert!(told > 1, "{told}");
    assert_eq!(kept(), 1, "the first one");
    first.tickets.revoke(Target::Peer(NodeId([1; 32]))).unwrap();
    let (more, place) = tell(place);
    assert_eq!((more, kept()), (1, told + 1));
    // What is left is written a little later, or by the next one.
    let host = world.newcomer(3, first.invite(&["host"], 1, None));
    assert!(meet(&host, &first).await.0.is_ok());
    let (more, place) = tell(place);
    assert_eq!(kept(), told + 1);
    b.tickets.keep_owed();
    assert_eq!(kept(), told + 1 + more);
    world.pass(1000);
    let host = world.newcomer(4, first.invite(&["host"], 1, None));
    assert!(meet(&host, &first).await.0.is_ok());
    assert!(tell(place).0 > 1);
    assert_eq!(kept(), told + 1 + more + 1);
}

/// A batch of notices, or the file, may have the lock for a while.
#[test]
fn who_has_fallen_and_who_is_a_member_is_told_without_the_lock_on_notices() {
    let world = World::new();
    let first = world.first();
    let (capability, shown) = first.tickets.capability().unwrap();
    let (own, other) = (first.id(), NodeId([1; 32]));
    first.tickets.opened(other, &capability);
    first.tickets.revoke(Target::Peer(other)).unwrap();
    let busy = first.tickets.state();
    let (sender, answer) = std::sync::mpsc::channel();
    let tickets = Arc::clone(&first.tickets);
    let asking = std::thread::spawn(move || {
        let judged = tickets.judge(&Credential::Member(shown), own, Seen([1; 32]));
        sender.send((tickets.fallen(), judged.is_ok()))
    });
    let seen = answer.recv_timeout(std::time::Duration::from_secs(10));
    drop(busy);
    assert_eq!(seen, Ok((vec![(other, Denial::Revoked)], true)));
    asking.join().unwrap().unwrap();
}
