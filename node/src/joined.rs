//! The ticket network this node belongs to: the file beside its database that says so.
//!
//! `skyclaw network create` and `skyclaw join` write it; the node adds the capability it was given.
//!
//! Always: the file is this user's alone, since it may hold a ticket, and the secret of the network.
//! It is replaced whole. Whether what it says counts is decided where nodes meet, not here.

mod file;

use std::path::{Path, PathBuf};

use skyclaw_protocol::network::{Invite, MemberRole, Roles, Seed, Ticket, TicketError, Vouched};
use skyclaw_protocol::{NetworkId, NodeId};

use crate::config::{HOST_DB_PATH, Key, Layers, Origin, Role, Value};
use crate::net::Multiaddr;
use crate::time;

pub(crate) use file::write_private;

/// The database of a coordinator, unless another is named.
const COORDINATOR_DB_PATH: &str = ".skyclaw/coordinator.db";

/// What a node knows of the ticket network it belongs to, or is to join.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The file.
    pub path: PathBuf,
    /// Name of the network.
    pub name: String,
    /// Whose key it was made with.
    pub admin: NodeId,
    /// What this node may be.
    pub allowed: Roles,
    /// Where members are.
    pub bootstrap: Vec<Multiaddr>,
    /// What lets it in, until it was let in.
    pub ticket: Option<Ticket>,
    /// What it was given.
    pub capability: Option<Vouched>,
    /// The secret of the network, for values at rest.
    pub seal: Option<Seed>,
    /// The file with the admin's key, on the machine that made the network.
    pub admin_key: Option<PathBuf>,
}

impl Joined {
    /// As a ticket says, to be kept in that file.
    ///
    /// # Errors
    /// [`TicketError`]: its invite does not count.
    pub fn of_ticket(path: PathBuf, ticket: Ticket) -> Result<Self, TicketError> {
        let Invite { roles, .. } = ticket.check(time::wall())?;
        let addresses = ticket.addresses.iter();
        let bootstrap = addresses.filter_map(|it| Multiaddr::try_from(it.to_vec()).ok()).collect();
        Ok(Self {
            path,
            name: ticket.name.clone(),
            admin: ticket.admin,
            allowed: roles,
            bootstrap,
            ticket: Some(ticket),
            capability: None,
            seal: None,
            admin_key: None,
        })
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        NetworkId::of_admin(self.admin, &self.name)
    }

    /// What it is where nothing else is said: a gateway beside a coordinator must be asked for.
    #[must_use]
    pub fn usual_roles(&self) -> Vec<String> {
        let usual = match self.allowed.has(MemberRole::Coordinator) {
            true => Roles::of(&[MemberRole::Coordinator, MemberRole::Host]),
            false => Roles::of(&[MemberRole::Host, MemberRole::Gateway]),
        };
        self.allowed.and(usual).words()
    }

    /// The file with what members tell each other of membership.
    #[must_use]
    pub fn notices_path(&self) -> PathBuf {
        beside(&self.path, ".notices")
    }
}

/// The file of a node with that database.
#[must_use]
pub(crate) fn path_of(database: &Path) -> PathBuf {
    beside(database, ".network")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// The database that the settings name.
fn named_database(layers: &Layers) -> Option<PathBuf> {
    let given = layers.get(Key::DbPath).filter(|given| given.origin != Origin::Default)?;
    match &given.value {
        Value::Text(path) => Some(path.into()),
        _ => None,
    }
}

/// Where a node that may be this keeps what it knows of its network.
#[must_use]
pub(crate) fn place(layers: &Layers, allowed: Roles) -> PathBuf {
    let usual = || match allowed.has(MemberRole::Coordinator) {
        true => COORDINATOR_DB_PATH.into(),
        false => HOST_DB_PATH.into(),
    };
    path_of(&named_database(layers).unwrap_or_else(usual))
}

/// The files that may be there, by the settings.
fn places(layers: &Layers) -> Vec<PathBuf> {
    match named_database(layers) {
        Some(database) => vec![path_of(&database)],
        None => {
            // Without the coordinator role a node has a file of its own.
            let coordinates = match layers.get(Key::Role).map(|given| &given.value) {
                Some(Value::List(words)) => words.iter().any(|w| w == Role::Coordinator.as_str()),
                _ => true,
            };
            let mut all = vec![path_of(HOST_DB_PATH.as_ref())];
            all.insert(usize::from(!coordinates), path_of(COORDINATOR_DB_PATH.as_ref()));
            all
        }
    }
}

/// What the files and the ticket among the settings say; none in a token network.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn find(layers: &Layers) -> Result<Option<Joined>, String> {
    let mut found = None;
    for path in places(layers) {
        if let Some(joined) = file::read(&path)? {
            found = Some(joined);
            break;
        }
    }
    let line = match layers.get(Key::Ticket).map(|given| &given.value) {
        Some(Value::Secret(line)) => line,
        _ => return Ok(found),
    };
    let ticket = Ticket::parse(line.expose()).map_err(|e| format!("SKYCLAW_TICKET: {e}"))?;
    match found {
        Some(mut joined) if joined.network() == ticket.network() => {
            // Of use where the capability is over, or there is none yet.
            joined.ticket = Some(ticket);
            Ok(Some(joined))
        }
        Some(joined) => Err(format!(
            "SKYCLAW_TICKET is of the network {}, but this node belongs to {}: to leave that, stop \
             the node and move {} and its database away",
            ticket.name,
            joined.name,
            joined.path.display(),
        )),
        None => {
            let allowed = ticket.check(time::wall()).map_err(|e| format!("SKYCLAW_TICKET: {e}"))?;
            let path = place(layers, allowed.roles);
            let joined = Joined::of_ticket(path, ticket);
            Ok(Some(joined.map_err(|e| format!("SKYCLAW_TICKET: {e}"))?))
        }
    }
}

#[cfg(test)]
mod tests;
