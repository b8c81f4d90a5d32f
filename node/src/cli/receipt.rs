//! `receipt` and `verify`: a host's signed word of a run, and whether it holds.
//!
//! Always: `verify` asks nobody unless a job is named by its id. It says of each part what holds and what
//! does not, and holds only if all do. What was not asked for was not checked, and is not claimed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use skyclaw_http_compat::receipt::{payload_hash, peer_id, read};
use skyclaw_protocol::limits::MAX_BODY_BYTES;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::{Hash, OutputFile};

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

/// Prints the receipt of a job. It is a document in any case.
pub(super) async fn fetch(
    client: &Client,
    args: &args::Receipt,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut answer = client.get(&format!("{}/receipt", jobs::path(&args.id))).await?;
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
struct Checks(Vec<Check>);

impl Checks {
    fn put(&mut self, part: impl Into<String>, holds: bool, fault: impl Into<String>) {
        let fault = (!holds).then(|| fault.into());
        self.0.push(Check { part: part.into(), fault });
    }

    fn hash(&mut self, part: impl Into<String>, signed: Hash, found: Hash) {
        let fault = format!("the receipt says {}, this is {}", signed.hex(), found.hex());
        self.put(part, signed == found, fault);
    }

    fn hold(&self) -> bool {
        self.0.iter().all(|check| check.fault.is_none())
    }
}

/// Checks a receipt.
pub(super) async fn verify(
    client: &Client,
    args: &args::Verify,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let document = document(&args.receipt)?;
    // Also as the API answers it.
    let document = document.get("receipt").unwrap_or(&document);
    let mut checks = Checks::default();
    let receipt = match read(document).map_err(|error| error.to_string()) {
        Ok(raw) => Receipt::open(raw).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let receipt = match receipt {
        Ok(signed) => {
            checks.put("signature", true, "");
            Some(signed.into_body())
        }
        Err(error) => {
            checks.put("signature", false, error);
            None
        }
    };
    if let Some(receipt) = &receipt {
        compare(client, args, receipt, &mut checks).await?;
    }
    print(receipt.as_ref(), &checks, json, output)?;
    Ok(if checks.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares it with all that was given.
async fn compare(
    client: &Client,
    args: &args::Verify,
    receipt: &Receipt,
    checks: &mut Checks,
) -> Result<(), CliError> {
    if let Some(host) = &args.host {
        let signer = [peer_id(receipt.node), HEXLOWER.encode(&receipt.node.0)];
        let fault = format!("it is signed by {}", signer[0]);
        checks.put("host", signer.contains(&host.trim().to_owned()), fault);
    }
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
    receipt: Option<&Receipt>,
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
        document["checks"] = checks.0.iter().map(check).collect();
        if let Some(receipt) = receipt {
            document["job"] = json!(receipt.job);
            document["host"] = json!(receipt.host);
            document["signer"] = json!(peer_id(receipt.node));
        }
        return Ok(output.json(&document)?);
    }
    let mut lines = String::new();
    for Check { part, fault } in &checks.0 {
        match fault {
            None => lines.push_str(&format!("{part:18}holds\n")),
            Some(fault) => lines.push_str(&format!("{part:18}DOES NOT HOLD: {fault}\n")),
        }
    }
    match receipt {
        Some(receipt) if checks.hold() => lines.push_str(&format!(
            "valid: host {} ({}) says that it ran {}, exit code {}\n",
            receipt.host,
            peer_id(receipt.node),
            receipt.job,
            receipt.exit_code
        )),
        _ => lines.push_str("not valid\n"),
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
