//! Programs in Python that read the API's description, as pip installs them from a committed list: once for each
//! list, below the target folder.
//!
//! Always: an installation appears whole or not at all. Never here: what the user has installed.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::workspace_root;
use crate::skip::{Need, can};

/// What says which versions.
const LIST: &str = "tests/openapi/requirements.txt";

/// An installation.
#[derive(Debug)]
pub struct Python(PathBuf);

impl Python {
    /// Installs it if that has not been done; none, said, where it cannot be.
    #[must_use]
    #[track_caller]
    pub fn here() -> Option<Self> {
        if !can(&[Need::PythonVenv]) {
            return None;
        }
        let target = std::env::current_exe().expect("a test has a path");
        let target = target.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
        let all = target.expect("tests lie below the target folder").join("python");
        fs::create_dir_all(&all).expect("the target folder is writable");
        let list = workspace_root().join(LIST);
        let mut hasher = DefaultHasher::new();
        fs::read(&list).expect("the list is committed").hash(&mut hasher);
        // It names its own place and the Python that made it, and is of no use elsewhere.
        all.hash(&mut hasher);
        let python = Command::new("python3").arg("-VV").output().expect("it starts");
        python.stdout.hash(&mut hasher);
        let folder = all.join(format!("{:016x}", hasher.finish()));
        // Tests are processes of their own: one installs, the others wait.
        let lock = File::create(all.join("lock")).expect("the target folder is writable");
        lock.lock().expect("files can be locked");
        let done = folder.join("done");
        let mut starts = Command::new(folder.join("bin/python"));
        let starts = starts.args(["-c", "import schemathesis"]).stdin(Stdio::null());
        let starts = starts.stderr(Stdio::null()).status().is_ok_and(|it| it.success());
        if !(done.is_file() && starts) {
            // Of an installation that was broken off; it holds its own path, so it is made in place.
            let _ = fs::remove_dir_all(&folder);
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            let mut pip = Command::new(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            run(pip.arg(&list));
            fs::write(&done, "").expect("the target folder is writable");
        }
        Some(Self(folder))
    }

    /// A program of it.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let program = Path::new(command.get_program()).display();
    assert!(output.status.success(), "{program} failed:\n{said}{errors}");
}
