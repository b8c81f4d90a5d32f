//! The policy file: who may have written it, and what it says.
//!
//! Always: it is read once, at start, and held in memory. Whatever a job does to it changes nothing
//! for the daemon that runs; what its owner does to it is taken at the next start.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::geteuid;
use skyclaw_protocol::Hash;

use super::super::workdir;
use super::document::{Bounds, Opened, Parsed, parse};
use super::error::PolicyError;
use super::folders;
use super::network::{NetworkRules, Whose};
use super::rules::{AgentRules, Matcher, Rules};
use super::words::{Section, Security};

/// Largest file, in bytes: more is a mistaken path.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Bits of a mode that let group and others write.
const OTHERS_WRITE: u32 = 0o022;

/// In a folder with this bit only its owner and a file's owner may replace the file.
const STICKY: u32 = 0o1000;

/// What a policy file is read for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// Where job directories are made; none for the system's temporary directory.
    pub work_root: Option<&'a Path>,
    /// The daemon's home, which `~` stands for.
    pub home: Option<&'a str>,
    /// Files and folders that are the node's own, which no run may see.
    pub own: &'a [PathBuf],
}

/// The rules that a file gives.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    jobs: Rules,
    services: Rules,
    agents: Rules,
    digest: Hash,
    networks: [NetworkRules; 3],
    opened: Opened,
    bounds: Bounds,
    folders: Folders,
}

/// Folders that are open to what runs here: real ones, that were there at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// For reading, and to run what is there.
    pub read: Vec<PathBuf>,
    /// Also for writing.
    pub write: Vec<PathBuf>,
}

