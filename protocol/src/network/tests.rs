//! Tickets, capabilities, revocations: what counts, and that nothing else does.

use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::*;
use crate::clock::Wall;
use crate::codec;
use crate::id::{NetworkId, NodeId};
use crate::key::NodeKey;
use crate::limits::{CAPABILITY_LIFE_MS, ISSUER_LIFE_MS, MAX_CAPABILITY_LIFE_MS};
use crate::record::{Record, Signed};

const NOW: Wall = Wall(1_800_000_000_000);
const HOUR: u64 = 3_600_000;

fn seed(n: u8) -> Seed {
    Seed::new([n; 32])
}

/// A network with its admin and one issuer.
struct World {
    network: NetworkId,
    admin: NodeKey,
    issuer: NodeKey,
    /// The issuer's own capability.
    entitled: Vouched,
}

impl World {
    fn new() -> Self {
        let (admin, issuer) = (seed(1).key(), seed(2).key());
        let network = NetworkId::of_admin(admin.id(), "home");
        let capability = Capability {
            not_after: NOW.plus_ms(ISSUER_LIFE_MS),
            ..member(issuer.id(), Roles::ALL, 2)
        };
        let entitled = vouch(&admin, network, None, capability);
        Self { network, admin, issuer, entitled }
    }

    fn by_admin<T: Record>(&self, body: T) -> Vouched {
        vouch(&self.admin, self.network, None, body)
    }

    fn by_issuer<T: Record>(&self, body: T) -> Vouched {
        vouch(&self.issuer, self.network, Some(&self.entitled), body)
    }

    fn check<T: Warrant>(&self, vouched: &Vouched, now: Wall) -> Result<T, Doubt> {
        let revoked = Revoked::default();
        let law = Law { network: self.network, admin: self.admin.id(), revoked: &revoked };
        vouched.check::<T>(&law, now).map(Signed::into_body)
    }

    fn take(&self, notices: &mut Notices, notice: Notice, now: Wall) -> Result<Taken, Doubt> {
        notices.take(notice, self.network, self.admin.id(), now)
    }
}

fn vouch<T: Record>(key: &NodeKey, network: NetworkId, by: Option<&Vouched>, body: T) -> Vouched {
    let raw = Signed::seal(key, network, body).raw().clone();
    Vouched { raw, issuer: by.map(|by| by.raw.clone()) }
}

fn member(peer: NodeId, roles: Roles, serial: u8) -> Capability {
    let not_after = NOW.plus_ms(CAPABILITY_LIFE_MS);
    Capability { peer, roles, not_before: NOW, not_after, serial: Serial([serial; 16]) }
}

fn host() -> Roles {
    Roles::of(&[MemberRole::Host])
}

fn invite(secret: &Seed, roles: Roles) -> Invite {
    let not_after = NOW.plus_ms(HOUR);
    Invite { roles, made: NOW, not_after, uses: 1, peer: None, holder: secret.id() }
}

fn ticket(world: &World) -> Ticket {
    let secret = seed(9);
    Ticket {
        name: "home".into(),
        admin: world.admin.id(),
        addresses: vec![ByteBuf::from(vec![4; 50]); 3],
        invite: world.by_issuer(invite(&secret, host())),
        secret,
    }
}

#[test]
fn what_the_admin_or_an_issuer_signed_counts_until_its_end() {
    let world = World::new();
    let capability = member(seed(3).id(), host(), 3);
    for vouched in [world.by_admin(capability.clone()), world.by_issuer(capability.clone())] {
        assert_eq!(world.check::<Capability>(&vouched, NOW), Ok(capability.clone()));
        let last = Wall(capability.not_after.0 - 1);
        assert_eq!(world.check::<Capability>(&vouched, last), Ok(capability.clone()));
        let expired = world.check::<Capability>(&vouched, capability.not_after);
        assert_eq!(expired, Err(Doubt::Expired));
        let early = world.check::<Capability>(&vouched, Wall(NOW.0 - HOUR));
        assert_eq!(early, Err(Doubt::NotYet));
    }
}

