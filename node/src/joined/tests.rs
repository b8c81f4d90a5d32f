//! What the file says is read as it was written; what is damaged is no membership.

use std::os::unix::fs::PermissionsExt as _;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::Signed;

use super::*;

fn ticket() -> Ticket {
    let (admin, secret) = (Seed::new([1; 32]), Seed::new([2; 32]));
    let now = time::wall();
    let invite = Invite {
        roles: Roles::of(&[MemberRole::Host]),
        made: now,
        not_after: Wall(now.0 + 60_000),
        uses: 1,
        peer: None,
        holder: secret.id(),
    };
    let network = NetworkId::of_admin(admin.id(), "home");
    let raw = Signed::seal(&admin.key(), network, invite).raw().clone();
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4787".parse().unwrap();
    Ticket {
        name: "home".into(),
        admin: admin.id(),
        addresses: vec![address.to_vec().into()],
        invite: Vouched { raw, issuer: None },
        secret,
    }
}

#[test]
fn what_was_written_is_read_and_is_this_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_of(&folder.path().join("x.db"));
    let mut joined = Joined::of_ticket(path.clone(), ticket()).unwrap();
    joined.seal = Some(Seed::new([7; 32]));
    joined.capability = joined.ticket.as_ref().map(|ticket| ticket.invite.clone());
    joined.write().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = file::read(&path).unwrap().unwrap();
    assert_eq!(read.network(), ticket().network());
    assert_eq!(read.allowed.words(), ["host"]);
    assert_eq!((&read.ticket, &read.seal), (&joined.ticket, &joined.seal));
    assert_eq!((&read.capability, &read.bootstrap), (&joined.capability, &joined.bootstrap));
    assert_eq!(read.usual_roles(), ["host"]);
    assert!(!format!("{read:?}").contains("7, 7"));
}

#[test]
fn a_damaged_file_is_an_error_that_shows_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.network");
    assert!(file::read(&path).unwrap().is_none());
    for text in ["", "{}", "{\"network\":\"n\",\"admin\":\"canary\",\"roles\":[]}", "canary"] {
        std::fs::write(&path, text).unwrap();
        let error = file::read(&path).unwrap_err();
        assert!(error.contains("x.network") && !error.contains("canary"), "{error}");
    }
}
