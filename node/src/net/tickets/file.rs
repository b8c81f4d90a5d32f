//! The file with notices: read once, checked anew, replaced whole.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::network::{Notice, Notices};
use skyclaw_protocol::{NetworkId, NodeId, codec};

use super::super::limits::MAX_NOTICES_FILE;

#[derive(Serialize, Deserialize)]
struct File {
    network: NetworkId,
    notices: Vec<Notice>,
}

/// What the file holds and still counts; nothing if there is none, or one that is damaged, which is
/// said: others tell it again.
pub(super) fn read(path: &Path, network: NetworkId, admin: NodeId, now: Wall) -> Notices {
    let mut notices = Notices::default();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return notices,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "what is revoked cannot be read");
            return notices;
        }
    };
    let file = codec::decode::<File>(&bytes, MAX_NOTICES_FILE).ok();
    let Some(file) = file.filter(|file| file.network == network) else {
        tracing::error!(file = %path.display(), "what is revoked is damaged, and is asked for anew");
        return notices;
    };
    for notice in file.notices {
        // Those that are over by now say nothing any more.
        let _ = notices.take(notice, network, admin, now);
    }
    notices
}

/// The file's bytes.
pub(super) fn bytes(network: NetworkId, notices: Vec<Notice>) -> Vec<u8> {
    codec::encode(&File { network, notices })
}