#[test]
fn nobody_else_signs_what_counts() {
    let world = World::new();
    let (stranger, capability) = (seed(7).key(), member(seed(3).id(), host(), 3));
    let net = world.network;
    let plain_member = world.by_admin(member(stranger.id(), host(), 7));
    let other = NetworkId::of_admin(world.admin.id(), "elsewhere");
    let issuer = || Some(&world.entitled);
    for (vouched, doubt) in [
        // By a stranger's own word, with the issuer's capability, or a member's that may not issue.
        (vouch(&stranger, net, None, capability.clone()), Doubt::NotIssuer),
        (vouch(&stranger, net, issuer(), capability.clone()), Doubt::NotIssuer),
        (vouch(&stranger, net, Some(&plain_member), capability.clone()), Doubt::NotIssuer),
        // By an issuer without its own.
        (vouch(&world.issuer, net, None, capability.clone()), Doubt::NotIssuer),
        // By an issuer that makes an issuer.
        (world.by_issuer(member(seed(3).id(), Roles::ALL, 3)), Doubt::NotIssuer),
        // In another network of the same admin.
        (vouch(&world.admin, other, None, capability.clone()), Doubt::Forged),
    ] {
        assert_eq!(world.check::<Capability>(&vouched, NOW), Err(doubt), "{vouched:?}");
    }
    // A capability is not an invite, and lasts no longer than it may.
    let vouched = world.by_admin(capability.clone());
    assert_eq!(world.check::<Invite>(&vouched, NOW), Err(Doubt::Forged));
    let not_after = NOW.plus_ms(MAX_CAPABILITY_LIFE_MS + 1);
    let long = world.by_issuer(Capability { not_after, ..capability });
    assert_eq!(world.check::<Capability>(&long, NOW), Err(Doubt::Forged));
}

#[test]
fn an_issuers_word_ends_with_the_issuers_capability() {
    let world = World::new();
    let not_before = Wall(NOW.0 + ISSUER_LIFE_MS + 1);
    let not_after = not_before.plus_ms(HOUR);
    let late =
        world.by_issuer(Capability { not_before, not_after, ..member(seed(3).id(), host(), 3) });
    assert_eq!(world.check::<Capability>(&late, not_before), Err(Doubt::NotIssuer));
}

#[test]
fn what_is_revoked_counts_no_more_and_what_issuers_revoked_stays() {
    let world = World::new();
    let mut notices = Notices::default();
    let capability = member(seed(3).id(), host(), 3);
    let vouched = world.by_issuer(capability.clone());
    let at = NOW.plus_ms(10);
    let revoke = |target, at| Revocation { target, at };
    let mut take = |notice| world.take(&mut notices, notice, NOW.plus_ms(20));
    // By an issuer, then the issuer itself by the admin.
    let by_issuer = world.by_issuer(revoke(Target::Serial(Serial([3; 16])), at));
    assert_eq!(take(Notice::Revocation(by_issuer.clone())), Ok(Taken::New));
    assert_eq!(take(Notice::Revocation(by_issuer.clone())), Ok(Taken::Known));
    let issuer = world.by_admin(revoke(Target::Peer(world.issuer.id()), at.plus_ms(1)));
    assert_eq!(take(Notice::Revocation(issuer)), Ok(Taken::New));
    let law = notices.law(world.network, world.admin.id());
    assert_eq!(law.revoked.serial(Serial([3; 16])), Some(at));
    assert_eq!(vouched.check::<Capability>(&law, NOW.plus_ms(20)), Err(Doubt::Revoked));
    // Its revocation from before holds with who did not hear of it yet; nothing else it signs does.
    assert!(by_issuer.check::<Revocation>(&law, NOW.plus_ms(20)).is_ok());
    let later = world.by_issuer(revoke(Target::Peer(seed(4).id()), at.plus_ms(1)));
    assert_eq!(later.check::<Revocation>(&law, NOW.plus_ms(20)), Err(Doubt::Revoked));
    let other = world.by_issuer(member(seed(4).id(), host(), 4));
    assert_eq!(other.check::<Capability>(&law, NOW.plus_ms(20)), Err(Doubt::Revoked));
    // A stranger revokes nothing.
    let stranger =
        vouch(&seed(8).key(), world.network, None, revoke(Target::Peer(seed(5).id()), at));
    let mut take = |notice| world.take(&mut notices, notice, NOW.plus_ms(20));
    assert_eq!(take(Notice::Revocation(stranger)), Err(Doubt::NotIssuer));
}

#[test]
fn notices_are_told_on_in_the_order_they_came_and_of_a_member_the_latest_stays() {
    let world = World::new();
    let mut notices = Notices::default();
    let (peer, used) = (seed(3).id(), seed(9));
    let first = member(peer, host(), 3);
    let renewed =
        Capability { not_before: NOW.plus_ms(5), serial: Serial([4; 16]), ..first.clone() };
    let invite = invite(&used, host());
    let admission = Admission { invite: invite.named(), peer, at: NOW, until: invite.not_after };
    let mut take = |notice| world.take(&mut notices, notice, NOW).unwrap();
    assert_eq!(take(Notice::Member(world.by_issuer(first.clone()))), Taken::New);
    assert_eq!(take(Notice::Admission(world.by_issuer(admission))), Taken::New);
    assert_eq!(take(Notice::Member(world.by_issuer(renewed.clone()))), Taken::New);
    assert_eq!(take(Notice::Member(world.by_issuer(first))), Taken::Known);
    let places: Vec<u64> = notices.after(0).map(|(place, _)| place).collect();
    assert_eq!(places, [2, 3]);
    assert_eq!(notices.after(2).count(), 1);
    assert_eq!(notices.members().collect::<Vec<_>>(), [&renewed]);
    assert_eq!(notices.users(invite.named()).collect::<Vec<_>>(), [peer]);
    assert!(!notices.prune(NOW));
    assert!(notices.prune(invite.not_after));
    assert_eq!(notices.users(invite.named()).count(), 0);
    assert!(notices.prune(NOW.plus_ms(3 * CAPABILITY_LIFE_MS)));
    assert_eq!(notices.after(0).count(), 0);
}

