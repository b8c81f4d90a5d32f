//! Programs that use Skyclaw. Each is an example of its own: `cargo run --example one_node`.
