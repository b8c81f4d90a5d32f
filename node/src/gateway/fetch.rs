//! The table from coordinators over HTTP, ours or the original's: fetched again and again.

use std::sync::Arc;
use std::time::Duration;

use skyclaw_http_compat::gateway::Table;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::config::Secret;

/// Fetches the table in the order of the coordinators, beginning with the one that answered last.
#[derive(Debug)]
pub(crate) struct Fetch {
    client: Client,
    every: Duration,
}

impl Fetch {
    /// From these coordinators, every so often.
    ///
    /// # Errors
    /// What is wrong with the urls, in words.
    pub(crate) fn new(
        urls: &[String],
        token: Option<&Secret>,
        every: Duration,
    ) -> Result<Self, String> {
        let client = Client::new(urls, token).map_err(|error| error.to_string())?;
        Ok(Self { client, every })
    }

    /// Until `stop`. A failure leaves the table as it is and is said.
    pub(crate) async fn run(self, table: watch::Sender<Arc<Table>>, stop: CancellationToken) {
        let work = async {
            loop {
                match self.once().await {
                    Ok(new) => drop(table.send_replace(Arc::new(new))),
                    Err(error) => tracing::warn!("gateway refresh failed: {error}"),
                }
                sleep(self.every).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn once(&self) -> Result<Table, String> {
        let answer = self.client.get("/v1/services").await.map_err(|error| error.to_string())?;
        Table::of_answer(answer).map_err(|error| error.to_string())
    }
}
