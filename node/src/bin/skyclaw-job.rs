//! The process between a node and one of its runs, and the one that becomes the run: a small program
//! beside the node's, since it is started for each run, and a large one takes longer to start than most
//! commands take to run.

use std::io::Write;
use std::process::ExitCode;

use skyclaw_node::supervisor::shim;

fn main() -> ExitCode {
    shim::run_if_asked();
    // Whoever sees it among the programs may wonder.
    let text =
        "skyclaw-job is started by skyclaw-node for each run; there is nothing to start by hand";
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::FAILURE
}
