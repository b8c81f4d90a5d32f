//! How one becomes a member: tickets, invites, capabilities, revocations.
//!
//! Always: nothing counts that was altered after it was signed, and no altered line is another
//! ticket.

use data_encoding::BASE32_NOPAD;
use serde_bytes::ByteBuf;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::CAPABILITY_LIFE_MS;
use skyclaw_protocol::network::{
    Capability, Invite, Law, MemberRole, Notice, Notices, Revocation, Revoked, Roles, Seed, Serial,
    Target, Ticket, Vouched,
};
use skyclaw_protocol::record::{Record, Signed};
use skyclaw_protocol::{NetworkId, codec};

use crate::engine::targets;
use crate::frames::{cbor, nonsense};

const NOW: Wall = Wall(1_800_000_000_000);
const HOUR: u64 = 3_600_000;

targets! {
    ticket_lines { lines, &["skyclaw1", "SKYCLAW1", " ", "\n", "="], line }
    ticket_bodies { bodies, &["home"], body }
    capabilities { capabilities, &[], capability }
    notices { told, &[], notice }
}

fn admin() -> Seed {
    Seed::new([1; 32])
}

fn network() -> NetworkId {
    NetworkId::of_admin(admin().id(), "home")
}

fn vouch<T: Record>(body: T) -> Vouched {
    let raw = Signed::seal(&admin().key(), network(), body).raw().clone();
    Vouched { raw, issuer: None }
}

fn member() -> Capability {
    Capability {
        peer: Seed::new([3; 32]).id(),
        roles: Roles::of(&[MemberRole::Host]),
        not_before: NOW,
        not_after: NOW.plus_ms(CAPABILITY_LIFE_MS),
        serial: Serial([3; 16]),
    }
}

fn ticket() -> Ticket {
    let secret = Seed::new([9; 32]);
    let invite = Invite {
        roles: Roles::ALL,
        made: NOW,
        not_after: NOW.plus_ms(HOUR),
        uses: 1,
        peer: None,
        holder: secret.id(),
    };
    let addresses = vec![ByteBuf::from(vec![4; 50]); 3];
    Ticket { name: "home".into(), admin: admin().id(), addresses, invite: vouch(invite), secret }
}

fn lines() -> Vec<(String, Vec<u8>)> {
    let line = ticket().to_line();
    let slip = line.replacen('a', "b", 1);
    vec![
        ("ok-line".into(), line.as_bytes().to_vec()),
        ("ok-spaces".into(), format!("\t{}\r\n", line.as_str()).into_bytes()),
        ("ok-upper".into(), line.to_ascii_uppercase().into_bytes()),
        ("no-slip".into(), slip.into_bytes()),
        ("no-prefix".into(), line.as_bytes()[8..].to_vec()),
        ("no-nothing".into(), Vec::new()),
    ]
}

/// A line is that ticket or none: its sum finds every slip.
fn line(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match Ticket::parse(&text) {
        Ok(read) => {
            assert!(read == ticket(), "an altered line is another ticket");
            assert!(text.trim().eq_ignore_ascii_case(&read.to_line()));
            assert!(!format!("{read:?}").contains("invite"), "a ticket is shown");
            true
        }
        Err(error) => {
            assert!(!error.to_string().contains(text.as_ref()) || text.len() < 8);
            false
        }
    }
}

fn bodies() -> Vec<(String, Vec<u8>)> {
    let mut made = nonsense();
    made.push(("ok-ticket".into(), codec::encode(&ticket())));
    made
}

/// A ticket whose sum is right: whoever makes one up makes that right, too.
fn body(bytes: &[u8]) -> bool {
    let sum = blake3::derive_key("skyclaw/1 sum of a ticket", bytes);
    let line = format!("skyclaw1{}", BASE32_NOPAD.encode(&[bytes, &sum[..4]].concat()));
    let Ok(read) = Ticket::parse(&line) else { return false };
    assert!(read.to_line().eq_ignore_ascii_case(&line));
    let changed = read.invite != ticket().invite
        || read.name != "home"
        || read.admin != admin().id()
        || read.secret.id() != ticket().secret.id();
    assert_eq!(read.check(NOW).is_err(), changed, "what was altered counts");
    assert!(read.check(NOW.plus_ms(HOUR)).is_err(), "it counts for ever");
    true
}

fn capabilities() -> Vec<(String, Vec<u8>)> {
    let mut made = nonsense();
    made.push(("ok-host".into(), codec::encode(&vouch(member()))));
    made
}

/// It is read; whether it counts, its signature says.
fn capability(bytes: &[u8]) -> bool {
    if !cbor::<Vouched>(bytes) {
        return false;
    }
    let read = codec::decode::<Vouched>(bytes, Vouched::MAX_BYTES.max(bytes.len()));
    let read = read.expect("it was read");
    let revoked = Revoked::default();
    let law = Law { network: network(), admin: admin().id(), revoked: &revoked };
    let counts = read.check::<Capability>(&law, NOW);
    assert!(counts.is_err() || read.raw == vouch(member()).raw, "what was altered counts");
    true
}

fn told() -> Vec<(String, Vec<u8>)> {
    let revocation = |target| Notice::Revocation(vouch(Revocation { target, at: NOW }));
    let peer = revocation(Target::Peer(Seed::new([5; 32]).id()));
    let serial = revocation(Target::Serial(Serial([5; 16])));
    let mut made = nonsense();
    made.push(("ok-member".into(), codec::encode(&Notice::Member(vouch(member())))));
    made.push(("ok-peer".into(), codec::encode(&peer)));
    made.push(("ok-serial".into(), codec::encode(&serial)));
    made
}

/// What is heard changes who counts only if the admin said just that.
fn notice(bytes: &[u8]) -> bool {
    if !cbor::<Notice>(bytes) {
        return false;
    }
    let read = codec::decode::<Notice>(bytes, bytes.len()).expect("it was read");
    let mut notices = Notices::default();
    let taken = notices.take(read, network(), admin().id(), NOW);
    if taken.is_ok() {
        let known = told().into_iter().any(|(_, kept)| kept == bytes);
        assert!(known, "what was altered counts");
    }
    true
}
