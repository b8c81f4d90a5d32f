//! Receipts as JSON documents that a user can keep.
//!
//! Always: the document holds every signed field, so what was signed can be made again from any
//! spelling of it; a member that is not signed is refused when it is read, since it would be taken
//! for a part of what the host said. The one that follows from another, the peer id, must follow.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::Signature;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::record::{Proof, Raw};
use skyclaw_protocol::{
    Hash, HostId, JobId, Milli, NetworkId, NodeId, OutputFile, SandboxLevel, codec,
};

pub use crate::idempotency::payload_hash;
use crate::json::{iso, number, put};

/// What stands before an ed25519 key in a peer id: an identity multihash of a protobuf.
const PEER_ID: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Members of the document, and of those within it.
const KNOWN: &[&str] = &[
    "version",
    "network",
    "job",
    "attempt",
    "spec",
    "payload",
    "host",
    "key",
    "startedAt",
    "endedAt",
    "durationMs",
    "success",
    "exitCode",
    "error",
    "stdout",
    "stderr",
    "outputs",
    "truncated",
    "sandbox",
    "policy",
    "agent",
    "signature",
];

/// Why a document is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A member is missing or is not what it must be.
    #[error("{0} is missing or wrong")]
    Member(&'static str),
    /// A member that no receipt has.
    #[error("{0} is no part of a receipt")]
    Unknown(String),
}

/// The document; none if these bytes hold no receipt. Whether it is signed is not looked at.
#[must_use]
pub fn show(raw: &Raw) -> Option<Value> {
    let opened = raw.clone().reopen::<Receipt>().ok()?;
    let receipt = opened.body();
    let hex = |hash: &Hash| hash.hex();
    let mut map = Map::new();
    put(&mut map, "version", Some(receipt.version));
    let network = HEXLOWER.encode(&receipt.network.0);
    put(&mut map, "network", Some(json!({ "name": receipt.network_name, "id": network })));
    put(&mut map, "job", Some(receipt.job.as_str()));
    put(&mut map, "attempt", Some(receipt.attempt));
    put(&mut map, "spec", receipt.spec.as_ref().map(hex));
    put(&mut map, "payload", Some(hex(&receipt.payload)));
    put(&mut map, "host", Some(receipt.host.as_str()));
    let key = HEXLOWER.encode(&receipt.node.0);
    put(&mut map, "key", Some(json!({ "peerId": peer_id(receipt.node), "ed25519": key })));
    put(&mut map, "startedAt", Some(iso(receipt.started)));
    put(&mut map, "endedAt", Some(iso(receipt.ended)));
    put(&mut map, "durationMs", Some(number(receipt.duration)));
    put(&mut map, "success", Some(receipt.success));
    put(&mut map, "exitCode", Some(receipt.exit_code));
    put(&mut map, "error", receipt.error.as_ref().map(hex));
    put(&mut map, "stdout", Some(hex(&receipt.stdout)));
    put(&mut map, "stderr", Some(hex(&receipt.stderr)));
    let file = |file: &OutputFile| json!({ "path": file.path, "hash": file.hash.hex(), "bytes": file.bytes });
    put(&mut map, "outputs", Some(receipt.outputs.iter().map(file).collect::<Value>()));
    put(&mut map, "truncated", Some(receipt.truncated));
    put(&mut map, "sandbox", Some(receipt.sandbox.as_str()));
    put(&mut map, "policy", Some(hex(&receipt.policy)));
    put(&mut map, "agent", receipt.agent.as_ref().map(hex));
    put(&mut map, "signature", Some(HEXLOWER.encode(&raw.proof.signature().0)));
    Some(Value::Object(map))
}

