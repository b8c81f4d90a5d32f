//! Names the build of what a node and the small program beside it say to each other: a digest of the
//! sources of both ends. The same sources have the same name, wherever and whenever they are built.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What shims and inner processes are made of, and what gives them their orders.
const SOURCES: [&str; 4] = ["src/supervisor", "src/sandbox", "src/supervisor.rs", "src/sandbox.rs"];

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        collect(Path::new(source), &mut files)?;
    }
    files.sort();
    let mut digest = Digest::default();
    for file in &files {
        digest.take(file.to_string_lossy().as_bytes());
        digest.take(&fs::read(file)?);
    }
    let version = env!("CARGO_PKG_VERSION");
    println!("cargo:rustc-env=SKYCLAW_JOB_BUILD={version}-{:016x}", digest.0);
    link_small();
    Ok(())
}

/// A release is linked a twentieth smaller: equal functions are one, and addresses that the loader adjusts are a map of
/// bits. Both are what rust-lld does, which is the linker of this target; older C libraries than 2.36 do not load the latter.
fn link_small() {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let target = "x86_64-unknown-linux-gnu";
    if !(is("PROFILE", "release") && is("TARGET", target) && is("HOST", target)) {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    if c_library().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Which glibc this machine has: what is built here is to be run where there is one as new.
fn c_library() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// FNV-1a: told apart are builds, not forgeries. Whoever can lay another program there can also lay
/// another node there.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn take(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
