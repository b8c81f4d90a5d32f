//! Records gathered into bodies of `POST /v1/import`.

use serde::Serialize;
use serde_json::value::RawValue;

use super::rows::Kind;

/// Most records in a page: a coordinator carries them out together and answers within its time.
const MAX_RECORDS: usize = 500;

/// A page takes no further record once it would have more bytes than this. One longer record is a
/// page of its own.
const MAX_BYTES: usize = 4 << 20;

/// A body of `POST /v1/import`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Page {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    idempotency: Vec<Box<RawValue>>,
    #[serde(skip)]
    bytes: usize,
}

impl Page {
    /// How many records it holds.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.hosts.len() + self.jobs.len() + self.services.len() + self.idempotency.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn list(&mut self, kind: Kind) -> &mut Vec<Box<RawValue>> {
        match kind {
            Kind::Host => &mut self.hosts,
            Kind::Job => &mut self.jobs,
            Kind::Service => &mut self.services,
            Kind::Key => &mut self.idempotency,
        }
    }
}

/// Fills pages.
#[derive(Debug, Default)]
pub(crate) struct Pages(Page);

impl Pages {
    /// Adds a record; gives the page before it, if that has no room for it.
    #[must_use]
    pub(crate) fn add(&mut self, kind: Kind, record: Box<RawValue>) -> Option<Page> {
        let length = record.get().len();
        let full = self.0.len() >= MAX_RECORDS || self.0.bytes + length > MAX_BYTES;
        let before = (full && !self.0.is_empty()).then(|| std::mem::take(&mut self.0));
        self.0.bytes += length;
        self.0.list(kind).push(record);
        before
    }

    /// What is left.
    #[must_use]
    pub(crate) fn rest(self) -> Option<Page> {
        (!self.0.is_empty()).then_some(self.0)
    }
}
