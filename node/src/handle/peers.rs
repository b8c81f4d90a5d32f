//! Urls of other coordinators: how they come, and how they go.

use std::sync::PoisonError;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::{Forgotten, NetworkView};
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::limits::MAX_PEER_URLS;
use skyclaw_protocol::network::Roles;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{NodeId, Refusal, ServiceId};

use super::{NodeHandle, store_refusal};
use crate::bridge::Board;

/// What the settings say about other coordinators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Bootstrap addresses that are named.
    pub bootstraps: usize,
    /// Coordinators besides this one that must hold each write.
    pub needed: usize,
}

impl NodeHandle {
    /// Where originals are shown. Only the first call counts.
    pub fn set_board(&self, board: Board) {
        if self.0.board.set(board).is_err() {
            tracing::error!("the node has a bridge already");
        }
    }

    /// Other coordinators that can be had now: those connected and the originals that answer.
    pub(super) fn others_here(&self) -> usize {
        let originals = self.0.board.get().map_or(0, Board::alive);
        self.0.net.coordinators().borrow().len() + originals
    }

    /// Whether a connected node may do what is for members of one of these roles.
    pub(crate) fn may(&self, node: NodeId, roles: Roles) -> bool {
        self.0.net.may(node, roles)
    }

    pub(super) fn network_view(&self) -> NetworkView {
        let mut view = self.0.net.view();
        view.peers.extend(self.0.board.get().into_iter().flat_map(Board::views));
        view
    }

    pub(super) fn check_room_for(&self, url: &str) -> Result<(), Refusal> {
        let peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEER_URLS && !peers.iter().any(|known| known == url) {
            return Err(Refusal::Full { what: "peer urls".into(), limit: MAX_PEER_URLS });
        }
        Ok(())
    }

    /// A coordinator says that it is there.
    pub(super) fn add_peer(&self, url: String) {
        self.0.forgotten.lock().unwrap_or_else(PoisonError::into_inner).remove(&url);
        let mut peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.0.identity.public_url.as_ref() == Some(&url);
        if !own && !peers.contains(&url) && peers.len() < MAX_PEER_URLS {
            peers.push(url);
        }
    }

    /// An original names a coordinator; it may be one that was forgotten here.
    pub(crate) fn discovered(&self, url: &str) {
        let forgotten = {
            let urls = self.0.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
            urls.contains(url)
        };
        if !forgotten {
            self.add_peer(url.to_owned());
        }
    }

    /// Whether a service of that id is, or was, one of this network.
    pub(crate) fn has_service(&self, id: &ServiceId) -> Result<bool, Refusal> {
        let subject = Subject::Service(id.clone());
        Ok(self.reader()?.register(&subject).map_err(store_refusal)?.is_some())
    }

    /// The coordinator at `url` is gone for good. What originals left is taken over only if none can
    /// be left: one that comes back would give it to somebody else.
    pub(super) fn forget_peer(&self, url: String) -> BoxFuture<'_, Result<Forgotten, Refusal>> {
        async move {
            {
                let mut forgotten = self.0.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
                if forgotten.len() < MAX_PEER_URLS {
                    forgotten.insert(url.clone());
                }
            }
            let left = {
                let mut peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
                peers.retain(|known| *known != url);
                peers.clone()
            };
            let kinds = self.0.net.kinds();
            kinds.forget(&url);
            tracing::info!(url, "a coordinator is forgotten");
            let Some(originals) = self.originals() else { return Ok(Forgotten::default()) };
            if let Some(other) = kinds.first_not_ours(&left) {
                return Ok(Forgotten { left: Some(other), ..Forgotten::default() });
            }
            self.0.heir.inherit(self, originals).await
        }
        .boxed()
    }
}
