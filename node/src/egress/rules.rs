//! What one run may reach.

use std::net::IpAddr;

use skyclaw_protocol::egress::{HostRule, Place, is_public};

/// The list of one run, made of what was asked for and what the owner grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Hosts that it may reach.
    pub hosts: Vec<HostRule>,
    /// Entries of the owner: an address that stands there is meant, also one that is not public.
    pub owner: Vec<HostRule>,
    /// Whether names may lead to addresses that are not public.
    pub private: bool,
    /// What the list is called in refusals.
    pub list: &'static str,
}

impl Rules {
    /// Whether the list allows a connection there.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub(super) fn allow(&self, place: &Place, port: u16) -> Result<(), String> {
        if self.hosts.iter().any(|rule| rule.allows(place, port)) {
            return Ok(());
        }
        Err(format!("{place}:{port} may not be reached from here: {} does not name it", self.list))
    }

    /// Whether an address may be connected to, of a place that is allowed.
    pub(super) fn may_reach(&self, address: IpAddr, port: u16) -> bool {
        is_public(address) || self.names(address, port)
    }

    /// Whether the owner meant this address, wherever it lies.
    pub(super) fn names(&self, address: IpAddr, port: u16) -> bool {
        let place = Place::Address(address.to_canonical());
        self.private || self.owner.iter().any(|rule| rule.allows(&place, port))
    }

    /// What is said of a place that leads to an address that may not be connected to.
    pub(super) fn inward(place: &Place, address: IpAddr) -> String {
        format!(
            "{place} leads to {address}, which is this machine or a network around it: only an owner \
             whose policy names that very address, or says \"private\": true, lets runs reach it"
        )
    }
}
