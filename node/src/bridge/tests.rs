//! The pure parts of the bridge.

mod choosing;
mod differences;
mod showing;