impl PolicyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, others could have written it, or it is no policy.
    pub fn load(path: &Path, place: Place<'_>) -> Result<Self, PolicyError> {
        let unreadable = |reason: String| PolicyError::Unreadable { path: path.to_owned(), reason };
        let distrusted = |reason: String| PolicyError::Unsafe { path: path.to_owned(), reason };
        let failed = |error: io::Error| unreadable(error.to_string());
        // Links are followed first, so that what is looked at is what is read.
        let real = fs::canonicalize(path).map_err(failed)?;
        let file = open(&real).map_err(failed)?;
        let me = geteuid().as_raw();
        let meta = file.metadata().map_err(failed)?;
        untrusted(&meta, &real, me).map_or(Ok(()), |why| Err(distrusted(why)))?;
        if let Some(folder) = real.parent() {
            let meta = fs::metadata(folder).map_err(failed)?;
            untrusted_folder(&meta, folder, me).map_or(Ok(()), |why| Err(distrusted(why)))?;
        }
        if let Some(folder) = jobs_folder(&real, place.work_root) {
            let folder = folder.display();
            return Err(distrusted(format!("jobs run in {folder} and could write it: move it")));
        }
        let mut text = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        let mut rules = Self::parse(&text, path, place.home)?;
        let own: Vec<_> = place.own.iter().chain([&real]).cloned().collect();
        let place = Place { own: &own, ..place };
        let open = |list, texts: &[String]| {
            let unusable = |reason| PolicyError::Unusable { path: path.to_owned(), reason };
            folders::open(list, texts, place).map_err(unusable)
        };
        rules.folders = Folders {
            read: open("read", &rules.opened.read)?,
            write: open("write", &rules.opened.write)?,
        };
        Ok(rules)
    }

    /// Reads the text of a file; `home` is what `~` stands for. It opens no folders.
    ///
    /// # Errors
    /// It is no policy.
    pub fn parse(text: &[u8], path: &Path, home: Option<&str>) -> Result<Self, PolicyError> {
        let home = home.filter(|home| home.starts_with('/'));
        let Parsed { jobs, services, agents, networks, opened, bounds } = parse(text, path, home)?;
        let (folders, digest) = (Folders::default(), Hash::of(text));
        Ok(Self { jobs, services, agents, digest, networks, opened, bounds, folders })
    }

    pub(super) const fn section(&self, section: Section) -> &Rules {
        match section {
            Section::Jobs => &self.jobs,
            Section::Services => &self.services,
        }
    }

    /// Hash of its text.
    pub(super) const fn digest(&self) -> Hash {
        self.digest
    }

    /// What an agent's own tools may do.
    #[must_use]
    pub fn agents(&self) -> AgentRules {
        AgentRules {
            security: self.agents.security(),
            allowlist: self.agents.entries().iter().map(|entry| entry.entry().clone()).collect(),
        }
    }

    /// The folders it opens.
    #[must_use]
    pub const fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Most that one run may take.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) const fn network(&self, whose: Whose) -> &NetworkRules {
        let [jobs, services, agents] = &self.networks;
        match whose {
            Whose::Jobs => jobs,
            Whose::Services => services,
            Whose::Agents => agents,
        }
    }

    /// The names that its lists allow.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let parts = [&self.jobs, &self.services].into_iter();
        let lists = parts.filter(|part| part.security() == Security::Allowlist);
        lists.flat_map(|part| part.entries().iter().filter_map(Matcher::name))
    }

    /// A line for each list of folders and each bound.
    pub(super) fn opens(&self) -> Vec<String> {
        let folders = |what: &str, list: &[PathBuf]| {
            let list: Vec<_> = list.iter().map(|path| path.display().to_string()).collect();
            (!list.is_empty()).then(|| format!("{what}: {}", list.join(", ")))
        };
        let bound = |what: &str, bound: Option<u64>| {
            bound.map(|bound| format!("{what} of one run: at most {bound}"))
        };
        let Bounds { memory_bytes, processes, disk_bytes } = self.bounds;
        let lines = [
            folders("what runs may read", &self.folders.read),
            folders("what runs may write", &self.folders.write),
            bound("bytes of memory", memory_bytes),
            bound("processes and threads", processes),
            bound("bytes on disk", disk_bytes),
        ];
        lines.into_iter().flatten().collect()
    }

    /// A line for each section.
    pub(super) fn summary(&self) -> Vec<String> {
        let parts = [("jobs", &self.jobs), ("services", &self.services), ("agents", &self.agents)];
        let line = |(name, rules): (&str, &Rules)| {
            let entries = rules.entries().len();
            let plural = if entries == 1 { "entry" } else { "entries" };
            match rules.security() {
                Security::Allowlist => format!("policy {name}: allowlist of {entries} {plural}"),
                other => format!("policy {name}: {}", other.as_str()),
            }
        };
        parts.map(line).into()
    }
}

/// Opens a file without following a link, and without waiting if it is a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

/// Why a file may say what its owner did not mean, with what to do about it.
fn untrusted(meta: &Metadata, path: &Path, me: u32) -> Option<String> {
    let shown = path.display();
    if !meta.is_file() {
        return Some("it is no regular file".to_owned());
    }
    if ![0, me].contains(&meta.uid()) {
        let owner = meta.uid();
        return Some(format!(
            "it belongs to user {owner}, not to root or user {me}: chown {me} {shown}"
        ));
    }
    let mode = meta.mode() & 0o7777;
    let writable = mode & OTHERS_WRITE != 0;
    writable.then(|| format!("others may write it (mode {mode:04o}): chmod go-w {shown}"))
}

/// The same for the folder, in which the file could be replaced.
fn untrusted_folder(meta: &Metadata, path: &Path, me: u32) -> Option<String> {
    let shown = path.display();
    if ![0, me].contains(&meta.uid()) {
        let owner = meta.uid();
        return Some(format!(
            "its folder {shown} belongs to user {owner}, not to root or user {me}: move it"
        ));
    }
    let mode = meta.mode() & 0o7777;
    let writable = mode & OTHERS_WRITE != 0 && mode & STICKY == 0;
    writable.then(|| {
        format!(
            "others may write its folder {shown} (mode {mode:04o}): chmod go-w {shown}, or move it"
        )
    })
}

