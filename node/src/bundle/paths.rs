//! Which paths and links a bundle may hold. Both sides ask here.
//!
//! Always: a path that was taken is made of plain names. A link that was taken leads to somewhere
//! below the top, whatever other links are on its way: it goes up first, from a real folder, and
//! never up again after it went down through what may be a link.

use std::path::{Component, Path};

use skyclaw_protocol::limits::{MAX_BUNDLE_DEPTH, MAX_BUNDLE_PATH};

/// Longest name in bytes: what file systems take.
const MAX_NAME: usize = 255;

/// What is wrong with a path, in a few words that follow it.
pub(crate) type Fault = &'static str;

/// The names that a path of an entry is made of. None for the top itself.
pub(crate) fn names(path: &str) -> Result<Vec<&str>, Fault> {
    if path.len() > MAX_BUNDLE_PATH {
        return Err("is too long");
    }
    if path.contains('\0') {
        return Err("holds a zero byte");
    }
    let mut names = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) if name.len() > MAX_NAME => {
                return Err("holds a name that is too long");
            }
            Component::Normal(name) => names.push(name.to_str().ok_or("is not text")?),
            Component::CurDir => {}
            Component::ParentDir => return Err("leads out by `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("is absolute"),
        }
    }
    if names.len() > MAX_BUNDLE_DEPTH {
        return Err("is too deep");
    }
    Ok(names)
}

/// Whether a link that lies below `above` folders may lead to `target`.
pub(super) fn check_link(above: usize, target: &str) -> Result<(), Fault> {
    if target.is_empty() || target.len() > MAX_BUNDLE_PATH || target.contains('\0') {
        return Err("is a link that no system takes");
    }
    let mut up = 0;
    let mut down = false;
    for part in Path::new(target).components() {
        match part {
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            // Behind a name that is a link, `..` is not where it seems to be.
            Component::ParentDir if down => return Err("is a link with `..` behind a name"),
            Component::ParentDir => up += 1,
            Component::RootDir | Component::Prefix(_) => {
                return Err("is a link to an absolute path");
            }
        }
    }
    if up > above { Err("is a link that leads out") } else { Ok(()) }
}
