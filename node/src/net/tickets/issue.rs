//! Signing for others: invites, capabilities, revocations. All of it blocks.

use skyclaw_protocol::NodeId;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::limits::{
    CAPABILITY_LIFE_MS, ISSUER_LIFE_MS, MAX_INVITE_LIFE_MS, MAX_INVITE_USES, MAX_TICKET_ADDRESSES,
};
use skyclaw_protocol::network::{
    Admission, Capability, Invite, MemberRole, Notice, Revocation, Roles, Seed, Serial, Taken,
    Target, Ticket, Vouched, Warrant,
};
use skyclaw_protocol::record::{Raw, Signed};

use super::super::hello::Denial;
use super::super::pass::Grant;
use super::{Session, Tickets};
use crate::joined::Joined;

/// What a ticket is to say.
#[derive(Clone, Debug)]
pub struct InviteWish {
    /// What its users may be.
    pub roles: Roles,
    /// For how long it counts, in milliseconds.
    pub life_ms: u64,
    /// How many nodes may use it.
    pub uses: u32,
    /// The one node that may, if only one.
    pub peer: Option<NodeId>,
    /// Where members are, as binary multiaddrs.
    pub addresses: Vec<Vec<u8>>,
}

/// Nothing was signed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketRefusal {
    /// This node may not.
    #[error(
        "this node may not let others in or revoke: ask a coordinator whose capability has the \
         role issuer (`skyclaw network members`)"
    )]
    NotIssuer,
    /// Only the admin's key may.
    #[error(
        "only the admin's key makes issuers: ask the node beside which it lies, on the machine \
         where `skyclaw network create` was used"
    )]
    NoAdminKey,
    /// What was asked for is out of bounds.
    #[error("{0}")]
    Bad(String),
    /// There is no room for more.
    #[error("this network has revoked as much as one can: make a new one")]
    Full,
    /// It could not be put on the disk.
    #[error("it cannot be kept on this node's disk, so it was not done")]
    Disk,
}

/// A key to sign with, and the capability that entitles it; none where it is the admin's.
struct Signer(NodeKey, Option<Raw>);

impl Signer {
    fn vouch<T: Warrant>(&self, tickets: &Tickets, body: T) -> Vouched {
        let signed = Signed::seal(&self.0, tickets.network, body);
        Vouched { raw: signed.raw().clone(), issuer: self.1.clone() }
    }
}

impl Tickets {
    /// A ticket, and the name under which it can be revoked.
    ///
    /// # Errors
    /// [`TicketRefusal`].
    pub fn invite(&self, wish: InviteWish) -> Result<(Ticket, Invite), TicketRefusal> {
        if !(1..=MAX_INVITE_USES).contains(&wish.uses) {
            return Err(TicketRefusal::Bad(format!("uses is 1 to {MAX_INVITE_USES}")));
        }
        if !(1000..=MAX_INVITE_LIFE_MS).contains(&wish.life_ms) {
            let days = MAX_INVITE_LIFE_MS / 86_400_000;
            return Err(TicketRefusal::Bad(format!("a ticket lasts 1 s to {days} days")));
        }
        if wish.roles.is_empty() {
            return Err(TicketRefusal::Bad("a ticket names at least one role".into()));
        }
        let signer = self.signer(wish.roles.has(MemberRole::Issuer))?;
        let secret = Seed::new(rand::random());
        let made = self.now();
        let not_after = made.plus_ms(wish.life_ms);
        let InviteWish { roles, uses, peer, .. } = wish;
        let invite = Invite { roles, made, not_after, uses, peer, holder: secret.id() };
        let addresses = wish.addresses.into_iter().take(MAX_TICKET_ADDRESSES);
        let ticket = Ticket {
            name: self.name.clone(),
            admin: self.admin,
            addresses: addresses.map(Into::into).collect(),
            invite: signer.vouch(self, invite.clone()),
            secret,
        };
        Ok((ticket, invite))
    }

    /// Something is not to count from now on. It is on the disk and told to others when this returns.
    ///
    /// # Errors
    /// [`TicketRefusal`]. After [`TicketRefusal::Disk`] it holds until this node starts again.
    pub fn revoke(&self, target: Target) -> Result<Wall, TicketRefusal> {
        let signer = self.signer(false)?;
        let at = self.now();
        let notice = Notice::Revocation(signer.vouch(self, Revocation { target, at }));
        let mut writing = self.writing();
        let taken = self.state().notices.take(notice, self.network, self.admin, at);
        let kept = match taken {
            Ok(Taken::New) => {
                self.show_revoked();
                self.keep_notices(&mut writing)
            }
            Ok(Taken::Known) => !writing.owed || self.keep_notices(&mut writing),
            Ok(Taken::Full) => return Err(TicketRefusal::Full),
            Err(_) => return Err(TicketRefusal::NotIssuer),
        };
        self.news.send_modify(|count| *count += 1);
        if kept { Ok(at) } else { Err(TicketRefusal::Disk) }
    }

