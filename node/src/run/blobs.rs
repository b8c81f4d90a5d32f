//! Where a node keeps blobs, and which it needs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skyclaw_protocol::{Hash, ServiceView};

use crate::blobs::{Blobs, Settings};
use crate::engine::Shared;

/// The folder beside a database. A node whose folder cannot be used works without blobs: jobs and
/// services that need none go on.
pub(super) async fn beside(db_path: &Path, min_free: u64) -> Option<Blobs> {
    let mut dir = db_path.to_owned().into_os_string();
    dir.push(".blobs");
    let settings = Settings::new(PathBuf::from(dir), min_free);
    let dir = settings.dir.clone();
    match tokio::task::spawn_blocking(move || Blobs::open(settings)).await {
        Ok(Ok(blobs)) => Some(blobs),
        Ok(Err(error)) => {
            tracing::error!(dir = %dir.display(), %error, "the folder of blobs cannot be used");
            None
        }
        Err(_) => None,
    }
}

/// Bundles of the services that this node knows make no room.
pub(super) fn keep_services(blobs: &Blobs, shared: Arc<Shared>) {
    blobs.set_keep(Arc::new(move || bundles(&shared)));
}

/// The bundles of all services, those under replacement too.
fn bundles(shared: &Shared) -> Option<HashSet<Hash>> {
    let services = crate::handle::all_services(&shared.reader()?).ok()?;
    let of = |service: &ServiceView| {
        let past: Vec<_> = service.past.iter().map(|past| past.def.bundle).collect();
        [past, vec![service.def.bundle]].concat()
    };
    Some(services.iter().flat_map(of).flatten().collect())
}
