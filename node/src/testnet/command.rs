//! How to call the client in another terminal, as the person who started the local network has it.

use std::path::Path;

/// The client's name, and that of its file.
const CLIENT: &str = "skyclaw";

/// What stands before the client's arguments: its file, if it was built and stands beside this program; else what
/// builds and runs it, if this program was built here by cargo; else its name.
pub(super) fn client(exe: Option<&Path>) -> String {
    let Some(exe) = exe else { return CLIENT.to_owned() };
    let beside = exe.with_file_name(CLIENT);
    if beside.is_file() {
        return beside.display().to_string();
    }
    // Cargo keeps a lock in the folder of each profile that it builds.
    let folder = exe.parent().filter(|folder| folder.join(".cargo-lock").exists());
    let profile = folder.and_then(Path::file_name).and_then(std::ffi::OsStr::to_str);
    match profile {
        Some("debug") => format!("cargo run -q --bin {CLIENT} --"),
        Some("release") => format!("cargo run -q --release --bin {CLIENT} --"),
        Some(profile) => format!("cargo run -q --profile {profile} --bin {CLIENT} --"),
        None => CLIENT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_client_is_called_as_it_can_be_where_this_program_stands() {
        let folder = tempfile::tempdir().unwrap();
        let profile = |name: &str| {
            let profile = folder.path().join("target").join(name);
            fs::create_dir_all(&profile).unwrap();
            fs::write(profile.join(".cargo-lock"), "").unwrap();
            profile.join("skyclaw-node")
        };
        let node = profile("debug");
        assert_eq!(client(Some(&node)), "cargo run -q --bin skyclaw --");
        let release = profile("release");
        assert_eq!(client(Some(&release)), "cargo run -q --release --bin skyclaw --");
        let other = profile("perf");
        assert_eq!(client(Some(&other)), "cargo run -q --profile perf --bin skyclaw --");
        // Built, or installed with it, it needs no cargo.
        fs::write(node.with_file_name("skyclaw"), "").unwrap();
        assert_eq!(client(Some(&node)), node.with_file_name("skyclaw").display().to_string());
        assert_eq!(client(Some(&folder.path().join("skyclaw-node"))), "skyclaw");
        assert_eq!(client(None), "skyclaw");
    }
}
