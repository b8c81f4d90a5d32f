//! What the tools do: the code of the commands, and answers that an agent can use.

pub(super) mod jobs;
pub(super) mod network;
pub(super) mod services;
