//! How a coordinator joins others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::config::{Config, CoordinatorConfig, P2pConfig, Secret};
use crate::engine::Engine;
use crate::handle::NodeHandle;
use crate::net::{Description, Listen, Membership, Net, NetConfig, NetError, NetHandle, book_path};
use crate::tasks::Tasks;

/// How often a store that could not be opened yet is looked at for the node's key.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn membership(config: &Config) -> Membership {
    Membership::new(config.token.as_ref().map(Secret::expose), &config.network)
}

/// Starts libp2p, unless it is turned off. Where the store, which holds the node's key, must heal
/// first, that is waited for aside.
pub(super) async fn start(
    config: &Config,
    settings: &CoordinatorConfig,
    shown: NetHandle,
    engine: &Engine,
    handle: &NodeHandle,
) -> Result<Tasks, NetError> {
    let tasks = Tasks::default();
    let Some(p2p) = &settings.p2p else { return Ok(tasks) };
    let net = net_config(config, settings, p2p);
    let (stop, shared) = (tasks.token(), engine.shared());
    let urls = {
        let handle = handle.clone();
        move || handle.peer_urls()
    };
    if let Some(key) = shared.key() {
        let running = Net::start(net, &shown, &key, urls).await?;
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
        match Net::start(net, &shown, &key, urls).await {
            Ok(running) => {
                stop.cancelled().await;
                running.stop().await;
            }
            Err(error) => tracing::error!(%error, "this node stays alone"),
        }
    });
    Ok(tasks)
}

fn net_config(config: &Config, settings: &CoordinatorConfig, p2p: &P2pConfig) -> NetConfig {
    let listen = if p2p.listen.is_empty() {
        Listen::Default(interface(&settings.listen_host))
    } else {
        Listen::Asked(p2p.listen.clone())
    };
    NetConfig {
        membership: membership(config),
        mdns: p2p.mdns.unwrap_or_else(|| !listen.is_loopback()),
        listen,
        external: p2p.external.clone(),
        bootstrap: p2p.bootstrap.clone(),
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
fn label(name: &str) -> String {
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
