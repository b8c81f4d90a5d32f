//! The pure parts of the bridge.

mod adopting;
mod choosing;
mod differences;
mod showing;
