//! The file itself: JSON, so that a person can see what this node belongs to.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skyclaw_protocol::network::{Roles, Seed, Ticket, Vouched};
use skyclaw_protocol::{NodeId, codec};
use zeroize::Zeroizing;

use super::Joined;
use crate::net::Multiaddr;

/// Largest file read, in bytes: a ticket, a capability and some addresses.
const MAX_FILE: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    network: String,
    admin: String,
    roles: Vec<String>,
    #[serde(default)]
    bootstrap: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_key: Option<PathBuf>,
}

/// Reads the file; none if there is none.
///
/// # Errors
/// A sentence for the user.
pub(super) fn read(path: &Path) -> Result<Option<Joined>, String> {
    let unusable = |why: &dyn std::fmt::Display| {
        format!(
            "{} says which network this node belongs to and cannot be used: {why}",
            path.display()
        )
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        // Where the folder is none either, the store says what is wrong with it.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unusable(&error)),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| unusable(&error))?;
    // What does not parse is not shown: it may be a secret.
    let document = serde_json::from_str::<Document>(&text).ok();
    let joined = document.and_then(|document| document.joined(path));
    joined.map(Some).ok_or_else(|| {
        unusable(&"it is damaged. Move it away and use `skyclaw join` with a new ticket")
    })
}

impl Document {
    fn joined(self, path: &Path) -> Option<Joined> {
        let bytes = |text: &str| {
            data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()
        };
        let addresses = self.bootstrap.iter().map(|text| text.parse::<Multiaddr>().ok());
        let ticket = match self.ticket {
            Some(line) => Some(Ticket::parse(&line).ok()?),
            None => None,
        };
        let capability = match self.capability {
            Some(text) => Some(codec::decode(&bytes(&text)?, Vouched::MAX_BYTES).ok()?),
            None => None,
        };
        let seal = match self.secret {
            Some(text) => Some(Seed::parse(&text)?),
            None => None,
        };
        Some(Joined {
            path: path.to_owned(),
            name: self.network,
            admin: NodeId(bytes(&self.admin)?.try_into().ok()?),
            allowed: Roles::parse(self.roles.iter().map(String::as_str)).ok()?,
            bootstrap: addresses.collect::<Option<_>>()?,
            ticket,
            capability,
            seal,
            admin_key: self.admin_key,
        })
    }
}

impl Joined {
    /// Writes the file, for this user's eyes alone. Blocks until it is on the disk.
    ///
    /// # Errors
    /// What the system says; the file before it, if any, is as it was.
    pub fn write(&self) -> io::Result<()> {
        let text = |bytes: &[u8]| data_encoding::BASE32_NOPAD.encode(bytes).to_lowercase();
        let document = Document {
            network: self.name.clone(),
            admin: self.admin.to_string(),
            roles: self.allowed.words(),
            bootstrap: self.bootstrap.iter().map(ToString::to_string).collect(),
            ticket: self.ticket.as_ref().map(Ticket::to_line),
            capability: self.capability.as_ref().map(|it| text(&codec::encode(it))),
            secret: self.seal.as_ref().map(Seed::to_text),
            admin_key: self.admin_key.clone(),
        };
        let json = Zeroizing::new(serde_json::to_vec_pretty(&document)?);
        write_private(&self.path, &json)
    }
}

/// Writes a file that no other user may read, in place of the one before; it is on the disk when
/// this returns.
///
/// # Errors
/// What the system says.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let aside = path.with_file_name(name);
    // One left over may have had other rights.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
