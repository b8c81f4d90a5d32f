//! How a coordinator joins others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::controls::Controls;
use skyclaw_protocol::learned::{self, Learned};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{NetworkId, NodeId};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::attach::{Attach, Refused};
use crate::config::{Config, CoordinatorConfig, P2pConfig, Secret};
use crate::engine::{self, Engine, Input, Shared};
use crate::handle::NodeHandle;
use crate::net::{
    Description, Listen, Membership, Net, NetConfig, NetError, NetHandle, Service, Sink, Tickets,
    book_path,
};
use crate::repair::Repair;
use crate::tasks::Tasks;
use crate::time;

/// So long what was begun is waited for where libp2p does not start: none of it has had anything to do.
const GIVE_UP: Duration = Duration::from_secs(2);

/// How often a store that could not be opened yet is looked at for the node's key.
const LOOK: Duration = Duration::from_millis(500);

/// To be called once for a node: a ticket network's is one for all that ask.
pub(super) fn membership(config: &Config) -> Membership {
    if let Some(joined) = &config.joined {
        return Membership::by_tickets(Tickets::new(joined.clone()));
    }
    Membership::new(config.token.as_ref().map(Secret::expose), &config.network)
        .with_old(config.old_token.as_ref().map(Secret::expose))
}

/// Starts libp2p, unless it is turned off: then only originals are looked for. Where the store, which holds the node's key, must heal
/// first, that is waited for aside.
pub(super) async fn start(
    config: &Config,
    settings: &CoordinatorConfig,
    shown: NetHandle,
    engine: &Engine,
    handle: &NodeHandle,
    repair: Repair,
    refused: Refused,
) -> Result<Tasks, NetError> {
    let tasks = Tasks::default();
    let Some(p2p) = &settings.p2p else {
        let (handle, token) = (handle.clone(), config.token.clone());
        let urls = move || handle.peer_urls();
        tasks.spawn(shown.seek_originals(urls, token, tasks.token()));
        return Ok(tasks);
    };
    let repair = repair.with_gossip(p2p.gossip);
    let net = net_config(config, settings, p2p, shown.membership().clone());
    if let Some(tickets) = shown.tickets() {
        tasks.spawn(expel(tickets, engine.inbox(), tasks.token()));
    }
    let (stop, shared) = (tasks.token(), engine.shared());
    tasks.spawn(cut_off(shared.controls(), shown.clone(), engine.shared(), tasks.token()));
    let urls = {
        let handle = handle.clone();
        move || handle.peer_urls()
    };
    shared.set_net(shown.clone());
    let inbox = engine.inbox();
    tasks.spawn(repair.clone().hand_over(
        Arc::new(shown.clone()),
        shown.coordinators(),
        tasks.token(),
    ));
    tasks.spawn(repair.clone().run(Arc::new(shown.clone()), shown.coordinators(), tasks.token()));
    let attach = Attach::new(handle.clone(), settings.endpoint_hosts.clone(), refused);
    let sink: Arc<dyn Sink> =
        Arc::new(Inbox { engine: engine.inbox(), repair, attach, network: net.membership.id() });
    if let Some(key) = shared.key() {
        let running = match Net::start(net, &shown, &key, urls, sink).await {
            Ok(running) => running,
            Err(error) => {
                tasks.shutdown(GIVE_UP).await;
                return Err(error);
            }
        };
        tasks.spawn(tell(shown.coordinators(), engine.inbox(), tasks.token()));
        tasks.spawn(async move {
            stop.cancelled().await;
            running.stop().await;
        });
        return Ok(tasks);
    }
    tasks.spawn(async move {
        let key = loop {
            match shared.key() {
                Some(key) => break key,
                None => tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                },
            }
        };
        match Net::start(net, &shown, &key, urls, sink).await {
            Ok(running) => {
                tell(shown.coordinators(), inbox, stop).await;
                running.stop().await;
            }
            Err(error) => tracing::error!(%error, "this node stays alone"),
        }
    });
    Ok(tasks)
}

/// Where what others send and ask goes.
struct Inbox {
    engine: SyncSender<Input>,
    repair: Repair,
    attach: Attach,
    network: NetworkId,
}

impl Sink for Inbox {
    fn frame(&self, from: NodeId, message: Message) -> bool {
        // Where gossip is off, hints come as frames; they are checked like gossip.
        if matches!(message, Message::Work(_)) {
            let learned = learned::check(message, self.network, time::wall()).unwrap_or_default();
            return !learned.is_empty() && self.learned(from, learned);
        }
        self.engine.try_send(Input::Frame { from, message }).is_ok()
    }