    /// Lets a newcomer in, whose invite and proof were judged. A newcomer that lost the answer gets it
    /// again.
    pub(in super::super) fn admit(&self, invite: &Invite, peer: NodeId) -> Result<Grant, Denial> {
        let signer = self.signer(invite.roles.has(MemberRole::Issuer));
        let signer = signer.map_err(|_| Denial::CannotAdmit)?;
        let (named, at) = (invite.named(), self.now());
        let until = invite.not_after;
        let admission = signer.vouch(self, Admission { invite: named, peer, at, until });
        let capability = self.capability_for(&signer, peer, invite.roles);
        let mut writing = self.writing();
        let seal = {
            let mut state = self.state();
            let users: Vec<NodeId> = state.notices.users(named).collect();
            if !users.contains(&peer) && users.len() >= invite.uses as usize {
                return Err(Denial::UsedUp);
            }
            let mut take = |notice| state.notices.take(notice, self.network, self.admin, at);
            let used = take(Notice::Admission(admission));
            let known = take(Notice::Member(capability.clone()));
            // A node that asks again within one tick of the clock may be known by the one before.
            let fits = |taken| matches!(taken, Ok(Taken::New | Taken::Known));
            if !fits(used) || !fits(known) {
                return Err(Denial::CannotAdmit);
            }
            state.joined.seal.clone()
        };
        if !self.keep_notices(&mut writing) {
            return Err(Denial::CannotAdmit);
        }
        self.news.send_modify(|count| *count += 1);
        Ok(Grant { capability, seal: seal.filter(|_| needs_seal(invite.roles)) })
    }

    /// The next capability of a member that is connected.
    pub(in super::super) fn renew(&self, peer: NodeId) -> Result<Grant, TicketRefusal> {
        let session = self.sessions().get(&peer).cloned();
        let out = self.fallen().iter().any(|(fallen, _)| *fallen == peer);
        let Some(Session { roles, .. }) = session.filter(|_| !out) else {
            return Err(TicketRefusal::Bad("it is no member".into()));
        };
        let signer = self.signer(roles.has(MemberRole::Issuer))?;
        let capability = self.capability_for(&signer, peer, roles);
        let at = self.now();
        let mut writing = self.writing();
        let seal = {
            let mut state = self.state();
            let notice = Notice::Member(capability.clone());
            if state.notices.take(notice, self.network, self.admin, at).is_err() {
                return Err(TicketRefusal::NotIssuer);
            }
            state.joined.seal.clone()
        };
        // The member shows it itself.
        self.keep_soon(&mut writing);
        self.news.send_modify(|count| *count += 1);
        Ok(Grant { capability, seal: seal.filter(|_| needs_seal(roles)) })
    }

    /// Whether it is time for this node's own next capability.
    pub(in super::super) fn wants_renewal(&self) -> bool {
        match self.capability() {
            // Whoever is revoked gets none, by any hand.
            None => {
                let own = self.own.get().map(NodeKey::id);
                own.is_some_and(|own| self.out().peer(own).is_none())
            }
            Some((capability, vouched)) => {
                let revoked = self.out().peer(vouched.signer()).is_some();
                revoked || capability.is_half_over(self.now())
            }
        }
    }

    /// Where the admin's key lies here this node makes its own capability.
    pub(in super::super) fn entitle_self(&self) -> Result<(), TicketRefusal> {
        let own = self.own.get().map(NodeKey::id).ok_or(TicketRefusal::NotIssuer)?;
        let signer = self.admins()?;
        let capability = self.capability_for(&signer, own, Roles::ALL);
        let notice = Notice::Member(capability.clone());
        {
            let mut writing = self.writing();
            let at = self.now();
            // This node's own word for itself: others check it.
            let _ = self.state().notices.take(notice, self.network, self.admin, at);
            self.keep_notices(&mut writing);
        }
        let taken = self.take_grant(Grant { capability, seal: None });
        taken.map_err(|why| TicketRefusal::Bad(why.to_string()))
    }

    fn capability_for(&self, signer: &Signer, peer: NodeId, roles: Roles) -> Vouched {
        let not_before = self.now();
        let life = match roles.has(MemberRole::Issuer) {
            true => ISSUER_LIFE_MS,
            false => CAPABILITY_LIFE_MS,
        };
        let serial = Serial(rand::random());
        let not_after = not_before.plus_ms(life);
        signer.vouch(self, Capability { peer, roles, not_before, not_after, serial })
    }

    /// This node's own key where it is an issuer's, else the admin's where that lies here.
    fn signer(&self, admin_alone: bool) -> Result<Signer, TicketRefusal> {
        if admin_alone {
            return self.admins();
        }
        if let (Some(key), Some((capability, vouched))) = (self.own.get(), self.capability())
            && capability.roles.has(MemberRole::Issuer)
        {
            return Ok(Signer(key.clone(), Some(vouched.raw)));
        }
        self.admins().map_err(|_| TicketRefusal::NotIssuer)
    }

    /// The admin's key, read for this one time.
    fn admins(&self) -> Result<Signer, TicketRefusal> {
        let path = {
            let Joined { admin_key, .. } = &self.state().joined;
            admin_key.clone().ok_or(TicketRefusal::NoAdminKey)?
        };
        let key = read_admin_key(&path).map(|seed| seed.key());
        match key.filter(|key| key.id() == self.admin) {
            Some(key) => Ok(Signer(key, None)),
            None => Err(TicketRefusal::NoAdminKey),
        }
    }
}

/// Values at rest are for those who keep or run them.
const fn needs_seal(roles: Roles) -> bool {
    roles.has(MemberRole::Coordinator) || roles.has(MemberRole::Host)
}

/// What the file with the admin's key begins with.
pub const ADMIN_KEY_PREFIX: &str = "skyclaw-admin1-";

fn read_admin_key(path: &std::path::Path) -> Option<Seed> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).ok()?);
    Seed::parse(text.trim().strip_prefix(ADMIN_KEY_PREFIX)?)
}
