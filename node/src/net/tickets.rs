//! Membership by ticket: what this node shows, how it judges what others show, whom it lets in.
//!
//! ```text
//!   file ──> Joined ──> Tickets <── handshakes (pass): show, judge, let in, take
//!                          ^ └────> sessions: who is connected by which capability
//!   others ──notices── tell┘        revoked ──> the swarm's task, the engine
//! ```
//!
//! Always: a use of an invite is on disk before its newcomer gets a capability, and what is revoked
//! before anybody is told that it is. Locks are held for moments, never over files or the network.
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
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::network::{
    Capability, Doubt, Invite, MemberRole, Notice, Notices, Roles, Seed, Serial, Vouched,
    newcomer_proof, proof_holds,
};
use skyclaw_protocol::{NetworkId, NodeId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hello::Why;
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
    /// One writer of files at a time; taken before `state`.
    writing: Mutex<()>,
    sessions: Mutex<HashMap<NodeId, Session>>,
    /// Counts what is new among notices, and of this node's own capability.
    news: watch::Sender<u64>,
}

struct State {
    joined: Joined,
    notices: Notices,
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
        let state = self.state();
        let vouched = state.joined.capability.as_ref()?;
        let law = state.notices.law(self.network, self.admin);
        let capability = vouched.check::<Capability>(&law, now).ok()?.into_body();
        let stands = capability.peer == own && law.revoked.peer(own).is_none();
        stands.then(|| (capability, vouched.clone()))
    }

    /// What this node shows to another: what counts, else whatever there is, since the other tells best
    /// what is wrong with it.
    pub(super) fn credential(&self, seen: Seen) -> Result<Credential, Why> {
        if let Some((_, vouched)) = self.capability() {
            return Ok(Credential::Member(vouched));
        }
        let state = self.state();
        if let Some(ticket) = &state.joined.ticket {
            let proof = newcomer_proof(&ticket.secret, self.network, &seen.0);
            return Ok(Credential::Newcomer { invite: ticket.invite.clone(), proof });
        }
        let over = state.joined.capability.clone();
        over.map(Credential::Member).ok_or(Why::NoTicket)
    }

    /// What another node's showing comes to.
    pub(super) fn judge(
        &self,
        credential: &Credential,
        peer: NodeId,
        seen: Seen,
    ) -> Result<Judged, Why> {
        let now = self.now();
        let state = self.state();
        let law = state.notices.law(self.network, self.admin);
        if law.revoked.peer(peer).is_some() {
            return Err(Why::Revoked);
        }
        match credential {
            Credential::Member(vouched) => {
                let capability = vouched.check::<Capability>(&law, now).map_err(why)?.into_body();
                if capability.peer != peer {
                    return Err(Why::OtherPeer);
                }
                Ok(Judged::Member(capability))
            }
            Credential::Newcomer { invite, proof } => {
                let invite = invite.check::<Invite>(&law, now).map_err(why)?.into_body();
                if !proof_holds(&invite, self.network, &seen.0, proof) {
                    return Err(Why::BadTicket);
                }
                if invite.peer.is_some_and(|only| only != peer) {
                    return Err(Why::OtherPeer);
                }
                Ok(Judged::Newcomer(invite))
            }
        }
    }

    /// Takes what an issuer gave this node, and keeps it. Blocks until it is on the disk.
    pub(super) fn take_grant(&self, grant: Grant) -> Result<(), Why> {
        let (Some(own), now) = (self.own.get().map(NodeKey::id), self.now()) else {
            return Err(Why::Malformed);
        };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = {
            let mut state = self.state();
            let law = state.notices.law(self.network, self.admin);
            let capability = grant.capability.check::<Capability>(&law, now).map_err(why)?;
            if capability.body().peer != own {
                return Err(Why::OtherPeer);
            }
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
    pub(super) fn fallen(&self) -> Vec<(NodeId, Why)> {
        let now = self.now();
        let sessions: Vec<(NodeId, Session)> =
            self.sessions().iter().map(|(peer, session)| (*peer, session.clone())).collect();
        let state = self.state();
        let revoked = state.notices.revoked();
        let why = |(peer, session): (NodeId, Session)| {
            let out = revoked.peer(peer).or_else(|| revoked.serial(session.serial));
            match (out, now >= session.not_after) {
                (Some(_), _) => Some((peer, Why::Revoked)),
                (None, true) => Some((peer, Why::Expired)),
                (None, false) => None,
            }
        };
        sessions.into_iter().filter_map(why).collect()
    }

    /// The nodes that were revoked, and since when.
    #[must_use]
    pub fn revoked(&self) -> BTreeMap<NodeId, Wall> {
        self.state().notices.revoked().peers().collect()
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

    /// Takes notices of others; true if one was new. Blocks until that is on the disk.
    fn take_notices(&self, notices: Vec<Notice>) -> bool {
        let now = self.now();
        let keeps_all = self.capability().is_some_and(|(it, _)| {
            it.roles.has(MemberRole::Coordinator) || it.roles.has(MemberRole::Issuer)
        });
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = false;
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
            let taken = self.state().notices.take(notice, self.network, self.admin, now);
            match taken {
                Ok(skyclaw_protocol::network::Taken::New) => new = true,
                Ok(_) => {}
                Err(doubt) => tracing::debug!(%doubt, "a notice of membership that does not count"),
            }
        }
        if new {
            self.keep_notices();
            self.news.send_modify(|count| *count += 1);
        }
        new
    }

    /// A member has a newer capability; if it is connected it is by that one from now on.
    fn shown(&self, vouched: &Vouched, now: Wall) {
        let checked = {
            let state = self.state();
            vouched.check::<Capability>(&state.notices.law(self.network, self.admin), now)
        };
        let Ok(capability) = checked else { return };
        let capability = capability.into_body();
        if let Some(session) = self.sessions().get_mut(&capability.peer)
            && session.not_after < capability.not_after
        {
            (session.not_after, session.serial) = (capability.not_after, capability.serial);
            // What it is among members was settled when it came; it may only become less.
            session.roles = session.roles.and(capability.roles);
        }
    }

    /// Writes the notices. To be called by whoever is the one writer.
    fn keep_notices(&self) -> bool {
        let bytes = {
            let mut state = self.state();
            state.notices.prune((self.clock)());
            file::bytes(self.network, &state.notices)
        };
        let written = crate::joined::write_private(&self.notices_file, &bytes);
        if let Err(error) = &written {
            let file = self.notices_file.display();
            tracing::error!(%file, %error, "what members tell of membership cannot be kept");
        }
        written.is_ok()
    }
}

/// A doubt as others are told it.
const fn why(doubt: Doubt) -> Why {
    match doubt {
        Doubt::Forged | Doubt::NotIssuer => Why::BadTicket,
        Doubt::NotYet => Why::Clock,
        Doubt::Expired => Why::Expired,
        Doubt::Revoked => Why::Revoked,
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("name", &self.name).finish_non_exhaustive()
    }
}