    fn handled(&self) -> BoxFuture<'static, ()> {
        let (mark, marked) = oneshot::channel();
        let (inbox, put) = (self.engine.clone(), self.engine.try_send(Input::Mark(mark)));
        async move {
            match put {
                Ok(()) => {}
                Err(TrySendError::Full(mark)) => {
                    engine::put(&inbox, mark).await;
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
            // Dropped, too, once nothing is left of what came before it.
            let _ = marked.await;
        }
        .boxed()
    }

    fn learned(&self, from: NodeId, learned: Vec<Learned>) -> bool {
        self.engine.try_send(Input::Learn { from, learned }).is_ok()
    }

    fn gone(&self, node: NodeId) {
        // Without room it is asked for again.
        let _ = self.engine.try_send(Input::Gone(node));
    }

    fn answer(
        &self,
        service: Service,
        from: NodeId,
        ask: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        match service {
            Service::Repair | Service::Control | Service::Shards => {
                let repair = self.repair.clone();
                async move { repair.answer(from, service, ask).await }.boxed()
            }
            // Answered before it comes here.
            Service::Member => futures::future::ready(None).boxed(),
            Service::Host => {
                let attach = self.attach.clone();
                async move { attach.answer(from, ask).await }.boxed()
            }
        }
    }
}

/// Tells the engine who is connected, until the node stops.
async fn tell(
    mut coordinators: watch::Receiver<Vec<NodeId>>,
    inbox: SyncSender<Input>,
    stop: CancellationToken,
) {
    loop {
        let nodes = coordinators.borrow_and_update().clone();
        // An engine that has ended needs no news.
        engine::put(&inbox, Input::Coordinators(nodes)).await;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = coordinators.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells the engine which nodes were revoked, as that becomes known and after each start of it.
async fn expel(tickets: Arc<Tickets>, inbox: SyncSender<Input>, stop: CancellationToken) {
    let mut news = tickets.news();
    let mut told = BTreeMap::new();
    loop {
        news.borrow_and_update();
        let revoked = tickets.revoked();
        if revoked != told {
            engine::put(&inbox, Input::Revoked(revoked.clone())).await;
            told = revoked;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = news.changed() => if changed.is_err() { return },
        }
    }
}

/// Lets go of nodes that are proven to have lied, as that becomes known.
async fn cut_off(
    mut controls: watch::Receiver<Arc<Controls>>,
    net: NetHandle,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut known = BTreeSet::new();
    loop {
        let held = Arc::clone(&controls.borrow_and_update());
        for offence in held.offences() {
            let node = offence.node;
            if !known.insert(node) {
                continue;
            }
            if shared.node() == Some(node) {
                tracing::error!(
                    "others have proof that this node {}: its database was set back to an earlier \
                     state, or is used by two nodes. They talk to it no more; start it with a new one",
                    offence.what()
                );
            } else {
                tracing::error!(%node, "cut off: this coordinator {}", offence.what());
            }
        }
        net.cut_off(known.iter().copied().filter(|node| shared.node() != Some(*node)));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = controls.changed() => if changed.is_err() { return },
        }
    }
}

fn net_config(
    config: &Config,
    settings: &CoordinatorConfig,
    p2p: &P2pConfig,
    membership: Membership,
) -> NetConfig {
    let listen = if p2p.listen.is_empty() {
        Listen::Default(interface(&settings.listen_host))
    } else {
        Listen::Asked(p2p.listen.clone())
    };
    NetConfig {
        membership,
        mdns: p2p.mdns.unwrap_or_else(|| !listen.is_loopback()),
        listen,
        external: p2p.external.clone(),
        bootstrap: p2p.bootstrap.clone(),
        gossip: p2p.gossip,
        book: book_path(&settings.db_path),
        about: Description {
            roles: config.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            label: label(&settings.node_id),
            url: settings.public_url.as_deref().and_then(skyclaw_http_compat::normalize_url),
            ..Description::default()
        },
        token: config.token.clone(),
    }
}

/// A display name as peers accept it.
pub(super) fn label(name: &str) -> String {
    let shown = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut label = String::new();
    for c in shown {
        if label.len() + c.len_utf8() > crate::net::MAX_LABEL {
            break;
        }
        label.push(c);
    }
    label
}

/// libp2p follows HTTP: on loopback if that is there, else everywhere.
fn interface(http_host: &str) -> IpAddr {
    match http_host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Ok(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ if http_host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}
