//! Membership by ticket: what this node shows, how it judges what others show, whom it lets in.
//!
//! ```text
//!   file ──> Joined ──> Tickets <── handshakes (pass): show, judge, let in, take
//!                          ^ └────> sessions: who is connected by which capability
//!   others ──notices── tell┘        revoked ──> the swarm's task, the engine
//! ```
//!
//! Always: a use of an invite is on disk before its newcomer gets a capability, and what is revoked
//! before whoever revokes it is told so; what else others tell is on disk soon, and told anew if it was not.
//! `state` is held for moments, for a check of one notice at most; files are written under `writing` alone.
//! The admin's key is read for one signature and wiped again.

mod file;
mod issue;
pub(super) mod tell;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::network::{
    Capability, Doubt, Invite, Law, MemberRole, Notice, Notices, Revoked, Roles, Seed, Serial,
    Taken, Vouched, newcomer_proof, proof_holds,
};
use skyclaw_protocol::{NetworkId, NodeId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hello::Denial;
use super::limits::{MAX_NOTICES, NOTICES_WRITE};
use super::pass::{Credential, Grant};
use crate::joined::Joined;
use crate::time;

pub use issue::{ADMIN_KEY_PREFIX, InviteWish, TicketRefusal};
pub use view::MemberSeen;

/// The wall clock; tests have others.
pub(super) type Clock = Arc<dyn Fn() -> Wall + Send + Sync>;

/// The membership of one node in a ticket network.
pub struct Tickets {
    network: NetworkId,
    name: String,
    admin: NodeId,
    notices_file: PathBuf,
    clock: Clock,
    own: OnceLock<NodeKey>,
    state: Mutex<State>,
    /// What is revoked among `state`: looked at many times a second, and signatures are checked by it.
    revoked: RwLock<Arc<Revoked>>,
    /// One writer of files at a time, who alone takes notices; taken before `state`.
    writing: Mutex<Writing>,
    sessions: Mutex<HashMap<NodeId, Session>>,
    /// Counts what is new among notices, and of this node's own capability.
    news: watch::Sender<u64>,
}

struct State {
    joined: Joined,
    notices: Notices,
}

/// The file with notices, which is written whole.
#[derive(Debug, Default)]
struct Writing {
    /// When that was done last.
    last: Option<Wall>,
    /// Something is not in it yet.
    owed: bool,
}

/// By what a connected node is a member.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) roles: Roles,
    not_after: Wall,
    serial: Serial,
    /// Ends what is told to it.
    stop: CancellationToken,
}

/// What another node has shown, judged.
#[derive(Clone, Debug)]
pub(super) enum Judged {
    /// It is a member.
    Member(Capability),
    /// It may become one.
    Newcomer(Invite),
}

/// What of a meeting a newcomer's proof is over, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(pub(super) [u8; 32]);

impl Tickets {
    /// Of the network that `joined` says.
    #[must_use]
    pub fn new(joined: Joined) -> Arc<Self> {
        Self::with_clock(joined, Arc::new(time::wall))
    }

    pub(super) fn with_clock(joined: Joined, clock: Clock) -> Arc<Self> {
        let notices_file = joined.notices_path();
        let (network, admin) = (joined.network(), joined.admin);
        let notices = file::read(&notices_file, network, admin, clock());
        Arc::new(Self {
            network,
            name: joined.name.clone(),
            admin,
            notices_file,
            clock,
            own: OnceLock::new(),
            revoked: RwLock::new(Arc::new(notices.revoked().clone())),
            state: Mutex::new(State { joined, notices }),
            writing: Mutex::default(),
            sessions: Mutex::default(),
            news: watch::Sender::new(0),
        })
    }

