//! The tools by their names, with what an agent reads of each.

use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::allowed::Allowed;
use super::answer::{self, Done};
use super::heard::Heard;
use super::params::{
    Deploy, JobId, JobOutput, JobStatus, ListJobs, ScaleService, ServiceLogs, ServiceName,
    SubmitAgent, SubmitJob, Why,
};
use super::tools::{jobs, network, services};
use crate::cli::error::CliError;
use crate::client::Client;

/// Tools at work at once: one agent asks, and each may hold an upload.
const AT_ONCE: usize = 8;

/// Longest wait of any tool.
const LONGEST: u32 = 600;

const INSTRUCTIONS: &str = "Skyclaw runs work on machines that their owners lend: shell commands \
(submit_job), OpenClaw agents (submit_agent) and services from a folder of code (deploy). Submit, \
then look with job_status; a job that does not move is explained by why. Hosts, their owners' \
rules and capabilities differ: list_hosts shows them. What is submitted can be read by everybody who \
holds the network's token, and by the hosts that run it: send no secrets.";

/// Serves one client.
#[derive(Clone, Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    router: ToolRouter<Self>,
}

/// What all tools use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) allowed: Allowed,
    slots: Semaphore,
}

impl Server {
    pub(super) fn new(client: Client, allowed: Allowed) -> Self {
        let slots = Semaphore::new(AT_ONCE);
        let router = Self::jobs() + Self::services() + Self::network();
        Self { shared: Arc::new(Shared { client, allowed, slots }), router }
    }

    /// Does the work, unless its caller gives it up.
    async fn told(
        &self,
        given_up: CancellationToken,
        heard: &Heard,
        work: impl Future<Output = Done> + Send,
    ) -> CallToolResult {
        let done = async {
            // It is never closed.
            let _slot = self.shared.slots.acquire().await;
            work.await
        };
        tokio::select! {
            done = done => answer::result(done, &heard.words()),
            () = given_up.cancelled() => {
                let why = CliError::Mcp("the call was given up; what it began goes on".to_owned());
                answer::result(Err(why), "")
            }
        }
    }
}

/// A wait that tools take.
pub(super) fn wait(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.min(LONGEST)))
}

#[tool_router(router = jobs)]
impl Server {
    #[tool(
        description = "Run a command on a host of the network. Answers with the job: its id, and \
                       with wait_seconds its output and exit code too.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = true)
    )]
    async fn submit_job(
        &self,
        Parameters(asked): Parameters<SubmitJob>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = jobs::submit(&self.shared, asked, heard.output());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Give an OpenClaw agent on another machine something to do. Answers with the \
                       job; once it has ended, result.stdout is the agent's answer and result.agent \
                       says what it used and cost.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = true)
    )]
    async fn submit_agent(
        &self,
        Parameters(asked): Parameters<SubmitAgent>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = jobs::agent(&self.shared, asked, heard.output());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Show a job: where it stands, and its result once it has ended.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn job_status(
        &self,
        Parameters(asked): Parameters<JobStatus>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = jobs::status(&self.shared, asked, heard.output());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Read what a job wrote, in parts if it is long; of a running job what it has \
                       written so far.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn job_output(
        &self,
        Parameters(asked): Parameters<JobOutput>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        self.told(given_up, &heard, jobs::output(&self.shared, asked)).await
    }

    #[tool(
        description = "List jobs, the newest last.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn list_jobs(
        &self,
        Parameters(asked): Parameters<ListJobs>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        self.told(given_up, &heard, jobs::list(&self.shared, asked)).await
    }

    #[tool(
        description = "End a job that has not ended; what it did already stays done.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    async fn cancel_job(
        &self,
        Parameters(asked): Parameters<JobId>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = jobs::cancel(&self.shared, asked, heard.clone());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Say why a job waits, runs or ended, why a service runs fewer instances than \
                       it should, why a host does nothing, or why calls to a service do not \
                       arrive; what keeps each host from it, and what would change that.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn why(
        &self,
        Parameters(asked): Parameters<Why>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        self.told(given_up, &heard, jobs::why(&self.shared, asked)).await
    }
}

#[tool_router(router = services)]
impl Server {
    #[tool(
        description = "List services, with their instances.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn list_services(&self, given_up: CancellationToken) -> CallToolResult {
        let heard = Heard::default();
        self.told(given_up, &heard, services::list(&self.shared)).await
    }

    #[tool(
        description = "Bring the code in a folder of this machine to hosts and run it there as a \
                       service, or replace the service of that name. Answers with its urls once it \
                       runs; if new code does not come up the service goes back to what ran before.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = true)
    )]
    async fn deploy(
        &self,
        Parameters(asked): Parameters<Deploy>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = services::deploy(&self.shared, asked, heard.clone());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Read what the instances of a service wrote lately.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn service_logs(
        &self,
        Parameters(asked): Parameters<ServiceLogs>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = services::logs(&self.shared, asked, heard.clone());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "Change how many instances of a service there are.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn scale_service(
        &self,
        Parameters(asked): Parameters<ScaleService>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = services::scale(&self.shared, asked, heard.clone());
        self.told(given_up, &heard, work).await
    }

    #[tool(
        description = "End a service everywhere. It cannot be taken back.",
        annotations(read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    async fn remove_service(
        &self,
        Parameters(asked): Parameters<ServiceName>,
        given_up: CancellationToken,
    ) -> CallToolResult {
        let heard = Heard::default();
        let work = services::remove(&self.shared, asked, heard.clone());
        self.told(given_up, &heard, work).await
    }
}

#[tool_router(router = network)]
impl Server {
    #[tool(
        description = "List the hosts of the network with their capabilities, free slots, and \
                       OpenClaw.",
        annotations(read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn list_hosts(&self, given_up: CancellationToken) -> CallToolResult {
        let heard = Heard::default();
        self.told(given_up, &heard, network::hosts(&self.shared)).await
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let can = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(can)
            .with_server_info(Implementation::new("skyclaw", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_does_and_what_it_takes() {
        let tools = (Server::jobs() + Server::services() + Server::network()).list_all();
        assert_eq!(tools.len(), 13);
        for tool in tools {
            assert!(tool.description.is_some_and(|text| text.len() > 20), "{}", tool.name);
            assert!(tool.annotations.is_some(), "{}", tool.name);
            let properties = tool.input_schema["properties"].as_object().unwrap();
            for (name, schema) in properties {
                // A named type says it in its own place.
                let said = schema.get("description").or_else(|| schema.get("$ref"));
                assert!(said.is_some(), "{}.{name}: {schema}", tool.name);
            }
        }
    }
}
