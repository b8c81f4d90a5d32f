//! A malicious coordinator that fills what all share: others find room.

use std::time::{SystemTime, UNIX_EPOCH};

use skyclaw_protocol::Milli;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::limits::MAX_HOSTS;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::wire::Message;
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{PATIENCE, within};

use super::scene::{Scene, host_id};

const FULL: &str = "skyclaw_frame_faults_total{reason=\"full\"}";

/// Records in one frame.
const AT_ONCE: usize = 250;

#[test]
fn a_coordinator_that_describes_hosts_without_end_leaves_room_for_those_of_others() {
    let scene = Scene::set();
    let before = scene.until_agreed();
    let mallory = Mallory::join("coordinator", &scene.addresses());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let at = Hlc { ms: u64::try_from(since.as_millis()).expect("it fits"), count: 0 };
    let describe = |n: usize| {
        mallory.sign(HostDesc {
            id: host_id(&format!("evil-{n}")),
            name: String::new(),
            capabilities: Vec::new(),
            max_parallel: Milli::whole(1),
            registered: at,
            at,
            by: "evil".into(),
            display_version: 1,
            node: None,
            removed: false,
            openclaw: None,
        })
    };
    let to = mallory.handle.coordinators().borrow()[0];
    let full = || scene.nodes.iter().map(|node| node.api.metric(FULL)).sum::<f64>();
    for from in (0..MAX_HOSTS).step_by(AT_ONCE) {
        mallory.tell(to, Message::Hosts((from..from + AT_ONCE).map(describe).collect()));
    }
    within(2 * PATIENCE, "she has her share of it", || match full() {
        count if count > 0.0 => Ok(()),
        _ => Err("nothing was refused".into()),
    });
    // At whichever it was, another one's host comes to be known, by gossip or by repair.
    for (n, node) in scene.nodes.iter().enumerate() {
        node.api.register(&format!("fresh-{n}"), &["shell"], 1);
    }
    for node in &scene.nodes {
        within(2 * PATIENCE, "the hosts of others are known", || {
            let hosts = node.api.get("/v1/hosts").text();
            match (0..3).all(|n| hosts.contains(&format!("\"fresh-{n}\""))) {
                true => Ok(()),
                false => Err("one is missing".into()),
            }
        });
    }
    scene.serves(&before);
}
