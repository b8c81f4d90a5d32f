//! `skyclaw-node backup`, `check`, `restore` and `compact`: what is done about a database from outside.
//!
//! Always: nothing that stands somewhere is overwritten. A running node is asked to write its copy
//! beside its own database, where it chooses; this process, which may read it there, moves it.

mod check;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use skyclaw_protocol::NetworkId;
use skyclaw_store::{OpenError, Options, Reader, Store};

use crate::client::Client;
use crate::config::{Config, CoordinatorConfig};
use crate::engine::chain;
use crate::tls;
pub use check::{UNKNOWN, check};

/// Says what was done, or what is wrong.
type Done = Result<String, String>;

/// Writes the copy that a running node is asked for. Returns where it is.
pub(crate) fn make(reader: &Reader, network: NetworkId) -> Result<String, OpenError> {
    let path = beside(reader.path());
    // One that nobody came for.
    _ = fs::remove_file(&path);
    reader.backup(&path, network)?;
    Ok(std::path::absolute(&path).unwrap_or(path).display().to_string())
}

fn beside(db_path: &Path) -> PathBuf {
    let mut name = db_path.to_owned().into_os_string();
    name.push(".backup");
    name.into()
}

fn coordinator(config: &Config) -> Result<&CoordinatorConfig, String> {
    let without = "only coordinators have a database of jobs; SKYCLAW_ROLE names none";
    config.coordinator.as_ref().ok_or_else(|| without.to_owned())
}

/// Copies the database of this configuration to `file`.
///
/// # Errors
/// A sentence for the user.
pub async fn backup(config: &Config, file: &Path) -> Done {
    let settings = coordinator(config)?;
    if fs::symlink_metadata(file).is_ok() {
        return Err(format!("{} is there already; it was left as it is", file.display()));
    }
    let path = &settings.db_path;
    if fs::symlink_metadata(path).is_err() {
        return Err(format!("there is no database at {}", path.display()));
    }
    match Store::open(path, &options(settings)) {
        Ok(opened) => {
            let network = config.network_id();
            opened.reader.backup(file, network).map_err(|error| chain(&error))?;
        }
        Err(OpenError::InUse { .. }) => {
            let made = ask(config, settings).await?;
            move_to(&made, file)
                .map_err(|error| format!("{} was made, but not moved: {error}", made.display()))?;
        }
        Err(error) => return Err(chain(&error)),
    }
    Ok(format!("the backup is {}", file.display()))
}

/// Has the running node write a copy.
async fn ask(config: &Config, settings: &CoordinatorConfig) -> Result<PathBuf, String> {
    let host = match settings.listen_host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let at = format!("{host}:{}", settings.listen_port);
    let token = config.token.as_ref();
    let client = match config.tls.as_ref().filter(|tls| tls.api) {
        None => Client::new(&[format!("http://{at}")], token),
        Some(tls) => {
            let tls = tls::own_client(tls, config.acme_dir()).await;
            let tls = tls.map_err(|error| format!("the node that runs speaks TLS: {error}"))?;
            Client::over(tls, &format!("https://{at}"), token)
        }
    };
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.post("/v1/backup", &json!({})).await;
    let answer = answer.map_err(|error| format!("the node that runs does not answer: {error}"))?;
    let made = answer.get("path").and_then(|path| path.as_str()).map(PathBuf::from);
    made.ok_or_else(|| "the node that runs is of another version".to_owned())
}

/// Moves a file to where none may stand, over file systems too.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    if fs::hard_link(from, to).is_err() {
        use std::os::unix::fs::OpenOptionsExt;
        let mut new = fs::OpenOptions::new();
        let mut target = new.write(true).create_new(true).mode(0o600).open(to)?;
        let copied = fs::File::open(from).and_then(|mut file| io::copy(&mut file, &mut target));
        if let Err(error) = copied.and_then(|_| target.sync_all()) {
            _ = fs::remove_file(to);
            return Err(error);
        }
    }
    fs::remove_file(from)
}

/// Makes a database from the backup `file`, with a key of its own.
///
/// # Errors
/// A sentence for the user; nothing was changed.
pub fn restore(config: &Config, file: &Path) -> Done {
    let path = &coordinator(config)?.db_path;
    if fs::symlink_metadata(path).is_ok() {
        return Err(format!("{} is there already; it was left as it is", path.display()));
    }
    let mut entropy = [0; 32];
    rand::fill(&mut entropy);
    skyclaw_store::restore(file, path, entropy).map_err(|error| chain(&error))?;
    Ok(format!(
        "{} was made; a node that starts with it is a new one, which shows the jobs of the backup",
        path.display()
    ))
}

/// Gives the free room in the database back.
///
/// # Errors
/// A sentence for the user.
pub fn compact(config: &Config) -> Done {
    let path = &coordinator(config)?.db_path;
    let won = skyclaw_store::compact(path).map_err(|error| chain(&error))?;
    let freed = won.before.saturating_sub(won.after);
    Ok(format!("{} has {} bytes, {freed} fewer than before", path.display(), won.after))
}

fn options(settings: &CoordinatorConfig) -> Options {
    let mut entropy = [0; 32];
    rand::fill(&mut entropy);
    let mut options = Options::new(entropy);
    options.ballast_bytes = 0;
    options.retention_ms = u64::try_from(settings.retention.as_millis()).unwrap_or(u64::MAX);
    options
}
