//! What is the same for every run of a node: its level, the folders of the system and of its
//! programs, and what of the node's own must not be seen.
//!
//! Known before a run is there, so a shim that waits for its job can be laid out with it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use skyclaw_protocol::SandboxLevel;

use super::profile::Profile;
use super::user;

/// Where systems keep programs, libraries and their settings. `/nix` and `/gnu` hold those of systems
/// that have nothing in the others.
const SYSTEM: [&str; 11] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/gnu",
];

/// Settings that systems keep elsewhere and link to from `/etc`: without them no name resolves.
const LINKED: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/localtime"];

/// Entries of a folder that are opened one by one around what is hidden in it. A folder with more is
/// not opened at all.
const MOST_ENTRIES: usize = 4096;

/// What every run stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ground {
    pub(crate) level: SandboxLevel,
    /// Whether an isolated run has a network namespace.
    pub(crate) own_network: bool,
    /// Most that it has in memory as files.
    pub(crate) tmp_bytes: u64,
    /// Files and folders to be read, in an order in which none lies in a later one.
    pub(crate) folders: Vec<PathBuf>,
    /// What stays out of sight although it lies in one of them.
    pub(crate) hidden: Vec<PathBuf>,
}

/// Where a run works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    /// The folder that holds all of it; what lies in it beside the others is the host's, to be read.
    pub(crate) base: PathBuf,
    /// Its own folders, except the one for temporary files.
    pub(crate) own: Vec<PathBuf>,
    /// Its folder for temporary files.
    pub(crate) tmp: PathBuf,
    /// The user that it runs as, where that is another than the node's.
    pub(crate) user: Option<u32>,
}

