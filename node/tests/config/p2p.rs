//! Settings of hosts attached over libp2p.

use std::path::Path;

use skyclaw_node::config::Link;

use super::{from_env, host};

#[test]
fn a_host_alone_without_urls_joins_over_libp2p() {
    let link = |vars: &[(&str, &str)]| {
        let resolved = from_env(&[&[("SKYCLAW_ROLE", "host")], vars].concat());
        assert_eq!(resolved.config.coordinator, None);
        let shown = resolved.report.rows().iter().find(|row| row.name == "SKYCLAW_DB_PATH");
        let shown = shown.expect("the file is reported").shown.clone();
        match &host(&resolved).link {
            Link::P2p(link) => {
                assert_eq!(Path::new(&shown), link.db_path);
                (**link).clone()
            }
            other => panic!("{other:?}"),
        }
    };
    // Not the file of a coordinator that may run in the same folder.
    let plain = link(&[]);
    assert_eq!(plain.db_path, Path::new(".skyclaw/node.db"));
    assert_eq!((plain.p2p.mdns, plain.p2p.bootstrap.len()), (None, 0));
    let set = link(&[
        ("SKYCLAW_DB_PATH", "x.db"),
        ("SKYCLAW_BOOTSTRAP", "/ip4/192.0.2.1/tcp/4787"),
        ("SKYCLAW_P2P_LISTEN", "/ip4/0.0.0.0/tcp/1"),
        ("SKYCLAW_P2P_EXTERNAL_ADDR", "/ip4/192.0.2.2/tcp/1"),
        ("SKYCLAW_MDNS", "0"),
        ("SKYCLAW_GOSSIP", "0"),
        ("SKYCLAW_PEER_URLS", "http://a"),
    ]);
    assert_eq!(set.db_path, Path::new("x.db"));
    assert_eq!((set.p2p.listen.len(), set.p2p.external.len()), (1, 1));
    assert_eq!((set.p2p.bootstrap.len(), set.p2p.mdns), (1, Some(false)));
    assert_eq!(set.peer_urls, ["http://a"]);
    assert!(plain.p2p.gossip && !set.p2p.gossip);
    let named = link(&[("SKYCLAW_DB_PATH", ".skyclaw/coordinator.db")]);
    assert_eq!(named.db_path, Path::new(".skyclaw/coordinator.db"), "asked for is asked for");
}

#[test]
fn leases_over_libp2p_are_set_apart_from_those_over_http() {
    let lease = |vars: &[(&str, &str)]| {
        let settings = from_env(vars).config.coordinator.expect("a coordinator");
        (settings.lease.as_secs(), settings.p2p_lease.as_secs())
    };
    assert_eq!(lease(&[]), (60, 30));
    assert_eq!(lease(&[("SKYCLAW_P2P_LEASE_MS", "5000")]), (60, 5));
}
