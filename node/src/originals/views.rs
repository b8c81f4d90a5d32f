//! Records of originals as users see them.

use skyclaw_http_compat::snapshot;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{
    HostId, HostView, JobId, JobStatus, JobView, Refusal, ServiceId, ServiceView,
};
use skyclaw_store::ReadError;
use skyclaw_store::originals::{Class, Held, JobPlace, Originals as Store};

use super::Originals;
use crate::engine::chain;

/// It was bounded when it was taken; clocks may have been set since.
const ANY_TIME: Wall = Wall(u64::MAX);

/// Jobs that are read at once, and their bytes.
const PART: usize = 500;
pub(crate) const PART_BYTES: usize = 32 << 20;

fn text(record: &Held) -> Option<&str> {
    std::str::from_utf8(&record.raw).ok()
}

pub(crate) fn host(record: &Held) -> Option<HostView> {
    snapshot::host(text(record)?, ANY_TIME).ok().map(|host| host.view)
}

pub(crate) fn job(record: &Held) -> Option<JobView> {
    snapshot::job(text(record)?, ANY_TIME).ok().map(|job| job.view)
}

pub(crate) fn service(record: &Held) -> Option<ServiceView> {
    snapshot::service(text(record)?, ANY_TIME).ok().map(|service| service.view)
}

/// What is held at a moment, for whoever reads on a blocking thread.
#[derive(Clone, Debug)]
pub(crate) struct AsHeld(std::sync::Arc<Store>);

impl AsHeld {
    pub(crate) fn jobs(&self, ids: &[&str], most_bytes: usize) -> Result<Vec<Held>, ReadError> {
        self.0.get_all(Class::Job, ids.iter().copied(), most_bytes)
    }

    pub(crate) fn places(
        &self,
        after: Option<(Wall, &str)>,
        newest_first: bool,
        limit: usize,
        wanted: impl Fn(JobStatus) -> bool,
    ) -> Vec<JobPlace> {
        self.0.places(after, newest_first, limit, wanted)
    }

    pub(crate) fn status(&self, id: &JobId) -> Option<JobStatus> {
        self.0.status(id.as_str())
    }
}

impl Originals {
    /// What is held, if there is anything.
    pub(crate) fn copy(&self) -> Option<AsHeld> {
        self.held().filter(|_| self.count() > 0).map(AsHeld)
    }

    /// How a job stands with originals, from memory.
    #[must_use]
    pub fn status(&self, id: &JobId) -> Option<JobStatus> {
        self.held()?.status(id.as_str())
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<Option<T>, Refusal> {
        let Some(store) = self.held() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || read(&store)).await;
        let read = read.map_err(|_| Refusal::Stopping)?;
        read.map(Some).map_err(|error| Refusal::Store(chain(&error)))
    }

    /// A host as an original knows it.
    ///
    /// # Errors
    /// [`Refusal::Store`] if the disk did not answer.
    pub async fn host(&self, id: HostId) -> Result<Option<HostView>, Refusal> {
        let read = move |store: &Store| store.get(Class::Host, id.as_str());
        Ok(self.read(read).await?.flatten().as_ref().and_then(host))
    }

    /// A job as an original knows it.
    ///
    /// # Errors
    /// As [`Originals::host`].
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, Refusal> {
        let read =
            move |store: &Store| Ok(store.get(Class::Job, id.as_str())?.as_ref().and_then(job));
        Ok(self.read(read).await?.flatten())
    }

    /// A service as an original knows it.
    ///
    /// # Errors
    /// As [`Originals::host`].
    pub async fn service(&self, id: ServiceId) -> Result<Option<ServiceView>, Refusal> {
        let read = move |store: &Store| store.get(Class::Service, id.as_str());
        Ok(self.read(read).await?.flatten().as_ref().and_then(service))
    }

    /// All hosts that originals know, by registration.
    ///
    /// # Errors
    /// As [`Originals::host`].
    pub async fn hosts(&self) -> Result<Vec<HostView>, Refusal> {
        let read =
            |store: &Store| Ok(store.all(Class::Host)?.iter().filter_map(host).collect::<Vec<_>>());
        let mut hosts = self.read(read).await?.unwrap_or_default();
        hosts.sort_by(|a, b| (a.registered, &a.id).cmp(&(b.registered, &b.id)));
        Ok(hosts)
    }

    /// All services that originals know, by creation.
    ///
    /// # Errors
    /// As [`Originals::host`].
    pub async fn services(&self) -> Result<Vec<ServiceView>, Refusal> {
        let read = |store: &Store| {
            Ok(store.all(Class::Service)?.iter().filter_map(service).collect::<Vec<_>>())
        };
        let mut services = self.read(read).await?.unwrap_or_default();
        services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(services)
    }

    /// Jobs that originals hold and that have not ended, the oldest first, from `after` on: what
    /// becomes ours when the last of them is gone. Some at a time, none at the end.
    ///
    /// # Errors
    /// As [`Originals::host`].
    pub async fn unfinished(&self, after: Option<(Wall, JobId)>) -> Result<Vec<JobView>, Refusal> {
        let read = move |store: &Store| {
            let after = after.as_ref().map(|(at, id)| (*at, id.as_str()));
            let unended = |status| matches!(status, JobStatus::Queued | JobStatus::Leased);
            let places = store.places(after, false, PART, unended);
            let ids = places.iter().map(|place| &*place.id);
            let held = store.get_all(Class::Job, ids, PART_BYTES)?;
            Ok(held.iter().filter_map(job).collect::<Vec<_>>())
        };
        Ok(self.read(read).await?.unwrap_or_default())
    }
}
