//! `skyclaw network create`: a new admin's key, and this machine as the first member.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use skyclaw_protocol::network::{Roles, Seed, network_name_holds};

use super::super::error::CliError;
use super::super::output::Output;
use super::join::{layers, unwritable};
use crate::config::{EnvVars, Layer};
use crate::joined::{self, Joined, write_private};
use crate::net::ADMIN_KEY_PREFIX;

/// The file with the admin's key.
const ADMIN_KEY: &str = "admin.key";

pub(super) fn create(
    (env, flags): (&EnvVars, Layer),
    name: &str,
    dir: Option<&Path>,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    if !network_name_holds(name) {
        let text = "a network's name has 1 to 64 bytes, none of them control characters";
        return Err(CliError::Usage(text.to_owned()));
    }
    let layers = layers(env, flags)?;
    let path = joined::place(&layers, Roles::ALL);
    let beside = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let key_path = dir.unwrap_or(&beside).join(ADMIN_KEY);
    for taken in [&path, &key_path] {
        if fs::symlink_metadata(taken).is_ok() {
            return Err(CliError::Source(format!(
                "{} is there already and was left as it is: this machine belongs to a network, or \
                 made one",
                taken.display()
            )));
        }
    }
    let admin = Seed::new(rand::random());
    let text = zeroize::Zeroizing::new(format!("{ADMIN_KEY_PREFIX}{}\n", admin.to_text().as_str()));
    for folder in [key_path.parent(), path.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    }
    write_private(&key_path, text.as_bytes()).map_err(|error| unwritable(&key_path, &error))?;
    let joined = Joined {
        path,
        name: name.to_owned(),
        admin: admin.id(),
        allowed: Roles::ALL,
        bootstrap: Vec::new(),
        ticket: None,
        capability: None,
        seal: Some(Seed::new(rand::random())),
        // Found also when the node is started from elsewhere.
        admin_key: Some(fs::canonicalize(&key_path).unwrap_or_else(|_| key_path.clone())),
    };
    if let Err(error) = joined.write() {
        // A key without its network is of no use.
        drop(fs::remove_file(&key_path));
        return Err(unwritable(&joined.path, &error));
    }
    if json {
        output.json(&json!({
            "network": name,
            "admin": joined.admin.to_string(),
            "adminKey": key_path.display().to_string(),
            "membership": joined.path.display().to_string(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output.say(&format!("the network {name} is made; its admin's key is {}", key_path.display()));
    output.hint(
        "keep a copy of that key where nobody else comes: it alone makes further issuers, and \
         whoever has it is the network\n\
         next: start `skyclaw-node` here, then `skyclaw invite --role host` for each machine that \
         is to join",
    );
    Ok(ExitCode::SUCCESS)
}
