//! Services on a host against a scripted coordinator, with real processes under real shims.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "services/defects.rs"]
mod defects;
#[path = "services/upkeep.rs"]
mod upkeep;
#[path = "services/world.rs"]
mod world;
