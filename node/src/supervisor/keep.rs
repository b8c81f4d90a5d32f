//! What a run is kept in, from what it is: which folders, which network, which user.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use skyclaw_protocol::SandboxLevel;

use super::workdir::JobDir;
use super::{HostFault, Inner};
use crate::sandbox::{Ground, Network, Places, Profile, Sandbox, around, beside, user};

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A command of a job.
    Job,
    /// A turn of an agent, which needs its model.
    Agent,
    /// A service, which answers on this port.
    Service(Option<u16>),
}

/// What a launch says about it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) profile: Profile,
    pub(super) places: Option<Places>,
}

impl Kept {
    /// Of a program that the host runs for itself.
    pub(super) fn not() -> Self {
        Self { profile: Sandbox::none().profile(), places: None }
    }
}

impl Inner {
    /// How a run of `program` is kept in its folders.
    pub(super) async fn keep(
        &self,
        what: What,
        network: Network,
        program: &str,
        dir: &JobDir,
    ) -> Result<Kept, HostFault> {
        let mut profile = self.sandbox.profile();
        if profile.level == SandboxLevel::None {
            return Ok(Kept { profile, places: None });
        }
        profile.network = network;
        if let What::Service(port) = what {
            profile.port = port;
        }
        profile.readable.extend(around(Path::new(program)));
        if what == What::Agent {
            profile.readable.push(self.compile_cache().into());
        }
        // Most jobs bring nothing along: that is not worth another thread.
        let places = if fs::read_dir(&dir.work).is_ok_and(|mut found| found.next().is_none()) {
            hand_over(dir)
        } else {
            let shown = dir.clone();
            let places = tokio::task::spawn_blocking(move || hand_over(&shown)).await;
            places.unwrap_or_else(|_| Err(io::Error::other("the host stops")))
        };
        let places = places.map_err(|error| {
            HostFault(format!("cannot give {} to a user of its own: {error}", dir.path.display()))
        })?;
        Ok(Kept { profile, places: Some(places) })
    }

    /// Whether a job may work in a folder that it names: one of its own, or one that the owner opened.
    /// Where files are not kept apart, any.
    pub(super) fn may_work_in(&self, cwd: &str, dir: &JobDir) -> Result<(), String> {
        let profile = self.sandbox.profile();
        if profile.level < SandboxLevel::Landlock {
            return Ok(());
        }
        let no = format!(
            "cwd {cwd} is not open to jobs on this host: leave it out, or have its owner open the folder"
        );
        let path = fs::canonicalize(cwd).map_err(|_| no.clone())?;
        let own = [&dir.home, &dir.tmp, &dir.work].map(PathBuf::from);
        let open = own.iter().chain(&profile.readable).chain(&profile.writable);
        let mut open = open.filter_map(|folder| fs::canonicalize(folder).ok());
        if open.any(|folder| path.starts_with(folder)) { Ok(()) } else { Err(no) }
    }
}

/// What is the same for all runs: the system, what its programs need, and what the owner opens.
pub(super) fn ground(sandbox: &Sandbox, programs: &[String], path: &str) -> Ground {
    let programs = programs.iter().flat_map(|program| around(Path::new(program)));
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let folders = folders.flat_map(|folder| beside(&folder));
    sandbox.ground(programs.chain(folders))
}

/// Gives a run's folders to its user, where it has one of its own, and says where they are.
pub(super) fn hand_over(dir: &JobDir) -> io::Result<Places> {
    let user = dir.user.as_ref().map(|user| user.id());
    let state = dir.path.join("state");
    let mut own = vec![PathBuf::from(&dir.home), PathBuf::from(&dir.work)];
    own.extend(state.is_dir().then_some(state));
    if let Some(user) = user
        && !dir.handed.swap(true, Ordering::Relaxed)
    {
        for folder in own.iter().chain([&PathBuf::from(&dir.tmp)]) {
            user::hand_over(folder, user)?;
        }
        // What the host laid beside them is the run's to read, and nobody's but the host's to write.
        for entry in fs::read_dir(&dir.path)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_file() && meta.uid() == 0 {
                lchown(&path, None, Some(user))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
            }
        }
    }
    Ok(Places { base: dir.path.clone(), own, tmp: PathBuf::from(&dir.tmp), user })
}