    /// The network's id.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret for values at rest, once this node has it.
    #[must_use]
    pub fn seal(&self) -> Option<Seed> {
        self.state().joined.seal.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is revoked as of now.
    fn out(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something was revoked: it counts from now on.
    fn show_revoked(&self) {
        let now = Arc::new(self.state().notices.revoked().clone());
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    const fn law<'a>(&self, revoked: &'a Revoked) -> Law<'a> {
        Law { network: self.network, admin: self.admin, revoked }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<NodeId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Wall {
        (self.clock)()
    }

    /// Which node this is. Where the admin's key lies here it makes itself a member.
    pub(super) fn begin(&self, key: &NodeKey) {
        // A node has one key.
        let _ = self.own.set(key.clone());
        if self.wants_renewal()
            && let Err(error) = self.entitle_self()
        {
            tracing::debug!(%error, "no capability by this machine's own hand");
        }
        if self.capability().is_some() {
            return;
        }
        match self.state().joined.ticket.as_ref().map(|ticket| ticket.check(self.now())) {
            Some(Ok(_)) => tracing::info!(network = self.name, "this node joins by its ticket"),
            Some(Err(error)) => tracing::error!(network = self.name, %error, "no way in"),
            None => tracing::error!(
                network = self.name,
                "this node has no capability that counts, and no ticket: ask for one (`skyclaw \
                 invite`) and use `skyclaw join`"
            ),
        }
    }

    /// This node's own capability, while it counts.
    pub(super) fn capability(&self) -> Option<(Capability, Vouched)> {
        let (own, now) = (self.own.get()?.id(), self.now());
        let vouched = self.state().joined.capability.clone()?;
        let out = self.out();
        let checked = vouched.check::<Capability>(&self.law(&out), now);
        let capability = checked.ok()?.into_body();
        let stands = capability.peer == own && out.peer(own).is_none();
        stands.then_some((capability, vouched))
    }

    /// What this node shows to another: what counts, else whatever there is, since the other tells best
    /// what is wrong with it.
    pub(super) fn credential(&self, seen: Seen) -> Result<Credential, Denial> {
        if let Some((_, vouched)) = self.capability() {
            return Ok(Credential::Member(vouched));
        }
        let state = self.state();
        if let Some(ticket) = &state.joined.ticket {
            let proof = newcomer_proof(&ticket.secret, self.network, &seen.0);
            return Ok(Credential::Newcomer { invite: ticket.invite.clone(), proof });
        }
        let over = state.joined.capability.clone();
        over.map(Credential::Member).ok_or(Denial::NoTicket)
    }

    /// What another node's showing comes to.
    pub(super) fn judge(
        &self,
        credential: &Credential,
        peer: NodeId,
        seen: Seen,
    ) -> Result<Judged, Denial> {
        let (now, out) = (self.now(), self.out());
        let law = self.law(&out);
        if out.peer(peer).is_some() {
            return Err(Denial::Revoked);
        }
        match credential {
            Credential::Member(vouched) => {
                let capability = vouched.check::<Capability>(&law, now).map_err(why)?.into_body();
                if capability.peer != peer {
                    return Err(Denial::OtherPeer);
                }
                Ok(Judged::Member(capability))
            }
            Credential::Newcomer { invite, proof } => {
                let invite = invite.check::<Invite>(&law, now).map_err(why)?.into_body();
                if !proof_holds(&invite, self.network, &seen.0, proof) {
                    return Err(Denial::BadTicket);
                }
                if invite.peer.is_some_and(|only| only != peer) {
                    return Err(Denial::OtherPeer);
                }
                Ok(Judged::Newcomer(invite))
            }
        }
    }

    /// Takes what an issuer gave this node, and keeps it. Blocks until it is on the disk.
    pub(super) fn take_grant(&self, grant: Grant) -> Result<(), Denial> {
        let (Some(own), now) = (self.own.get().map(NodeKey::id), self.now()) else {
            return Err(Denial::Malformed);
        };
        let _writing = self.writing();
        let out = self.out();
        let checked = grant.capability.check::<Capability>(&self.law(&out), now);
        let capability = checked.map_err(why)?;
        if capability.body().peer != own {
            return Err(Denial::OtherPeer);
        }
        let joined = {
            let mut state = self.state();
            state.joined.allowed = capability.body().roles;
            state.joined.capability = Some(grant.capability);
            // Used up, as far as this node goes.
            state.joined.ticket = None;
            state.joined.seal = grant.seal.or_else(|| state.joined.seal.take());
            state.joined.clone()
        };
        if let Err(error) = joined.write() {
            // It counts until this process ends; then the node needs another ticket.
            let file = joined.path.display();
            tracing::error!(%file, %error, "this node's capability cannot be kept");
        }
        self.news.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A node is connected by this capability.
    pub(super) fn opened(&self, peer: NodeId, capability: &Capability) {
        let mut sessions = self.sessions();
        let stop = sessions.get(&peer).map(|it| it.stop.clone()).unwrap_or_default();
        let Capability { roles, not_after, serial, .. } = *capability;
        sessions.insert(peer, Session { roles, not_after, serial, stop });
    }

    /// A node is connected no more.
    pub(super) fn left(&self, peer: NodeId) {
        if let Some(session) = self.sessions().remove(&peer) {
            session.stop.cancel();
        }
    }

    /// What a connected node may be.
    pub(super) fn roles(&self, peer: NodeId) -> Roles {
        self.sessions().get(&peer).map_or(Roles::NONE, |session| session.roles)
    }

    /// Until when something is told to a connected node.
    pub(super) fn stop_of(&self, peer: NodeId) -> Option<CancellationToken> {
        self.sessions().get(&peer).map(|session| session.stop.clone())
    }

    /// Connected nodes that are members no more, and why.
    pub(super) fn fallen(&self) -> Vec<(NodeId, Denial)> {
        let now = self.now();
        let sessions: Vec<(NodeId, Session)> =
            self.sessions().iter().map(|(peer, session)| (*peer, session.clone())).collect();
        let revoked = self.out();
        let why = |(peer, session): (NodeId, Session)| {
            let out = revoked.peer(peer).or_else(|| revoked.serial(session.serial));
            match (out, now >= session.not_after) {
                (Some(_), _) => Some((peer, Denial::Revoked)),
                (None, true) => Some((peer, Denial::Expired)),
                (None, false) => None,
            }
        };
        sessions.into_iter().filter_map(why).collect()
    }

    /// The nodes that were revoked, and since when.
    #[must_use]
    pub fn revoked(&self) -> BTreeMap<NodeId, Wall> {
        self.out().peers().collect()
    }

    /// Changes whenever something of membership does.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Connected nodes that can let others in.
    fn issuers(&self) -> Vec<NodeId> {
        let sessions = self.sessions();
        let issuers = sessions.iter().filter(|(_, it)| it.roles.has(MemberRole::Issuer));
        issuers.map(|(peer, _)| *peer).collect()
    }

    /// Takes notices of others; true if one was new. Blocks until what is revoked is on the disk.
    fn take_notices(&self, notices: Vec<Notice>) -> bool {
        let now = self.now();
        let keeps_all = self.capability().is_some_and(|(it, _)| {
            it.roles.has(MemberRole::Coordinator) || it.roles.has(MemberRole::Issuer)
        });
        let mut writing = self.writing();
        let (mut new, mut revokes) = (false, false);
        for notice in notices {
            if let Notice::Member(vouched) = &notice {
                self.shown(vouched, now);
                if !keeps_all {
                    continue;
                }
            }
            if matches!(notice, Notice::Admission(_)) && !keeps_all {
                continue;
            }
            let revocation = matches!(notice, Notice::Revocation(_));
            let taken = self.state().notices.take(notice, self.network, self.admin, now);
            match taken {
                Ok(Taken::New) => {
                    new = true;
                    if revocation {
                        revokes = true;
                        self.show_revoked();
                    }
                }
                Ok(Taken::Known | Taken::Full) => {}
                Err(doubt) => tracing::debug!(%doubt, "a notice of membership that does not count"),
            }
        }
        if revokes {
            self.keep_notices(&mut writing);
        } else if new {
            self.keep_soon(&mut writing);
        }
        if new {
            self.news.send_modify(|count| *count += 1);
        }
        new
    }

    /// A member has a newer capability; if it is connected it is by that one from now on.
    fn shown(&self, vouched: &Vouched, now: Wall) {
        let out = self.out();
        let Ok(capability) = vouched.check::<Capability>(&self.law(&out), now) else { return };
        let capability = capability.into_body();
        if let Some(session) = self.sessions().get_mut(&capability.peer)
            && session.not_after < capability.not_after
        {
            (session.not_after, session.serial) = (capability.not_after, capability.serial);
            // What it is among members was settled when it came; it may only become less.
            session.roles = session.roles.and(capability.roles);
        }
    }

    /// Writes the notices now, or leaves that to [`Tickets::keep_owed`]: the file may be large, and they
    /// come in many parts.
    fn keep_soon(&self, writing: &mut Writing) {
        let now = self.now();
        // Also where the clock was set back.
        let just = writing.last.is_some_and(|last| last <= now && now < after(last));
        if just {
            writing.owed = true;
        } else {
            self.keep_notices(writing);
        }
    }

    /// Writes what was left. Blocks until that is on the disk; false if it is not.
    fn keep_owed(&self) -> bool {
        let mut writing = self.writing();
        !writing.owed || self.keep_notices(&mut writing)
    }

    /// Writes the notices.
    fn keep_notices(&self, writing: &mut Writing) -> bool {
        self.state().notices.prune(self.now());
        let (mut notices, mut place) = (Vec::new(), 0);
        // In parts, between which others have their turns. No notice is taken meanwhile.
        loop {
            let state = self.state();
            let known = notices.len();
            for (at, notice) in state.notices.after(place).take(MAX_NOTICES) {
                place = at;
                notices.push(notice.clone());
            }
            if notices.len() == known {
                break;
            }
        }
        let bytes = file::bytes(self.network, notices);
        let written = crate::joined::write_private(&self.notices_file, &bytes);
        *writing = Writing { last: Some(self.now()), owed: written.is_err() };
        if let Err(error) = &written {
            let file = self.notices_file.display();
            tracing::error!(%file, %error, "what members tell of membership cannot be kept");
        }
        written.is_ok()
    }
}

/// When notices may be written that are not urgent, after they were.
fn after(last: Wall) -> Wall {
    last.plus_ms(u64::try_from(NOTICES_WRITE.as_millis()).unwrap_or(u64::MAX))
}

/// A doubt as others are told it.
const fn why(doubt: Doubt) -> Denial {
    match doubt {
        Doubt::Forged | Doubt::NotIssuer => Denial::BadTicket,
        Doubt::NotYet => Denial::Clock,
        Doubt::Expired => Denial::Expired,
        Doubt::Revoked => Denial::Revoked,
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("name", &self.name).finish_non_exhaustive()
    }
}
