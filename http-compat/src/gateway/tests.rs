//! The gateway over real sockets, in front of endpoints that follow a script. Names begin with the
//! id of the contract (G) or of the list of legacy defects (F) they are about.

mod attempts;
mod bodies;
mod callers;
mod load;
mod memory;
mod passing;
mod rig;
mod routing;
mod rules;
mod tables;
mod trouble;
mod upgrades;
