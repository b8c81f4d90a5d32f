//! `receipt` and `verify`: a host's signed word of a run, and whether it holds.
//!
//! Always: `verify` asks nobody unless a job is named by its id. It says of each part what holds and what
//! does not, and holds only if all do. What was not asked for was not checked, and is not claimed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use skyclaw_http_compat::receipt::{payload_hash, peer_id, read};
use skyclaw_protocol::limits::{MAX_BODY_BYTES, MAX_COPIES};
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::verify::Said;
use skyclaw_protocol::{Hash, NodeId, OutputFile};

use super::args;
use super::error::CliError;
use super::jobs;
use super::output::{Output, harmless};
use crate::client::Client;

/// Largest document that is read, in bytes: a job with its payload and its output, every character of
/// them escaped.
const MAX_DOCUMENT: u64 = 8 * MAX_BODY_BYTES as u64;

/// Bytes of a file read at once.
const PIECE: usize = 64 << 10;

/// Prints the receipt of a job, or those of a job that several hosts ran to be verified. It is a document in
/// any case.
pub(super) async fn fetch(
    client: &Client,
    args: &args::Receipt,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut answer = client.get(&format!("{}/receipt", jobs::path(&args.id))).await?;
    if let Some(receipts) = answer.get_mut("receipts").map(Value::take) {
        output.json(&json!({ "receipts": receipts }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let receipt = answer.get_mut("receipt").map(Value::take);
    output.json(&receipt.ok_or(CliError::Answer("receipt"))?)?;
    Ok(ExitCode::SUCCESS)
}

/// One thing that was looked at.
struct Check {
    part: String,
    /// Why it does not hold; none if it does.
    fault: Option<String>,
}

/// All that was looked at.
#[derive(Default)]
struct Checks {
    all: Vec<Check>,
    /// Of which of several receipts; follows the names of parts.
    of: String,
}

impl Checks {
    fn put(&mut self, part: impl Into<String>, holds: bool, fault: impl Into<String>) {
        let fault = (!holds).then(|| fault.into());
        self.all.push(Check { part: format!("{}{}", part.into(), self.of), fault });
    }

    fn hash(&mut self, part: impl Into<String>, signed: Hash, found: Hash) {
        let fault = format!("the receipt says {}, this is {}", signed.hex(), found.hex());
        self.put(part, signed == found, fault);
    }

    fn hold(&self) -> bool {
        self.all.iter().all(|check| check.fault.is_none())
    }
}

/// Checks a receipt, or several of one job.
pub(super) async fn verify(
    client: &Client,
    args: &args::Verify,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let document = document(&args.receipt)?;
    let (documents, several) = documents(&document, args)?;
    let (mut checks, mut receipts) = (Checks::default(), Vec::new());
    for (n, document) in documents.into_iter().enumerate() {
        if several {
            checks.of = format!(" ({})", n + 1);
        }
        let receipt = match read(document).map_err(|error| error.to_string()) {
            Ok(raw) => Receipt::open(raw).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match receipt {
            Ok(signed) => {
                checks.put("signature", true, "");
                let receipt = signed.into_body();
                compare(client, args, &receipt, &mut checks).await?;
                receipts.push(receipt);
            }
            Err(error) => checks.put("signature", false, error),
        }
    }
    checks.of.clear();
    if let Some(host) = args.host.as_ref().filter(|_| !receipts.is_empty()) {
        let signers: Vec<_> = receipts.iter().map(|receipt| receipt.node).collect();
        signed_by(host, &signers, &mut checks);
    }
    if several {
        alike(&receipts, &mut checks);
    }
    print(&receipts, several, &checks, json, output)?;
    Ok(if checks.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The receipts in a document, and whether it is of several; also as the API answers it.
fn documents<'a>(
    document: &'a Value,
    args: &args::Verify,
) -> Result<(Vec<&'a Value>, bool), CliError> {
    let Some(several) = document.get("receipts") else {
        return Ok((vec![document.get("receipt").unwrap_or(document)], false));
    };
    let several = several.as_array().filter(|all| (1..=MAX_COPIES.into()).contains(&all.len()));
    let why = format!("{}: receipts must be a list of 1 to {MAX_COPIES}", args.receipt.display());
    Ok((several.ok_or(CliError::Source(why))?.iter().collect(), true))
}

/// Whether one of these keys is that of the host that was named.
fn signed_by(host: &str, signers: &[NodeId], checks: &mut Checks) {
    let is = |node: &NodeId| {
        [peer_id(*node), HEXLOWER.encode(&node.0)].contains(&host.trim().to_owned())
    };
    let names: Vec<String> = signers.iter().copied().map(peer_id).collect();
    let fault = format!("it is signed by {}", names.join(", "));
    checks.put("host", signers.iter().any(is), fault);
}

/// What must hold of several receipts if they are to vouch for one result.
fn alike(receipts: &[Receipt], checks: &mut Checks) {
    let Some((first, others)) = receipts.split_first() else { return };
    let of = |receipt: &Receipt| (receipt.network, receipt.job.clone(), receipt.payload);
    let one = others.iter().all(|other| of(other) == of(first));
    checks.put("one job", one, "they are of different jobs");
    let keys: BTreeSet<NodeId> = receipts.iter().map(|receipt| receipt.node).collect();
    checks.put("distinct keys", keys.len() == receipts.len(), "one key signed several of them");
    let same = others.iter().all(|other| Said::of(other) == Said::of(first));
    checks.put("equal results", same, "they tell of different results");
}

/// Compares it with all that was given.
async fn compare(
    client: &Client,
    args: &args::Verify,
    receipt: &Receipt,
    checks: &mut Checks,
) -> Result<(), CliError> {
    if let Some(job) = &args.job {
        let path = Path::new(job);
        let known = match path.exists() {
            true => self::document(path)?,
            false => client.get(&jobs::path(job)).await?,
        };
        about(known.get("job").unwrap_or(&known), receipt, checks);
    }
    for (part, file, signed) in
        [("stdout", &args.stdout, receipt.stdout), ("stderr", &args.stderr, receipt.stderr)]
    {
        if let Some(file) = file {
            checks.hash(part, signed, hash_of(file)?);
        }
    }
    for (path, file) in &args.output {
        let part = format!("output {path}");
        match receipt.outputs.iter().find(|output| output.path == *path) {
            Some(output) => checks.hash(part, output.hash, hash_of(Path::new(file))?),
            None => checks.put(part, false, "the receipt names no file of that path"),
        }
    }
    Ok(())
}

/// Compares it with a job: its id, what was asked for, and its result, as far as they are there.
fn about(job: &Value, receipt: &Receipt, checks: &mut Checks) {
    let Some(payload) = job.get("payload").filter(|payload| payload.is_object()) else {
        return checks.put("payload", false, "no job with a payload is there to compare with");
    };
    if let Some(id) = job["id"].as_str() {
        let fault = format!("the receipt is of {}, this is {id}", receipt.job);
        checks.put("job", receipt.job.as_str() == id, fault);
    }
    checks.hash("payload", receipt.payload, payload_hash(payload));
    let result = &job["result"];
    if !result.is_object() {
        return;
    }
    for (part, signed) in [("result stdout", receipt.stdout), ("result stderr", receipt.stderr)] {
        let text = result[&part["result ".len()..]].as_str().unwrap_or_default();
        checks.hash(part, signed, Hash::of(text.as_bytes()));
    }
    let exit = &result["exitCode"];
    let fault = format!("the receipt says {}, the job {exit}", receipt.exit_code);
    checks.put("result exit code", exit.as_i64() == Some(receipt.exit_code), fault);
    let file = |file: &OutputFile| json!({ "path": file.path, "hash": file.hash.hex(), "bytes": file.bytes });
    let signed: Vec<Value> = receipt.outputs.iter().map(file).collect();
    let found = result["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    checks.put("result files", signed == found, "the receipt names other files than the job");
}

fn print(
    receipts: &[Receipt],
    several: bool,
    checks: &Checks,
    json: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    if json {
        let check = |check: &Check| match &check.fault {
            None => json!({ "part": check.part, "holds": true }),
            Some(fault) => json!({ "part": check.part, "holds": false, "why": fault }),
        };
        let mut document = json!({ "valid": checks.hold() });
        document["checks"] = checks.all.iter().map(check).collect();
        let of = |receipt: &Receipt| json!({ "job": receipt.job, "host": receipt.host, "signer": peer_id(receipt.node) });
        match receipts {
            [receipt] if !several => {
                for (name, value) in of(receipt).as_object().into_iter().flatten() {
                    document[name] = value.clone();
                }
            }
            _ if several => document["receipts"] = receipts.iter().map(of).collect(),
            _ => {}
        }
        return Ok(output.json(&document)?);
    }
    let mut lines = String::new();
    for Check { part, fault } in &checks.all {
        match fault {
            None => lines.push_str(&format!("{part:18}holds\n")),
            Some(fault) => lines.push_str(&format!("{part:18}DOES NOT HOLD: {fault}\n")),
        }
    }
    if checks.hold() {
        for receipt in receipts {
            lines.push_str(&format!(
                "valid: host {} ({}) says that it ran {}, exit code {}\n",
                receipt.host,
                peer_id(receipt.node),
                receipt.job,
                receipt.exit_code
            ));
        }
        if several {
            lines.push_str(&format!("distinct hosts that say the same: {}\n", receipts.len()));
        }
    } else {
        lines.push_str("not valid\n");
    }
    output.text(&harmless(&lines))?;
    Ok(())
}

fn document(path: &Path) -> Result<Value, CliError> {
    let wrong = |why: String| CliError::Source(format!("{}: {why}", path.display()));
    let mut text = Vec::new();
    let taken = if path == Path::new("-") {
        io::stdin().lock().take(MAX_DOCUMENT + 1).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut text))
    };
    let taken = taken.map_err(|error| wrong(error.to_string()))?;
    if taken as u64 > MAX_DOCUMENT {
        return Err(wrong(format!("it is larger than {MAX_DOCUMENT} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(format!("it is no JSON: {error}")))
}

fn hash_of(path: &Path) -> Result<Hash, CliError> {
    let wrong = |error: io::Error| CliError::Source(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(wrong)?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece).map_err(wrong)?;
        if read == 0 {
            return Ok(Hash(*hasher.finalize().as_bytes()));
        }
        hasher.update(&piece[..read]);
    }
}
