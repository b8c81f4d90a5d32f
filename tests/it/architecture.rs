//! The shape of the workspace, as ARCHITECTURE.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::semver::VersionReq;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use skyclaw_tests::workspace_root;

/// Lines a source file may have: the rule is to split before 500.
const MAX_LINES: usize = 500;

/// What may stand in the root; whatever else is there must be ignored by git.
const ROOT: [&str; 25] = [
    ".cargo",
    ".ci",
    ".config",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "BENCHMARKS.md",
    "MOVING.md",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "examples",
    "http-compat",
    "node",
    "protocol",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "store",
    "tests",
];

/// What a checkout or a tool may add.
const IGNORED: [&str; 3] = ["target", ".skyclaw", ".github"];

fn metadata() -> Metadata {
    // For this machine alone: packages of others were never fetched.
    let mut options = vec!["--offline".into(), "--locked".into(), "--filter-platform".into()];
    options.push(platform());
    MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo metadata works")
}

/// The name rustc has for this machine.
fn platform() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn member<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    let found = metadata.workspace_packages().into_iter().find(|package| package.name == name);
    found.unwrap_or_else(|| unreachable!("no crate {name}"))
}

/// Packages that `package` needs to be built and run, through however many others.
fn reachable<'a>(metadata: &'a Metadata, package: &Package) -> BTreeSet<&'a str> {
    let resolve = metadata.resolve.as_ref().expect("dependencies were asked for");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![&package.id];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let normal =
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.as_str()).collect()
}

/// An arrow means "depends on"; there are these and no others.
#[test]
fn crates_depend_on_each_other_as_drawn() {
    let drawn: [(&str, &[&str]); 7] = [
        ("skyclaw-protocol", &[]),
        ("skyclaw-store", &["skyclaw-protocol"]),
        ("skyclaw-http-compat", &["skyclaw-protocol"]),
        ("skyclaw-node", &["skyclaw-http-compat", "skyclaw-protocol", "skyclaw-store"]),
        ("skyclaw-tests", &["skyclaw-node", "skyclaw-protocol"]),
        ("skyclaw-examples", &["skyclaw-node"]),
        // Its benchmark drives the machine and the store, as the simulation does.
        ("skyclaw-instructions", &[]),
    ];
    let metadata = metadata();
    assert_eq!(metadata.workspace_packages().len(), drawn.len(), "a crate nobody drew");
    for (name, wanted) in drawn {
        let package = member(&metadata, name);
        let arrows: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .filter(|dependency| dependency.name.starts_with("skyclaw-"))
            .map(|dependency| dependency.name.as_str())
            .collect();
        assert_eq!(arrows, wanted.iter().copied().collect(), "{name}");
    }
}

/// Each foreign power stands behind one crate.
#[test]
fn only_their_keepers_name_redb_axum_and_the_cbor_crate() {
    let keepers: [(&str, &[&str]); 8] = [
        ("redb", &["skyclaw-store"]),
        ("axum", &["skyclaw-http-compat"]),
        // The benchmarks' clients keep connections by it.
        ("hyper", &["skyclaw-http-compat", "skyclaw-tests"]),
        ("serde_cbor", &["skyclaw-protocol"]),
        ("clap", &["skyclaw-node", "skyclaw-tests"]),
        ("libp2p", &["skyclaw-node"]),
        ("rmcp", &["skyclaw-node"]),
        // The tests write what the original would have written.
        ("rusqlite", &["skyclaw-node", "skyclaw-tests"]),
    ];
    let metadata = metadata();
    for (dependency, wanted) in keepers {
        let users: Vec<_> = metadata
            .workspace_packages()
            .into_iter()
            .filter(|package| package.dependencies.iter().any(|d| d.name == dependency))
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(users, wanted, "{dependency}");
    }
}

/// Inside the node, libp2p stays in its module; `config` only reads addresses.
#[test]
fn only_the_network_part_names_libp2p() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let names = |word: &str| text.lines().any(|line| line.trim_start().starts_with(word));
        let uses = names("use libp2p") || names("pub use libp2p") || text.contains(" libp2p::");
        let name = path.display().to_string();
        let allowed =
            ["/node/src/net.rs", "/node/src/net/", "/node/src/config", "/it/architecture.rs"];
        assert!(!uses || allowed.iter().any(|part| name.contains(part)), "{name} names libp2p");
    }
}

