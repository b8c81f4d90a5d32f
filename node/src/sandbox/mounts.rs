//! The files of an isolated run: a root in memory, read-only, with what it may see bound into it.
//!
//! ```text
//! begin: an empty root over the old one ─> system folders, /dev, /proc      (before the job is known)
//! finish: the job's own folders ─> the old root is let go ─> the root is closed
//! ```
//!
//! Always: everything bound is without set-uid and devices; everything but the run's own folders, and
//! those that the owner opens for writing, is read-only, mounts below included.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::fault::{Fault, Step};
use super::ground::{Ground, Places, distinct};
use super::profile::{Network, Profile};
use super::rules::DEVICES;

/// Where the old root is while the new one is laid out.
const OLD: &str = "/.old";

/// What is in memory for the run; it may see that it is one place. To take it away again would cost each
/// run some milliseconds.
const MEMORY: &str = "/run/memory";

/// Where the new root is put together: a folder that every system has.
const STAGE: &str = "/tmp";

/// The socket of a proxy, as the run's first process sees it.
pub(crate) const PROXY: &str = "/run/proxy";

/// Files in memory: one takes a kilobyte of the kernel's own, which nobody counts against the run.
const INODES: u32 = 65_536;

/// The mounts of the machine as they were, and the new root on its way.
#[derive(Debug)]
pub(crate) struct Begun {
    mounts: Vec<PathBuf>,
}

/// Lays out what is the same for every run.
pub(crate) fn begin(ground: &Ground) -> Result<Begun, Fault> {
    let mounts = mount_points();
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    mount("skyclaw", STAGE, "tmpfs", safe, c"mode=755,size=16m").step(|| "an empty root")?;
    make(Path::new(STAGE).join(".old").as_path())?;
    chdir(STAGE).step(|| "an empty root")?;
    pivot_root(".", ".old").step(|| "changing to the new root")?;
    chdir("/").step(|| "the new root")?;
    let begun = Begun { mounts };
    memory(ground.tmp_bytes)?;
    // First: what is opened may lie in there.
    for folder in ["/tmp", "/var/tmp"] {
        make(Path::new(folder))?;
        bind(&Path::new(MEMORY).join("tmp"), Path::new(folder))?;
    }
    for folder in &ground.folders {
        begun.open(folder, folder)?;
    }
    for hidden in &ground.hidden {
        begun.cover(hidden)?;
    }
    for folder in ["/proc", "/dev", "/run", "/sys"] {
        make(Path::new(folder))?;
    }
    mount("proc", "/proc", "proc", safe | MountFlags::NOEXEC, None).step(|| "mounting /proc")?;
    devices()?;
    bind(&Path::new(MEMORY).join("shm"), Path::new("/dev/shm"))?;
    Ok(begun)
}

