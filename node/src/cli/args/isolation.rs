//! The command line of how a run is to be kept apart.

use clap::Args;
use serde_json::{Value, json};

/// Levels, weakest first.
pub(in crate::cli) const LEVELS: [&str; 4] = ["none", "basic", "landlock", "isolated"];

/// Options of a job.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct Isolation {
    /// Weakest level at which its host may keep it apart from the machine [what the host has]
    #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
    pub(in crate::cli) sandbox: Option<String>,
    /// What it is to reach: none, any, or a host as api.example.org, *.example.org, example.org:8443;
    /// hosts may be repeated. Their owners decide whether it may [what they give unasked, mostly none]
    #[arg(long, value_name = "any|none|HOST", value_delimiter = ',')]
    pub(in crate::cli) network: Vec<String>,
}

impl Isolation {
    /// The weakest level, as the API takes it.
    pub(in crate::cli) fn sandbox(&self) -> Option<Value> {
        self.sandbox.as_ref().map(|level| json!(level))
    }

    /// The network, as the API takes it.
    pub(in crate::cli) fn network(&self) -> Option<Value> {
        match self.network.as_slice() {
            [] => None,
            [word] if word == "any" || word == "none" => Some(json!(word)),
            hosts => Some(json!(hosts)),
        }
    }
}
