//! The table from coordinators of ours: each change as it comes, without polling.

use std::sync::Arc;
use std::time::Duration;

use skyclaw_http_compat::gateway::{GatewayMetrics, Table};
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::{Hash, ServiceView, codec};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::handle::NodeHandle;
use crate::net::{NetHandle, Service};

/// Between two tables: a burst of changes is one.
const PAUSE: Duration = Duration::from_millis(20);

/// The same while the store cannot be read or no coordinator answers.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a coordinator is asked to hold the question. With the next two this bounds how old a table may be
/// told to be where all is well (`HEARS_S` in `why::route`).
const HELD: Duration = Duration::from_secs(20);

/// What an answer may take beyond that: also by a coordinator that is busy.
const SLACK: Duration = Duration::from_secs(5);

/// Longest answer: the services that a coordinator may hold, with some instances each.
const MAX_TABLE: usize = 32 << 20;

/// Follows the coordinator in the same process until `stop`.
pub(crate) async fn follow(
    handle: NodeHandle,
    table: watch::Sender<Arc<Table>>,
    metrics: GatewayMetrics,
    stop: CancellationToken,
) {
    let work = async {
        let mut changes = handle.tables_changed();
        loop {
            changes.mark_unchanged();
            let Ok(services) = handle.shown_services().await else {
                sleep(AGAIN).await;
                continue;
            };
            metrics.heard_of_table();
            table.send_replace(Arc::new(Table::of_views(&services)));
            sleep(PAUSE).await;
            // Read again also without a change: so it is known that the store can be read.
            if let Ok(Err(_)) = timeout(HELD, changes.changed()).await {
                return;
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Asks whichever coordinator is connected until `stop`, the next one where one does not answer.
pub(crate) async fn ask(
    net: NetHandle,
    table: watch::Sender<Arc<Table>>,
    metrics: GatewayMetrics,
    stop: CancellationToken,
) {
    let work = async {
        let mut mark = None;
        let mut turn = 0_usize;
        let mut said = false;
        loop {
            let known = net.coordinators().borrow().clone();
            let Some(node) = known.get(turn % known.len().max(1)).copied() else {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!("the gateway waits for a coordinator to tell it of services");
                }
                sleep(AGAIN).await;
                continue;
            };
            let wait_ms = u32::try_from(HELD.as_millis()).unwrap_or(u32::MAX);
            let question = codec::encode(&HostAsk::Table { mark, wait_ms });
            let told = read(net.ask(node, Service::Host, question, HELD + SLACK).await.ok());
            if told.is_some() {
                metrics.heard_of_table();
            }
            match told {
                // Held as long as it could be; one that does not hold is not asked all the time.
                Some((_, new)) if mark == Some(new) => sleep(PAUSE).await,
                Some((services, new)) => {
                    mark = Some(new);
                    table.send_replace(Arc::new(Table::of_views(&services)));
                    sleep(PAUSE).await;
                }
                None => {
                    turn = turn.wrapping_add(1);
                    sleep(AGAIN).await;
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

fn read(answer: Option<Vec<u8>>) -> Option<(Vec<ServiceView>, Hash)> {
    match codec::decode(&answer?, MAX_TABLE).ok()? {
        HostTell::Table { services, mark } => Some((services, mark)),
        _ => None,
    }
}