/// Reads a document. Whether its signature holds, [`Receipt::open`] says.
///
/// # Errors
/// [`ReceiptError`], naming the first member that is wrong.
pub fn read(document: &Value) -> Result<Raw, ReceiptError> {
    let of = Part::of(document, KNOWN)?;
    let network = of.part("network", &["name", "id"])?;
    let key = of.part("key", &["peerId", "ed25519"])?;
    let node = NodeId(key.bytes("ed25519", "key.ed25519")?);
    if key.text("peerId", "key.peerId")? != peer_id(node) {
        return Err(ReceiptError::Member("key.peerId"));
    }
    let sandbox = SandboxLevel::of(of.text("sandbox", "sandbox")?);
    let receipt = Receipt {
        version: of.count("version")?,
        network: NetworkId(network.bytes("id", "network.id")?),
        network_name: network.text("name", "network.name")?.to_owned(),
        job: JobId::new(of.text("job", "job")?).map_err(|_| ReceiptError::Member("job"))?,
        attempt: of.count("attempt")?,
        spec: of.any_hash("spec")?,
        payload: of.hash("payload")?,
        host: HostId::new(of.text("host", "host")?).map_err(|_| ReceiptError::Member("host"))?,
        node,
        started: of.time("startedAt")?,
        ended: of.time("endedAt")?,
        duration: of.number("durationMs")?,
        success: of.flag("success")?,
        exit_code: of.get("exitCode").as_i64().ok_or(ReceiptError::Member("exitCode"))?,
        error: of.any_hash("error")?,
        stdout: of.hash("stdout")?,
        stderr: of.hash("stderr")?,
        outputs: of.outputs("outputs")?,
        truncated: of.flag("truncated")?,
        sandbox: sandbox.ok_or(ReceiptError::Member("sandbox"))?,
        policy: of.hash("policy")?,
        agent: of.any_hash("agent")?,
    };
    let signature = Signature(of.bytes("signature", "signature")?);
    Ok(Raw { body: codec::encode(&receipt), signer: node, proof: Proof::alone(signature) })
}

/// The name of a key in libp2p: a peer id, as `skyclaw peers` shows it.
#[must_use]
pub fn peer_id(node: NodeId) -> String {
    bs58::encode([&PEER_ID[..], &node.0[..]].concat()).into_string()
}

/// An object whose members are all known.
struct Part<'a>(&'a Map<String, Value>);

