//! What is signed and kept: records, and the rows that voters and keys have.
//!
//! Always: bytes that come under a good signature are read as hostile all the same, and what is taken
//! is read again from its own bytes.

use skyclaw_protocol::batch::KeyRow;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::control::Control;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Spec;
use skyclaw_protocol::record::work::Work;
use skyclaw_protocol::record::{Proof, Raw, Record};
use skyclaw_protocol::register::{Certificate, Voter};
use skyclaw_protocol::{Completion, NetworkId, codec};

use crate::engine::targets;
use crate::frames::{cbor, frozen};

const WIRE: &str = include_str!("../../protocol/vectors/wire-1.hex");

/// Later than every stamp of the samples.
const NOW: Wall = Wall(1_800_000_001_000);

targets! {
    raws { || frozen(WIRE, &["raw", "raw-together"]), &[], cbor::<Raw> }
    specs { || frozen(WIRE, &["spec", "spec-marked", "spec-once"]), &[], record::<Spec> }
    results {
        || frozen(WIRE, &["result", "result-agent", "result-receipt"]), &[], record::<JobResult>
    }
    completions {
        || frozen(WIRE, &["completion-agent", "completion-receipt"]), &[], cbor::<Completion>
    }
    receipt_records { || frozen(WIRE, &["receipt"]), &[], record::<Receipt> }
    host_records { || frozen(WIRE, &["host", "host-openclaw"]), &[], record::<HostDesc> }
    certificates { || frozen(WIRE, &["certificate"]), &[], record::<Certificate> }
    work_records { || frozen(WIRE, &["work"]), &[], record::<Work> }
    controls { || frozen(WIRE, &["control"]), &[], record::<Control> }
    voters { || frozen(WIRE, &["voter", "voter-empty"]), &[], cbor::<Voter> }
    key_rows { || frozen(WIRE, &KEY_ROWS), &[], cbor::<KeyRow> }
}

const KEY_ROWS: [&str; 10] = [
    "key-job",
    "key-nojob",
    "key-host",
    "key-service",
    "key-noservice",
    "key-joined",
    "key-removed",
    "key-renewed",
    "key-handed-back",
    "key-heard",
];

/// Reads a body that its signer, a member, signed as it stands.
fn record<T: Record>(bytes: &[u8]) -> bool {
    // Whose key the samples name.
    let key = NodeKey::from_seed(&[3; 32]);
    let network = NetworkId::of_name("samples");
    let signature = key.sign(network, T::KIND, bytes);
    let raw = Raw { body: bytes.to_vec(), signer: key.id(), proof: Proof::alone(signature) };
    match raw.clone().verify::<T>(network, NOW) {
        Ok(signed) => {
            assert!(bytes.len() <= T::MAX_BYTES);
            assert_eq!(codec::encode(signed.body()), bytes);
            assert_eq!(signed.raw(), &raw);
            assert!(raw.clone().reopen::<T>().is_ok(), "it cannot be read from a disk");
            let elsewhere = NetworkId::of_name("elsewhere");
            assert!(raw.verify::<T>(elsewhere, NOW).is_err(), "it counts in another network");
            true
        }
        Err(reject) => {
            assert!(!reject.to_string().is_empty());
            false
        }
    }
}
