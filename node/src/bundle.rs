//! Bundles: a directory as one blob, and a directory made of one.
//!
//! A bundle is a tar of files, folders and links. [`pack`] writes the same bytes for the same tree,
//! wherever and whenever, so that code which did not change is not uploaded again. [`unpack`] takes
//! bundles from anybody: what does not stay within its directory, or within bounds, is refused whole.
//!
//! Nothing is installed where a bundle is unpacked, so what a program needs at run time has to be in it,
//! `node_modules` too. What `.gitignore` and `.skyclawignore` name is left out; the latter has the
//! last word, and takes in again what the former leaves out (`!node_modules/`, `!dist/`). `.git`,
//! `.skyclaw` and a `skyclaw.toml` at the top are never packed: the last two may hold keys and tokens.
//!
//! Each instance gets a copy of its own. A shared one would have to be kept from its first user's
//! writes, and counted; a service may write where it stands, as on a developer's machine.

mod pack;
pub(crate) mod paths;
mod unpack;

pub use pack::{PackError, Packed, pack};
pub use unpack::{UnpackError, Unpacked, unpack};

/// Why a bundle that somebody named is not there as a directory. The directory is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Nobody who has it answers now; later somebody may.
    #[error("its bundle cannot be fetched: {0}")]
    Unavailable(String),
    /// It is no bundle that may be unpacked, and never will be one.
    #[error("its bundle cannot be unpacked: {0}")]
    Broken(String),
    /// This host has no room for it, or cannot write.
    #[error("its bundle cannot be kept here: {0}")]
    Host(String),
}

#[cfg(test)]
mod tests;