impl Ground {
    /// Of no sandbox.
    pub(crate) const fn none() -> Self {
        Self {
            level: SandboxLevel::None,
            own_network: false,
            tmp_bytes: 0,
            folders: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// The ground of a run of this profile: `more` are its programs' folders and what its owner opens.
    pub(crate) fn new(
        profile: &Profile,
        more: impl IntoIterator<Item = PathBuf>,
        hidden: &[PathBuf],
    ) -> Self {
        let system = SYSTEM.iter().chain(&LINKED).map(PathBuf::from);
        // A link and what it leads to are both opened, each under its own name.
        let both = |path: PathBuf| {
            let real = fs::canonicalize(&path).ok().filter(|real| is_folder_to_open(real));
            real.into_iter().flat_map(move |real| [real, path.clone()]).collect::<Vec<_>>()
        };
        let folders = distinct(system.chain(more).flat_map(both).collect());
        let hidden =
            distinct(hidden.iter().filter_map(|path| fs::canonicalize(path).ok()).collect());
        Self {
            level: profile.level,
            own_network: profile.has_own_network(),
            tmp_bytes: profile.limits.tmp_bytes,
            folders,
            hidden,
        }
    }

    /// Whether the process that keeps a run may keep another one after it: where runs have users of their
    /// own, who can do nothing to it. (`supervisor::shim::again` says more.)
    pub(crate) fn may_keep_another(&self) -> bool {
        matches!(self.level, SandboxLevel::Basic | SandboxLevel::Landlock) && user::can_be_given()
    }

    /// The ground for a run that asks for something else than most; none if this one fits.
    pub(crate) fn other_for(&self, profile: &Profile) -> Option<Self> {
        if profile.level != self.level {
            return Some(Self::none());
        }
        let (own_network, tmp_bytes) = (profile.has_own_network(), profile.limits.tmp_bytes);
        let same = own_network == self.own_network && tmp_bytes == self.tmp_bytes;
        let fits = same || self.level != SandboxLevel::Isolated;
        (!fits).then(|| Self { own_network, tmp_bytes, ..self.clone() })
    }
}

/// Whether a folder may be opened as a whole: not the root, nor what holds the homes of people, nor a
/// home itself.
pub(crate) fn is_folder_to_open(path: &Path) -> bool {
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    let first = names.first().map(|name| name.to_string_lossy());
    match (first.as_deref(), names.len()) {
        (None, _) | (Some("proc" | "sys" | "dev"), _) => false,
        (Some("root"), 1) | (Some("home" | "Users"), 1 | 2) => false,
        (Some("run" | "var" | "tmp" | "srv" | "mnt" | "boot"), 1) => false,
        _ => std::env::home_dir().is_none_or(|home| home != path),
    }
}

/// The folders that a program needs beside the system's: its own, that of what it is a link to, and
/// what lies beside a `bin`: libraries, or all packages of a `node_modules`.
pub(crate) fn around(program: &Path) -> Vec<PathBuf> {
    let real = fs::canonicalize(program).ok();
    let mut found = Vec::new();
    for path in [Some(program.to_owned()), real].into_iter().flatten() {
        let Some(folder) = path.parent() else { continue };
        found.extend(beside(folder));
        let packages = path.ancestors().filter(|one| one.ends_with("node_modules"));
        found.extend(packages.last().map(Path::to_owned));
    }
    distinct(found.into_iter().filter(|path| is_folder_to_open(path)).collect())
}

/// A folder of programs and what belongs to it.
pub(crate) fn beside(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    if folder.file_name().is_some_and(|name| name == "bin")
        && let Some(prefix) = folder.parent()
    {
        // Not `share`: below a home it holds keyrings and what programs keep of their users.
        let there = ["lib", "lib64", "libexec"].map(|name| prefix.join(name));
        found.extend(there.into_iter().filter(|path| path.is_dir()));
    }
    found
}

/// Sorted, without what lies in another of them.
pub(crate) fn distinct(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    let mut kept: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        let link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
        if link || !kept.iter().any(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}

/// The folder itself, or, if something in it is hidden, all that lies in it beside that: rules of
/// Landlock only ever open, so what is to stay closed must not be named.
pub(crate) fn open_around(folder: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    if hidden.iter().any(|path| folder.starts_with(path)) {
        return Vec::new();
    }
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if !hidden.iter().any(|path| path.starts_with(&real)) {
        return vec![folder.to_owned()];
    }
    let Ok(entries) = fs::read_dir(&real) else { return Vec::new() };
    let entries: Vec<PathBuf> =
        entries.flatten().take(MOST_ENTRIES + 1).map(|entry| entry.path()).collect();
    if entries.len() > MOST_ENTRIES {
        return Vec::new();
    }
    entries.iter().flat_map(|entry| open_around(entry, hidden)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_home_or_the_root_is_never_opened_as_a_whole() {
        let homes = ["home/a", "Users/a", "home", "root", "proc", "tmp", "var", ""];
        for closed in homes.map(|name| format!("/{name}")) {
            assert!(!is_folder_to_open(Path::new(&closed)), "{closed}");
        }
        let folders = ["home/a/bin", "usr", "opt/x", "root/.nvm/bin", "var/lib/x"];
        for open in folders.map(|name| format!("/{name}")) {
            assert!(is_folder_to_open(Path::new(&open)), "{open}");
        }
    }

    #[test]
    fn a_program_brings_what_lies_beside_it_and_what_it_is_a_link_to() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        for folder in ["a/bin", "a/lib", "b/node_modules/tool", "b/other"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        fs::write(base.join("b/node_modules/tool/run.mjs"), "").unwrap();
        symlink(base.join("b/node_modules/tool/run.mjs"), base.join("a/bin/tool")).unwrap();
        let found = around(&base.join("a/bin/tool"));
        assert_eq!(found, ["a/bin", "a/lib", "b/node_modules"].map(|name| base.join(name)));
    }

    #[test]
    fn what_is_hidden_is_left_out_and_all_beside_it_is_not() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        for file in ["a/key", "a/b/db", "a/b/other", "a/open"] {
            fs::write(base.join(file), "").unwrap();
        }
        let hidden = ["a/key", "a/b/db"].map(|name| base.join(name));
        let mut open = open_around(&base, &hidden);
        open.sort();
        assert_eq!(open, ["a/b/other", "a/open"].map(|name| base.join(name)));
        assert_eq!(open_around(&base.join("a/b/other"), &hidden).len(), 1);
    }
}