impl<'a> Part<'a> {
    fn of(value: &'a Value, known: &[&str]) -> Result<Self, ReceiptError> {
        let map = value.as_object().ok_or(ReceiptError::Member("the document"))?;
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ReceiptError::Unknown(name.clone())),
            None => Ok(Self(map)),
        }
    }

    fn get(&self, name: &str) -> &'a Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    fn part(&self, name: &'static str, known: &[&str]) -> Result<Self, ReceiptError> {
        if !self.get(name).is_object() {
            return Err(ReceiptError::Member(name));
        }
        Self::of(self.get(name), known)
    }

    fn text(&self, name: &str, shown: &'static str) -> Result<&'a str, ReceiptError> {
        self.get(name).as_str().ok_or(ReceiptError::Member(shown))
    }

    fn bytes<const N: usize>(
        &self,
        name: &str,
        shown: &'static str,
    ) -> Result<[u8; N], ReceiptError> {
        let bytes = HEXLOWER.decode(self.text(name, shown)?.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(ReceiptError::Member(shown))
    }

    fn hash(&self, name: &'static str) -> Result<Hash, ReceiptError> {
        self.bytes(name, name).map(Hash)
    }

    fn any_hash(&self, name: &'static str) -> Result<Option<Hash>, ReceiptError> {
        self.0.contains_key(name).then(|| self.hash(name)).transpose()
    }

    fn count(&self, name: &'static str) -> Result<u32, ReceiptError> {
        let count = self.get(name).as_u64().and_then(|count| u32::try_from(count).ok());
        count.ok_or(ReceiptError::Member(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ReceiptError> {
        self.get(name).as_bool().ok_or(ReceiptError::Member(name))
    }

    fn number(&self, name: &'static str) -> Result<Milli, ReceiptError> {
        let number = self.get(name).as_f64().and_then(Milli::from_f64);
        number.ok_or(ReceiptError::Member(name))
    }

    fn time(&self, name: &'static str) -> Result<Wall, ReceiptError> {
        let stamp = self.text(name, name)?.parse::<Timestamp>().ok();
        let ms = stamp.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
        ms.map(Wall).ok_or(ReceiptError::Member(name))
    }

    fn outputs(&self, name: &'static str) -> Result<Vec<OutputFile>, ReceiptError> {
        let wrong = || ReceiptError::Member(name);
        let files = self.get(name).as_array().ok_or_else(wrong)?;
        let file = |file: &Value| {
            let file = Part::of(file, &["path", "hash", "bytes"]).map_err(|_| wrong())?;
            Ok(OutputFile {
                path: file.text("path", name)?.to_owned(),
                hash: file.bytes("hash", name).map(Hash)?,
                bytes: file.get("bytes").as_u64().ok_or_else(wrong)?,
            })
        };
        files.iter().map(file).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use skyclaw_protocol::key::NodeKey;
    use skyclaw_protocol::record::Signed;

    use super::*;

    pub(crate) fn receipt(key: &NodeKey) -> Receipt {
        let hash = |text: &str| Hash::of(text.as_bytes());
        let file = OutputFile { path: "out/ä.txt".to_owned(), hash: hash("file"), bytes: 4 };
        Receipt {
            version: Receipt::VERSION,
            network: NetworkId::of_name("local"),
            network_name: "local".to_owned(),
            job: JobId::new("job_1").unwrap(),
            spec: Some(hash("spec")),
            payload: hash("payload"),
            attempt: 2,
            host: HostId::new("host_1").unwrap(),
            node: key.id(),
            started: Wall(1_800_000_000_001),
            ended: Wall(1_800_000_002_501),
            duration: Milli(2_500_250),
            success: false,
            exit_code: -1,
            error: Some(hash("why")),
            stdout: hash("out"),
            stderr: hash(""),
            outputs: vec![file],
            truncated: true,
            sandbox: SandboxLevel::Landlock,
            policy: hash("policy"),
            agent: None,
        }
    }

    fn sealed() -> Raw {
        let key = NodeKey::from_seed(&[5; 32]);
        Signed::seal(&key, NetworkId::of_name("local"), receipt(&key)).raw().clone()
    }

    #[test]
    fn a_document_reads_back_as_what_was_signed_however_it_is_spelled() {
        let raw = sealed();
        let document = show(&raw).unwrap();
        assert_eq!(read(&document).unwrap(), raw);
        // Members in another order, numbers and characters written otherwise.
        let mut members: Vec<_> = document.as_object().unwrap().clone().into_iter().collect();
        members.reverse();
        let reversed = Value::Object(members.into_iter().collect());
        let text = serde_json::to_string_pretty(&reversed).unwrap();
        let text = text.replace("2500.25", "25002.5e-1").replace('ä', "\\u00e4");
        let again = read(&serde_json::from_str(&text).unwrap()).unwrap();
        assert!(Receipt::open(again).is_ok());
    }

    #[test]
    fn the_key_is_shown_as_the_peer_id_that_libp2p_gives_it() {
        let document = show(&sealed()).unwrap();
        let peer = document["key"]["peerId"].as_str().unwrap();
        assert!(peer.starts_with("12D3KooW") && peer.len() == 52, "{peer}");
    }

    #[test]
    fn each_member_that_is_changed_breaks_the_signature_or_the_form() {
        let document = show(&sealed()).unwrap();
        for (name, value) in document.as_object().unwrap() {
            let mut changed = document.clone();
            changed[name] = match value {
                Value::String(text) if text.len() == 64 || text.len() == 128 => {
                    let first = if text.starts_with('0') { "1" } else { "0" };
                    json!(format!("{first}{}", &text[1..]))
                }
                Value::String(text) if name.ends_with("At") => json!(text.replace('1', "2")),
                Value::String(text) if name == "sandbox" => {
                    assert_eq!(text, "landlock");
                    json!("isolated")
                }
                Value::String(text) => json!(format!("{text}x")),
                Value::Number(number) => json!(number.as_f64().unwrap().trunc() as i64 + 1),
                Value::Bool(flag) => json!(!flag),
                Value::Array(_) => json!([]),
                Value::Object(_) if name == "network" => json!({ "name": "x", "id": value["id"] }),
                other => {
                    let other_key = peer_id(NodeKey::from_seed(&[6; 32]).id());
                    json!({ "peerId": other_key, "ed25519": other["ed25519"] })
                }
            };
            let holds = read(&changed).is_ok_and(|raw| Receipt::open(raw).is_ok());
            assert!(!holds, "{name} could be changed");
            changed.as_object_mut().unwrap().remove(name);
            let holds = read(&changed).is_ok_and(|raw| Receipt::open(raw).is_ok());
            assert!(!holds, "{name} could be left out");
        }
        let mut more = document;
        more["note"] = json!("paid");
        assert_eq!(read(&more), Err(ReceiptError::Unknown("note".to_owned())));
    }
}
