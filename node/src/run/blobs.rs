//! Where a node keeps blobs, and which it needs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::{Hash, ServiceView};

use crate::blobs::{Blobs, Keep, Settings, Urls};
use crate::engine::Shared;
use crate::services::{BundleError, Bundles, Busy, NoBundles};

/// Bytes that stay free where no setting says so: what coordinators keep by default.
const MIN_FREE: u64 = 64 << 20;

/// Folders tried by hosts that have no file of their own: so many may share a temporary directory.
const MAX_SHARED: usize = 64;

/// The folder beside a database. A node whose folder cannot be used works without blobs: jobs and
/// services that need none go on.
pub(super) async fn beside(db_path: &Path, min_free: u64) -> Option<Blobs> {
    let mut dir = db_path.to_owned().into_os_string();
    dir.push(".blobs");
    let settings = Settings::new(PathBuf::from(dir), min_free);
    blocking(move || open(settings)).await
}

/// Of a host that talks HTTP: below its folder for jobs, and filled by its coordinators.
pub(super) async fn of_http_host(
    work_dir: Option<&Path>,
    urls: &[String],
    token: Option<&str>,
) -> Option<Blobs> {
    let base = work_dir.map_or_else(std::env::temp_dir, Path::to_owned);
    let name = format!("skyclaw-blobs-{}", rustix::process::geteuid().as_raw());
    let blobs = blocking(move || {
        let dir = |at| match at {
            0 => base.join(&name),
            _ => base.join(format!("{name}-{at}")),
        };
        // Each is one host's: another one has locked it, or another user made it.
        let free =
            (0..MAX_SHARED - 1).find_map(|at| Blobs::open(Settings::new(dir(at), MIN_FREE)).ok());
        free.or_else(|| open(Settings::new(dir(MAX_SHARED - 1), MIN_FREE)))
    });
    let blobs = blobs.await?;
    match Urls::new(urls, token) {
        Ok(urls) => blobs.set_sources(Arc::new(urls)),
        Err(error) => tracing::error!(error, "no blobs can be fetched"),
    }
    Some(blobs)
}

/// Where the code of services comes from.
pub(super) fn bundles(blobs: Option<&Blobs>) -> Arc<dyn Bundles> {
    blobs.map_or_else(|| Arc::new(NoBundles) as _, |blobs| Arc::new(blobs.clone()) as _)
}

impl Bundles for Blobs {
    fn fetch_and_unpack<'a>(
        &'a self,
        hash: Hash,
        into: &'a Path,
        busy: Busy,
    ) -> BoxFuture<'a, Result<(), BundleError>> {
        self.unpack(hash, into, busy).boxed()
    }
}

fn open(settings: Settings) -> Option<Blobs> {
    let dir = settings.dir.clone();
    let failed = |error| {
        tracing::error!(dir = %dir.display(), %error, "the folder of blobs cannot be used");
    };
    Blobs::open(settings).map_err(failed).ok()
}

async fn blocking(open: impl FnOnce() -> Option<Blobs> + Send + 'static) -> Option<Blobs> {
    tokio::task::spawn_blocking(open).await.ok().flatten()
}

/// Bundles of the services that a coordinator knows: they make no room.
pub(super) fn of_services(shared: Arc<Shared>) -> Keep {
    Arc::new(move || needed(&shared))
}

/// The bundles of all services, those under replacement too.
fn needed(shared: &Shared) -> Option<HashSet<Hash>> {
    let services = crate::handle::all_services(&shared.reader()?).ok()?;
    let of = |service: &ServiceView| {
        let past: Vec<_> = service.past.iter().map(|past| past.def.bundle).collect();
        [past, vec![service.def.bundle]].concat()
    };
    Some(services.iter().flat_map(of).flatten().collect())
}