/// Inside the node, the MCP crate stays in its module.
#[test]
fn only_the_mcp_part_names_rmcp() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let uses = text.contains("use rmcp::") || text.contains(" rmcp::");
        let name = path.display().to_string();
        let allowed = ["/node/src/cli/mcp.rs", "/node/src/cli/mcp/", "/it/architecture.rs"];
        assert!(!uses || allowed.iter().any(|part| name.contains(part)), "{name} names rmcp");
    }
}

/// `protocol` reads no clock, file or socket, and `http-compat` knows neither store nor node, as far as dependencies show it.
#[test]
fn the_protocol_and_its_neighbours_stay_pure() {
    let metadata = metadata();
    let without = |name: &str, banned: &[&str]| {
        let all = reachable(&metadata, member(&metadata, name));
        for other in banned {
            assert!(!all.contains(other), "{name} reaches {other}");
        }
    };
    let world = ["tokio", "mio", "redb", "axum", "hyper", "libp2p", "reqwest", "rustix", "socket2"];
    without("skyclaw-protocol", &world);
    without("skyclaw-store", &["tokio", "axum", "hyper", "libp2p", "reqwest"]);
    without("skyclaw-http-compat", &["redb", "libp2p", "reqwest"]);

    let protocol = member(&metadata, "skyclaw-protocol");
    for dependency in &protocol.dependencies {
        let thread_rng = ["thread_rng", "os_rng", "sys_rng", "std_rng"];
        let has = dependency.features.iter().find(|f| thread_rng.contains(&f.as_str()));
        assert!(has.is_none(), "{} with {has:?}", dependency.name);
        assert!(
            !["rand", "getrandom"].contains(&dependency.name.as_str())
                || dependency.kind == DependencyKind::Development
        );
    }
    let banned = fs::read_to_string(workspace_root().join("protocol/clippy.toml"));
    let banned = banned.expect("the protocol's own lints");
    for method in ["std::time::Instant::now", "std::time::SystemTime::now", "std::env::var"] {
        assert!(banned.contains(method), "{method} is not banned in the protocol");
    }
}

/// Every crate takes the lints of the workspace.
#[test]
fn every_crate_inherits_the_lints() {
    for package in metadata().workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).expect("it was read before");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.name);
    }
}

/// Everything cargo builds lies where STYLE puts it: flat crates, nothing at the root.
#[test]
fn the_root_holds_the_agreed_entries() {
    let entries = fs::read_dir(workspace_root()).expect("the workspace is there");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = ROOT.contains(&name.as_str()) || IGNORED.contains(&name.as_str());
        assert!(known, "{name} does not belong into the root");
    }
}

/// All Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["protocol", "store", "http-compat", "node", "tests", "examples"] {
        collect(&workspace_root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the search does not work");
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap_or_default().lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "longer than {MAX_LINES} lines: {long:?}");
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let first = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .collect();
    assert!(silent.is_empty(), "without a module doc: {silent:?}");
}

/// No machine's paths and no address beyond loopback in what is built.
#[test]
fn sources_name_no_machine() {
    let words = [concat!("/home", "/"), concat!("/root", "/"), concat!("/Us", "ers/")];
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in words {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}

/// The invariant that the tests lean on: `unsafe` stays forbidden everywhere.
#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(workspace_root().join("Cargo.toml")).expect("it is there");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

/// Of versions with known holes none is in the lock file.
#[test]
fn no_version_with_a_known_hole_is_taken() {
    let text = fs::read_to_string(workspace_root().join("deny.toml")).expect("it is there");
    let rules: toml::Table = text.parse().expect("it is TOML");
    let refused = rules["bans"]["deny"].as_array().expect("a list").iter();
    let refused: Vec<(&str, VersionReq)> = refused
        .filter_map(|rule| rule.get("crate")?.as_str()?.split_once(':'))
        .map(|(name, versions)| (name, versions.parse().expect("a range of versions")))
        .collect();
    assert!(refused.len() > 5, "the search does not work: {refused:?}");
    // With the packages of other machines and of features that are off.
    let text = fs::read_to_string(workspace_root().join("Cargo.lock")).expect("it is there");
    let locked: toml::Table = text.parse().expect("it is TOML");
    let locked = locked["package"].as_array().expect("a list");
    for (name, versions) in refused {
        let taken = locked.iter().filter(|package| package["name"].as_str() == Some(name));
        for version in taken.filter_map(|package| package["version"].as_str()) {
            let version = version.parse().expect("a version");
            assert!(!versions.matches(&version), "{name} {version}");
        }
    }
}
