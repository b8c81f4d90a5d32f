//! Why a sandbox could not be made: which step, and what the system said to it.

use std::fmt;
use std::io;

/// A step that failed. It is the host's fault, never the job's.
#[derive(Debug)]
pub(crate) struct Fault {
    step: String,
    said: String,
}

impl Fault {
    /// A step that failed with these words.
    pub(crate) fn new(step: impl Into<String>, said: impl fmt::Display) -> Self {
        Self { step: step.into(), said: said.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.said)
    }
}

/// Names the step of a result.
pub(crate) trait Step<T> {
    /// The step is only worded when it failed.
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(step(), error.into()))
    }
}
