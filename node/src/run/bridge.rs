//! How a coordinator meets those of the original.

use skyclaw_http_compat::normalize_url;
use skyclaw_http_compat::snapshot::Exporter;

use crate::bridge::{Board, Bridge, Parts, Settings};
use crate::config::{Config, CoordinatorConfig};
use crate::engine::Engine;
use crate::handle::NodeHandle;

/// The bridge of this coordinator, not begun yet; none where there is no place for what it brings.
pub(super) fn of(
    config: &Config,
    settings: &CoordinatorConfig,
    engine: &Engine,
    handle: &NodeHandle,
) -> Option<Bridge> {
    let originals = handle.originals()?.clone();
    let board = Board::new(&settings.node_id);
    handle.set_board(board.clone());
    let about = Settings {
        label: settings.node_id.clone(),
        public_url: settings.public_url.as_deref().and_then(normalize_url),
        period: settings.peer_sync,
        discovery: settings.peer_discovery,
        host_ttl: settings.host_ttl,
        token: config.token.clone(),
    };
    let parts = Parts {
        handle: handle.clone(),
        originals,
        shared: engine.shared(),
        inbox: engine.inbox(),
        exporter: Exporter::new(engine.network()),
        kinds: handle.net().kinds(),
        board,
    };
    Some(Bridge::new(about, parts))
}
