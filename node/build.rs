//! Names the build of what a node and the small program beside it say to each other: a digest of the
//! sources of both ends. The same sources have the same name, wherever and whenever they are built.

use std::env;
use std::ffi::{OsStr, OsString};
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

/// A release is linked a twentieth smaller where the linker can do that, as rust-lld does: equal functions are one, and addresses that the
/// loader adjusts are a map of bits. C libraries before 2.36 do not load the latter.
fn link_small() {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let target = "x86_64-unknown-linux-gnu";
    if !(is("PROFILE", "release") && is("TARGET", target) && is("HOST", target)) {
        return;
    }
    let mut flags = vec!["-Wl,--icf=all"];
    if c_library().is_some_and(|version| version >= (2, 36)) {
        flags.push("-Wl,-z,pack-relative-relocs");
    }
    for flag in flags.into_iter().filter(|flag| links_with(flag)) {
        println!("cargo:rustc-link-arg-bins={flag}");
    }
}

/// Whether an empty program can be linked so, by the linker and with the flags that this build has.
fn links_with(flag: &str) -> bool {
    let (Some(rustc), Some(out)) = (env::var_os("RUSTC"), env::var_os("OUT_DIR")) else {
        return false;
    };
    let (source, program) = (Path::new(&out).join("empty.rs"), Path::new(&out).join("empty"));
    if fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut link = Command::new(rustc);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    link.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        link.arg("-C").arg([OsStr::new("linker="), &linker].into_iter().collect::<OsString>());
    }
    link.arg("-C").arg(format!("link-arg={flag}")).arg("-o").arg(program).arg(source);
    link.output().is_ok_and(|done| done.status.success())
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