#[test]
fn a_ticket_is_one_line_that_reads_back() {
    let world = World::new();
    let ticket = ticket(&world);
    let line = ticket.to_line();
    assert!(line.starts_with("skyclaw1") && line.len() <= 1200, "{}", line.len());
    assert!(line.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    assert_eq!(Ticket::parse(&line), Ok(ticket.clone()));
    assert_eq!(Ticket::parse(&format!("  {}\n", line.to_ascii_uppercase())), Ok(ticket.clone()));
    assert_eq!(ticket.check(NOW).unwrap().roles, host());
    let late = ticket.check(NOW.plus_ms(HOUR));
    assert_eq!(late, Err(TicketError::Doubtful(Doubt::Expired)));
    // Of another network's name, or with another's secret.
    let named = Ticket { name: "other".into(), ..ticket.clone() };
    assert_eq!(named.check(NOW), Err(TicketError::Doubtful(Doubt::Forged)));
    let stolen = Ticket { secret: seed(8), ..ticket };
    assert_eq!(stolen.check(NOW), Err(TicketError::Doubtful(Doubt::Forged)));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let world = World::new();
    let shown = format!("{:?}{:?}", ticket(&world), seed(9));
    assert!(!shown.contains("9, 9") && !shown.contains("0909"), "{shown}");
}

#[test]
fn a_proof_holds_for_its_invite_and_meeting_only() {
    let world = World::new();
    let (ours, seen) = (invite(&seed(9), host()), [5; 32]);
    let proof = newcomer_proof(&seed(9), world.network, &seen);
    assert!(proof_holds(&ours, world.network, &seen, &proof));
    assert!(!proof_holds(&ours, world.network, &[6; 32], &proof));
    assert!(!proof_holds(&invite(&seed(8), host()), world.network, &seen, &proof));
    assert!(!proof_holds(&ours, NetworkId([0; 16]), &seen, &proof));
}

#[test]
fn roles_are_words() {
    let roles = Roles::parse(["host", "gateway", "host"]).unwrap();
    assert_eq!(roles.words(), ["host", "gateway"]);
    assert!(roles.has_word("gateway") && !roles.has(MemberRole::Issuer));
    assert_eq!(Roles::parse(["root"]), Err(UnknownRole("root".into())));
}

proptest! {
    /// Any text: it is read or refused, and what is read is written the same.
    #[test]
    fn no_text_breaks_the_reader(text in "(skyclaw1)?[a-z2-7]{0,400}") {
        if let Ok(ticket) = Ticket::parse(&text) {
            let line = ticket.to_line();
            prop_assert_eq!(line.as_str(), text.as_str());
        }
    }

    /// A ticket with any one character changed is refused.
    #[test]
    fn a_slip_of_the_hand_is_noticed(at in 8_usize..1000, with in "[a-z2-7]") {
        let line = ticket(&World::new()).to_line();
        let at = at.min(line.len() - 1);
        let mut other = line.as_bytes().to_vec();
        other[at] = with.as_bytes()[0];
        prop_assume!(other != line.as_bytes());
        prop_assert!(Ticket::parse(std::str::from_utf8(&other).unwrap()).is_err());
    }

    /// Bytes with a right sum, which anybody can make, are read or refused; a forger gets no further.
    #[test]
    fn forged_tickets_do_not_count(at in 0_usize..700, flip in 1_u8..=255) {
        let ticket = ticket(&World::new());
        let mut bytes = codec::encode(&ticket);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(other) = codec::decode::<Ticket>(&bytes, bytes.len()) {
            // Addresses are nobody's word: a lie there leads to a node that proves nothing.
            prop_assert!(other.check(NOW).is_err() || other.invite == ticket.invite);
        }
    }

    /// A notice with any byte changed is refused or says what it said.
    #[test]
    fn forged_notices_are_not_taken(at in 0_usize..700, flip in 1_u8..=255) {
        let world = World::new();
        let notice = Notice::Member(world.by_issuer(member(seed(3).id(), host(), 3)));
        let mut bytes = codec::encode(&notice);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(other) = codec::decode::<Notice>(&bytes, bytes.len()) {
            let mut notices = Notices::default();
            prop_assert!(world.take(&mut notices, other, NOW).is_err());
            prop_assert_eq!(notices.after(0).count(), 0);
        }
    }
}