/// The folder of jobs that the file lies in.
fn jobs_folder(real: &Path, work_root: Option<&Path>) -> Option<PathBuf> {
    // A folder that is not there yet has nothing in it.
    let folder = match work_root {
        Some(root) => fs::canonicalize(root).ok()?,
        None => workdir::root_above(real, &fs::canonicalize(std::env::temp_dir()).ok()?)?,
    };
    real.starts_with(&folder).then_some(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const FINE: &str = r#"{ "version": 1 }"#;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(folder: &Path, mode: u32) -> PathBuf {
        let path = folder.join("policy.json");
        fs::write(&path, FINE).unwrap();
        set(&path, mode);
        path
    }

    #[track_caller]
    fn refused(path: &Path, place: Place<'_>, word: &str) {
        let said = PolicyFile::load(path, place).expect_err("it is not safe").to_string();
        assert!(said.contains(word) && said.contains("SKYCLAW_POLICY"), "{said}");
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o620, 0o602, 0o666] {
            refused(&file(dir.path(), mode), Place::default(), "chmod go-w");
        }
        for mode in [0o600, 0o644, 0o444] {
            PolicyFile::load(&file(dir.path(), mode), Place::default()).unwrap();
        }
    }

    #[test]
    fn a_file_that_others_may_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 0o600);
        for mode in [0o720, 0o702, 0o777] {
            set(dir.path(), mode);
            refused(&path, Place::default(), "its folder");
        }
        // As in /tmp itself.
        set(dir.path(), 0o1777);
        PolicyFile::load(&path, Place::default()).unwrap();
    }

    #[test]
    fn a_link_is_judged_by_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let (path, link) = (file(&open, 0o600), dir.path().join("link.json"));
        symlink(&path, &link).unwrap();
        PolicyFile::load(&link, Place::default()).unwrap();
        set(&open, 0o777);
        refused(&link, Place::default(), "its folder");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        refused(dir.path(), Place::default(), "no regular file");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        refused(&pipe, Place::default(), "no regular file");
        refused(&dir.path().join("none"), Place::default(), "No such file");
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 0o600);
        let (meta, folder) = (fs::metadata(&path).unwrap(), fs::metadata(dir.path()).unwrap());
        let me = geteuid().as_raw();
        assert_eq!(untrusted(&meta, &path, me), None);
        assert_eq!(untrusted_folder(&folder, dir.path(), me), None);
        // Seen by somebody else; what is root's all trust.
        let said = (untrusted(&meta, &path, me + 1), untrusted_folder(&folder, dir.path(), me + 1));
        assert_eq!((said.0.is_none(), said.1.is_none()), (me == 0, me == 0), "{said:?}");
    }

    #[test]
    fn a_file_where_jobs_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a");
        fs::create_dir(&below).unwrap();
        let path = file(&below, 0o600);
        let at = |root: &Path| jobs_folder(&path, Some(root)).is_some();
        assert!(at(dir.path()) && at(&below));
        assert!(!at(&dir.path().join("other")));
        let place = Place { work_root: Some(dir.path()), ..Place::default() };
        refused(&path, place, "jobs run in");
        // In the temporary directory only the folders of daemons are those of jobs.
        let base = Path::new("/tmp");
        let root = base.join(format!("skyclaw-{}-7-x", geteuid().as_raw()));
        let above = |path: &Path| workdir::root_above(path, base);
        assert_eq!(above(&root.join("0").join("work").join("policy.json")), Some(root.clone()));
        assert_eq!(above(&base.join("other/policy.json")), None);
        assert_eq!(above(Path::new("/etc/policy.json")), None);
    }

    #[test]
    fn a_huge_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 0o600);
        fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
        refused(&path, Place::default(), "larger than");
    }
}
