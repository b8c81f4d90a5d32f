//! Rules of Landlock: which files a run reaches, which TCP ports, whom it may signal.
//!
//! As far as the kernel has them; what is missing is said once, at the start of the node, by
//! [`version`]. At `isolated` the mounts hold files already, and these rules are a second wall.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use skyclaw_protocol::SandboxLevel;

use super::fault::Fault;
use super::ground::{Ground, Places, open_around};
use super::profile::{Network, Profile};

/// The version whose rules are asked for: the kernel takes what it has of them.
const ASKED: ABI = ABI::V6;

/// Devices that every program may use.
pub(crate) const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    /// Files.
    pub(crate) files: bool,
    /// TCP ports.
    pub(crate) ports: bool,
}

/// What this kernel has, found out by taking a rule on a thread that ends: 0 for nothing, else the
/// number by which its documentation calls it.
pub(crate) fn version() -> Result<u32, String> {
    let tried = std::thread::Builder::new().name("landlock".into()).spawn(|| {
        Ruleset::default()
            .handle_access(AccessFs::Execute)?
            .create()?
            .add_rules(path_beneath_rules(["/"], AccessFs::Execute))?
            .restrict_self()
    });
    let tried = tried.map_err(|error| error.to_string())?.join();
    let status = tried.map_err(|_| "it could not be tried".to_owned())?;
    match status.map_err(|error| error.to_string())?.landlock {
        LandlockStatus::NotEnabled => Err("it is built in but not among the kernel's `lsm`".into()),
        LandlockStatus::NotImplemented => Err("this kernel is built without it".into()),
        LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u32),
    }
}

/// Puts the rules on this thread and what it starts.
pub(crate) fn apply(ground: &Ground, profile: &Profile, places: &Places) -> Result<InForce, Fault> {
    let isolated = ground.level == SandboxLevel::Isolated;
    let status = rules(ground, profile, places, isolated)
        .map_err(|error| Fault::new("rules of Landlock", error))?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    if version == 0 && !isolated {
        return Err(Fault::new("rules of Landlock", "this kernel takes none"));
    }
    Ok(InForce { files: version > 0, ports: version >= 4 })
}

fn rules(
    ground: &Ground,
    profile: &Profile,
    places: &Places,
    isolated: bool,
) -> Result<landlock::RestrictionStatus, RulesetError> {
    let read = AccessFs::from_read(ASKED);
    // Nobody makes devices.
    let write = AccessFs::from_all(ASKED) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let device: BitFlags<AccessFs> =
        AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::ReadDir;
    // In a network of its own everything is its own.
    let ports = profile.network != Network::Host && !(isolated && profile.port.is_none());
    let mut set = Ruleset::default()
        .handle_access(AccessFs::from_all(ASKED))?
        .scope(Scope::from_all(ASKED))?;
    if ports {
        set = set.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    let mut set = set.create()?;
    if isolated {
        set = set
            .add_rules(path_beneath_rules(["/"], read))?
            .add_rules(path_beneath_rules(["/dev/pts", "/dev/ptmx"], device))?
            .add_rules(path_beneath_rules(["/tmp", "/dev/shm", "/run/memory"], write))?;
    } else {
        let folders = ground.folders.iter().chain(&profile.readable);
        let open: Vec<PathBuf> =
            folders.flat_map(|folder| open_around(folder, &ground.hidden)).collect();
        set = set
            .add_rules(path_beneath_rules(open, read))?
            // Of other processes only what everybody may know; the kernel keeps the rest of theirs.
            .add_rules(path_beneath_rules(["/proc"], read))?
            .add_rules(path_beneath_rules([&places.base], read))?;
    }
    set = set
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(places.own.iter().chain([&places.tmp]), write))?
        .add_rules(path_beneath_rules(profile.writable.iter(), write))?;
    if let Some(port) = profile.port.filter(|_| ports) {
        set = set.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    set.restrict_self()
}
