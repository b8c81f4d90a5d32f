//! What the network part alone reads: the handshake, what nodes say of themselves, the book of peers.
//!
//! Always: what is taken is written in one form, which is taken again and stays as it is.

use skyclaw_node::net::decoders;
use skyclaw_protocol::NetworkId;

use crate::engine::targets;
use crate::frames::nonsense;

/// When the book is read.
const NOW_MS: u64 = 1_800_000_000_000;

targets! {
    handshakes {
        || of(decoders::handshakes()), &["Hello", "Proof", "Welcome", "Refused", "Enter"],
        |bytes| exact(bytes, decoders::handshake)
    }
    descriptions {
        || of(decoders::descriptions()), &["host", "label", "url"],
        |bytes| exact(bytes, decoders::description)
    }
    member_asks { || of(decoders::member_asks()), &["renew"], |bytes| exact(bytes, decoders::member_ask) }
    peer_books { || of(decoders::books(network(), NOW_MS)), &[], book }
}

fn network() -> NetworkId {
    NetworkId::of_name("samples")
}

fn of(samples: Vec<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let good = samples.into_iter().enumerate().map(|(n, bytes)| (format!("ok-{n}"), bytes));
    good.chain(nonsense()).collect()
}

fn exact(bytes: &[u8], read: fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let Some(again) = read(bytes) else { return false };
    assert_eq!(again, bytes, "written otherwise than it was read");
    true
}

/// Lines that cannot be used are left out, so what is written may be less.
fn book(bytes: &[u8]) -> bool {
    let read = |bytes: &[u8]| decoders::book(bytes, network(), NOW_MS);
    match read(bytes) {
        Ok(once) => {
            assert!(once.len() <= bytes.len() * 2 + 1024);
            assert_eq!(read(&once).as_ref(), Ok(&once), "a book changes by being read");
            assert!(decoders::book(bytes, NetworkId::of_name("other"), NOW_MS).is_err());
            true
        }
        Err(error) => {
            assert!(!error.is_empty());
            false
        }
    }
}
