//! Daemon.
fn main() {
    skyclaw_node::supervisor::shim::run_if_asked();
}
