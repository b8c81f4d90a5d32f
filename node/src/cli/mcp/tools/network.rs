//! Tools for the network.

use serde_json::Value;

use crate::cli::error::CliError;
use crate::cli::mcp::answer::{self, Done};
use crate::cli::mcp::server::Shared;
use crate::cli::original;

pub(in crate::cli::mcp) async fn hosts(shared: &Shared) -> Done {
    let mut answer = original::hosts(&shared.client).await?;
    let Value::Array(hosts) = answer["hosts"].take() else { return Err(CliError::Answer("hosts")) };
    Ok(vec![answer::list("hosts", hosts)])
}
