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

#[cfg(test)]
mod tests;
