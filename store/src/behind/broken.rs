//! Why redb takes nothing more, for whoever asks from then on.

use std::io;

use crate::error::Fault;

/// Why redb did not take what waits.
#[derive(Debug)]
pub(super) struct Broken {
    kind: Option<io::ErrorKind>,
    text: String,
}

impl Broken {
    pub(super) fn of(fault: &Fault) -> Self {
        let kind = match &*fault.0 {
            redb::Error::Io(error) => Some(error.kind()),
            _ => None,
        };
        Self { kind, text: fault.0.to_string() }
    }

    pub(super) fn fault(&self) -> Fault {
        Fault(Box::new(match self.kind {
            Some(kind) => redb::Error::Io(io::Error::new(kind, self.text.clone())),
            None => redb::Error::Corrupted(self.text.clone()),
        }))
    }
}
