//! Why a policy file is not used. Nothing runs then: a rule that was not understood is not guessed.

use std::path::PathBuf;

/// What is wrong with the policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It could not be read.
    #[error("cannot read the policy file {} (SKYCLAW_POLICY): {reason}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The system's text, or what it is too much of.
        reason: String,
    },
    /// Others than its owner could change it.
    #[error("the policy file {} (SKYCLAW_POLICY) cannot be trusted: {reason}", path.display())]
    Unsafe {
        /// Its path.
        path: PathBuf,
        /// What is the matter, and what to do about it.
        reason: String,
    },
    /// It does not say what a policy file can say.
    #[error("{}:{line}: {reason}", path.display())]
    Wrong {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// It is understood, but its rules cannot be used here.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}