/// Devices that are no way to anything, and terminals of the run's own.
fn devices() -> Result<(), Fault> {
    for device in DEVICES.into_iter().filter(|device| old(Path::new(device)).exists()) {
        fs::write(device, "").step(|| format!("making {device}"))?;
        bind(&old(Path::new(device)), Path::new(device))?;
    }
    let links = [
        ("fd", "self/fd"),
        ("stdin", "self/fd/0"),
        ("stdout", "self/fd/1"),
        ("stderr", "self/fd/2"),
    ];
    for (name, to) in links {
        symlink(format!("/proc/{to}"), format!("/dev/{name}")).step(|| "links in /dev")?;
    }
    make(Path::new("/dev/pts"))?;
    make(Path::new("/dev/shm"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    // A kernel without it has no such terminals at all.
    let data = c"newinstance,ptmxmode=0666,mode=620";
    if mount("devpts", "/dev/pts", "devpts", flags, data).is_ok() {
        symlink("pts/ptmx", "/dev/ptmx").step(|| "links in /dev")?;
    }
    Ok(())
}

/// What the run has in memory: one bound for all of it.
fn memory(bytes: u64) -> Result<(), Fault> {
    make(Path::new(MEMORY))?;
    let data = format!("mode=755,size={bytes},nr_inodes={INODES}");
    let data = std::ffi::CString::new(data).map_err(|error| Fault::new("memory", error))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("skyclaw", MEMORY, "tmpfs", flags, &*data).step(|| "a folder in memory")?;
    for name in ["tmp", "shm", "own"] {
        let path = Path::new(MEMORY).join(name);
        make(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))
            .step(|| "a folder in memory")?;
    }
    Ok(())
}

impl Begun {
    /// Lays out what belongs to this run, and closes the root.
    pub(crate) fn finish(
        &self,
        ground: &Ground,
        profile: &Profile,
        places: &Places,
    ) -> Result<(), Fault> {
        for folder in distinct(profile.readable.clone()) {
            let known = |above: &PathBuf| folder.starts_with(above);
            if !ground.folders.iter().any(known) {
                self.open(&folder, &folder)?;
            }
        }
        for folder in distinct(profile.writable.clone()) {
            make(&folder)?;
            bind(&old(&folder), &folder)?;
            self.harden(&folder, false)?;
        }
        self.open(&places.base, &places.base)?;
        for own in &places.own {
            bind(&old(own), own)?;
            self.harden(own, false)?;
        }
        bind(&Path::new(MEMORY).join("own"), &places.tmp)?;
        if let Network::Proxy(socket) = &profile.network {
            fs::write(PROXY, "").step(|| "the place of the proxy's socket")?;
            bind(&old(socket), Path::new(PROXY))?;
        }
        unmount(OLD, UnmountFlags::DETACH).step(|| "letting go of the old root")?;
        fs::remove_dir(OLD).step(|| "letting go of the old root")?;
        let closed = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount("/", closed, "").step(|| "closing the root")
    }

    /// Binds what lies at `from` in the old root, to be read. Links of the system stay links; what is
    /// not there is left out.
    fn open(&self, from: &Path, at: &Path) -> Result<(), Fault> {
        let source = old(from);
        let Ok(meta) = fs::symlink_metadata(&source) else { return Ok(()) };
        if meta.is_symlink() {
            if fs::symlink_metadata(at).is_ok() {
                return Ok(());
            }
            if let Some(parent) = at.parent() {
                make(parent)?;
            }
            let to = fs::read_link(&source).step(|| format!("reading {}", from.display()))?;
            return symlink(to, at).step(|| format!("linking {}", at.display()));
        }
        if meta.is_dir() {
            make(at)?;
        } else {
            if let Some(parent) = at.parent() {
                make(parent)?;
            }
            if !at.exists() {
                fs::write(at, "").step(|| format!("making {}", at.display()))?;
            }
        }
        bind(&source, at)?;
        self.harden(at, true)
    }

    /// Takes set-uid and devices from a mount and those below it, and writing if it is to be read.
    fn harden(&self, at: &Path, read_only: bool) -> Result<(), Fault> {
        let below = self.mounts.iter().filter(|mount| mount.starts_with(at) && *mount != at);
        for mount in std::iter::once(at).chain(below.map(PathBuf::as_path)) {
            let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
            let Ok(now) = statvfs(mount) else { continue };
            if read_only || now.f_flag.contains(StatVfsMountFlags::RDONLY) {
                flags |= MountFlags::RDONLY;
            }
            // What the machine took from it cannot be given back.
            if now.f_flag.contains(StatVfsMountFlags::NOEXEC) {
                flags |= MountFlags::NOEXEC;
            }
            mount_remount(mount, flags, "").step(|| format!("closing {}", mount.display()))?;
        }
        Ok(())
    }

    /// Lays something empty over what must not be seen.
    fn cover(&self, hidden: &Path) -> Result<(), Fault> {
        let Ok(meta) = fs::metadata(hidden) else { return Ok(()) };
        let step = || format!("covering {}", hidden.display());
        if meta.is_dir() {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
            mount("skyclaw", hidden, "tmpfs", flags, c"mode=755,size=4k").step(step)
        } else {
            mount_bind_recursive(old(Path::new("/dev/null")), hidden).step(step)
        }
    }
}

fn bind(from: &Path, at: &Path) -> Result<(), Fault> {
    mount_bind_recursive(from, at).step(|| format!("binding {}", at.display()))
}

fn make(folder: &Path) -> Result<(), Fault> {
    fs::create_dir_all(folder).step(|| format!("making {}", folder.display()))
}

/// A path of the machine while the old root is still there.
fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

/// Where things are mounted on this machine.
fn mount_points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found: HashSet<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescaped(path)))
        .collect();
    found.into_iter().collect()
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |text, (from, to)| text.replace(from, to))
}
