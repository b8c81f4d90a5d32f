//! Reading what originals hold.

use skyclaw_protocol::JobStatus;
use skyclaw_protocol::clock::Wall;

use super::Originals;
use super::index::{Place as JobPlace, Queued};
use super::row::{self, Class, Held, ROWS, key_of};
use crate::error::{Fault, ReadError, guard};

/// Reads, from any thread.
impl Originals {
    pub(super) fn read<T>(
        &self,
        act: impl FnOnce(&row::Rows) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        let read = guard(|| act(&self.shared.begin_read()?.open_table(ROWS)?));
        read.map_err(|fault| self.shared.unread(fault))
    }

    /// One record.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer; one that does not check out is absent.
    pub fn get(&self, class: Class, id: &str) -> Result<Option<Held>, ReadError> {
        let key = key_of(class, id);
        if !self.index().holds(&key) {
            return Ok(None);
        }
        self.read(|table| row::get(table, &key))
    }

    /// Records of these ids in their order, without those that are not there, until they have so many
    /// bytes: then fewer, but at least one.
    ///
    /// # Errors
    /// As [`Originals::get`].
    pub fn get_all<'i>(
        &self,
        class: Class,
        ids: impl IntoIterator<Item = &'i str>,
        most_bytes: usize,
    ) -> Result<Vec<Held>, ReadError> {
        self.read(|table| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for id in ids {
                if bytes >= most_bytes {
                    break;
                }
                let Some(record) = row::get(table, &key_of(class, id))? else { continue };
                bytes += record.raw.len();
                found.push(record);
            }
            Ok(found)
        })
    }

    /// All records of a class, in the order of their ids.
    ///
    /// # Errors
    /// As [`Originals::get`].
    pub fn all(&self, class: Class) -> Result<Vec<Held>, ReadError> {
        self.read(|table| {
            let mut found = Vec::new();
            for entry in table.range(row::range_of(class))? {
                let (key, stored) = entry?;
                found.extend(row::decode(key.value(), stored.value()));
            }
            Ok(found)
        })
    }

    /// Where jobs stand, by creation and id, from `after` on in the order asked for.
    #[must_use]
    pub fn places(
        &self,
        after: Option<(Wall, &str)>,
        newest_first: bool,
        limit: usize,
        wanted: impl Fn(JobStatus) -> bool,
    ) -> Vec<JobPlace> {
        self.index().places(after, newest_first, limit, wanted)
    }

    /// How a job stands, if it is held.
    #[must_use]
    pub fn status(&self, id: &str) -> Option<JobStatus> {
        self.index().status(&key_of(Class::Job, id))
    }

    /// Jobs that wait at originals, the oldest first.
    #[must_use]
    pub fn queued(&self) -> Vec<Queued> {
        self.index().queued()
    }

    /// How many records of a class are held.
    #[must_use]
    pub fn count(&self, class: Class) -> usize {
        self.index().count(class)
    }

    /// The largest version held.
    #[must_use]
    pub fn highest_version(&self) -> u64 {
        self.index().highest_version()
    }
}
