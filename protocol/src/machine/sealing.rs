//! What this node signs.

use super::Machine;
use crate::command::Refusal;
use crate::record::{Record, Reject, Signed};

impl Machine {
    /// Signs a record that holds what a caller sent. Callers check bounds too; a record that broke
    /// them would be written and could not be read back.
    pub(super) fn seal<T: Record>(&mut self, body: T) -> Result<Signed<T>, Refusal> {
        if let Err(Reject::Invalid(why)) = body.check(self.me) {
            return Err(Refusal::TooLarge(why.into()));
        }
        let signed = self.seal_own(body);
        if signed.raw().body.len() > T::MAX_BYTES {
            return Err(Refusal::TooLarge("the record is too long".into()));
        }
        Ok(signed)
    }

    /// Signs a record of what this node found, with the others of its batch.
    pub(super) fn seal_own<T: Record>(&mut self, body: T) -> Signed<T> {
        self.sealing.seal(&self.key, self.config.network, body)
    }
}
