//! Which ids are registers here, without reading them.

use skyclaw_protocol::record::spec::Subject;

use super::Reader;
use crate::error::ReadError;
use crate::tables::{SPECS, STUBS, subject_key};

impl Reader {
    /// For each subject whether it is a register here, or what is left of one.
    ///
    /// # Errors
    /// [`ReadError`] if the disk did not answer.
    pub fn known<'s>(
        &self,
        subjects: impl IntoIterator<Item = &'s Subject>,
    ) -> Result<Vec<bool>, ReadError> {
        self.read(|txn, _| {
            let (specs, stubs) = (txn.open_table(SPECS)?, txn.open_table(STUBS)?);
            let mut known = Vec::new();
            for subject in subjects {
                let key = subject_key(subject);
                let key = key.as_slice();
                known.push(specs.get(key)?.is_some() || stubs.get(key)?.is_some());
            }
            Ok(known)
        })
    }
}
