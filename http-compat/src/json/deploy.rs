//! Services as they are asked for: deployed whole, or changed in part.
//!
//! Always: the contract's members mean what they ever did; those added later are left out where
//! nobody set them. In a change null clears a member, and a member that is not known is refused.

use serde_json::{Map, Value};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::limits::{MAX_REPLICAS, MAX_SERVICE_BYTES};
use skyclaw_protocol::{
    Change, Command, Hash, HealthCheck, OnPartition, SandboxLevel, ServiceDef, ServiceId,
    ServicePatch, Variables,
};

use super::fields::{Document, Fields, kind};
use super::isolation;
use super::request::{CAPABILITIES, bad_id, imply, too_large, within};
use crate::error::ApiError;
use crate::text::{cut, trim};

/// What a service needs of a host unless it says otherwise.
const SERVICE_HOST: &str = "service-host";

/// Bounds of the time between two health checks, in milliseconds: more often they are a load of
/// their own, less often than hourly they tell nothing.
pub(crate) const MIN_INTERVAL_MS: u64 = 100;
pub(crate) const MAX_INTERVAL_MS: u64 = 3_600_000;

/// Between health checks where nothing was said.
const INTERVAL_MS: u64 = 5000;

/// Bounds of the first pause before a restart, in milliseconds.
pub(crate) const MIN_BACKOFF_MS: u64 = 10;
pub(crate) const MAX_BACKOFF_MS: u64 = 3_600_000;

/// What is bounded, as refusals name it.
const WHOLE: &str = "the service (command, args, cwd and env)";

/// Members that a change may name.
const CHANGEABLE: &[&str] = &[
    "name",
    "command",
    "args",
    "cwd",
    "env",
    "replicas",
    CAPABILITIES,
    "bundle",
    "health",
    "restart",
    "onPartition",
    "update",
    isolation::NETWORK,
];

/// `POST /v1/services`.
pub(crate) fn service(document: &Document) -> Result<Command, ApiError> {
    let fields = document.fields();
    let name = fields.required("name")?.to_owned();
    let command = command(&fields)?.ok_or_else(|| fields.bad("command", "is required"))?;
    let id = fields.text("serviceId")?.map(trim).filter(|id| !id.is_empty());
    let id = id.map(ServiceId::new).transpose().map_err(|e| bad_id(&fields, "serviceId", e))?;
    let cwd = fields.text("cwd")?;
    let env = fields.pairs("env")?;
    fields.startable("cwd", cwd)?;
    fields.startable("env", env.iter().flatten().flat_map(|(name, value)| [*name, *value]))?;
    update(&fields)?;
    let network = isolation::network_of_service(&fields)?;
    let def = ServiceDef {
        name,
        command,
        args: args(&fields)?.unwrap_or_default(),
        cwd: cwd.map(str::to_owned),
        env: env.map(|env| env.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()),
        replicas: replicas(&fields)?,
        required: required(&fields, network.as_ref())?,
        bundle: bundle(&fields)?,
        health: health(&fields)?,
        backoff_ms: backoff(&fields)?,
        on_partition: on_partition(&fields)?.unwrap_or_default(),
        network,
    };
    if def.bytes() + 4 * pieces(&def) > MAX_SERVICE_BYTES {
        return Err(too_large(WHOLE, MAX_SERVICE_BYTES));
    }
    Ok(Command::PutService { id, def, owner: None })
}

/// What hosts must be able to do: what is asked for, and what follows from the level and the network
/// asked for.
fn required(fields: &Fields<'_>, network: Option<&NetworkAsk>) -> Result<Vec<String>, ApiError> {
    let mut all = fields.capabilities(CAPABILITIES)?.unwrap_or_else(|| vec![SERVICE_HOST.into()]);
    let level = isolation::level(fields)?.and_then(SandboxLevel::capability);
    imply("a service", &mut all, level.into_iter().chain(isolation::keeper(network)))?;
    Ok(all)
}

/// Texts that are written with a length each.
fn pieces(def: &ServiceDef) -> usize {
    def.args.len() + 2 * def.env.as_ref().map_or(0, Vec::len) + usize::from(def.cwd.is_some())
}

/// `PATCH /v1/services/:id`.
pub(crate) fn patch(id: ServiceId, document: &Document) -> Result<Command, ApiError> {
    let fields = document.fields();
    fields.only(CHANGEABLE)?;
    fields.startable("cwd", fields.text("cwd")?)?;
    update(&fields)?;
    let name = fields.trimmed("name")?.map(str::to_owned);
    let replicas = within(&fields, "replicas", 1..=u64::from(MAX_REPLICAS))?;
    let on_partition = on_partition(&fields)?;
    let patch = ServicePatch {
        command: command(&fields)?,
        args: args(&fields)?,
        replicas: replicas.and_then(|count| u32::try_from(count).ok()),
        required: fields.capabilities(CAPABILITIES)?,
        cwd: change(&fields, "cwd", fields.text("cwd")?.map(str::to_owned)),
        env: change(&fields, "env", variables(&fields)?),
        bundle: change(&fields, "bundle", bundle(&fields)?),
        health: change(&fields, "health", health(&fields)?),
        backoff_ms: change(&fields, "restart", backoff(&fields)?),
        network: change(&fields, isolation::NETWORK, isolation::network_of_service(&fields)?),
        on_partition: match fields.is_null("onPartition") {
            true => Some(OnPartition::default()),
            false => on_partition,
        },
        name,
    };
    // What it sets must fit by itself; whether the whole does, the one who holds it sees.
    let set = patch.apply(&ServiceDef::default());
    if set.bytes() + 4 * pieces(&set) > MAX_SERVICE_BYTES || removals(&patch) > MAX_SERVICE_BYTES {
        return Err(too_large(WHOLE, MAX_SERVICE_BYTES));
    }
    if patch == ServicePatch::default() {
        let names = CHANGEABLE.join(", ");
        return Err(ApiError::BadField(format!("nothing to change: name one of {names}")));
    }
    Ok(Command::PatchService { id, patch: Box::new(patch) })
}

/// Bytes of the names of variables, also of those that go.
fn removals(patch: &ServicePatch) -> usize {
    match &patch.env {
        Some(Change::Set(all)) => all.iter().map(|(name, _)| name.len() + 4).sum(),
        _ => 0,
    }
}

/// Null clears.
fn change<T>(fields: &Fields<'_>, name: &str, value: Option<T>) -> Option<Change<T>> {
    value.map(Change::Set).or_else(|| fields.is_null(name).then_some(Change::Clear))
}

fn command(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let command = fields.text("command")?.map(trim).filter(|text| !text.is_empty());
    fields.startable("command", command)?;
    Ok(command.map(str::to_owned))
}

fn args(fields: &Fields<'_>) -> Result<Option<Vec<String>>, ApiError> {
    let args = fields.strings("args")?;
    fields.startable("args", args.iter().flatten().copied())?;
    Ok(args.map(|args| args.into_iter().map(str::to_owned).collect()))
}

/// Fewer than one instance counts as one, as ever; a change is asked for more precisely.
fn replicas(fields: &Fields<'_>) -> Result<u32, ApiError> {
    let asked = fields.integer("replicas")?.unwrap_or(1).max(1);
    u32::try_from(asked)
        .ok()
        .filter(|count| *count <= MAX_REPLICAS)
        .ok_or_else(|| fields.bad("replicas", &format!("must be at most {MAX_REPLICAS}")))
}

/// Variables of a change; null takes one away.
fn variables(fields: &Fields<'_>) -> Result<Option<Variables>, ApiError> {
    let Some(map) = fields.object("env")? else { return Ok(None) };
    let mut all = Vec::with_capacity(map.len());
    for (name, value) in map {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => {
                let complaint = format!("must be a string or null, not {}", kind(other));
                return Err(fields.bad(&format!("env.{}", cut(name, 100)), &complaint));
            }
        };
        fields.startable("env", [name.as_str()].into_iter().chain(value.as_deref()))?;
        all.push((name.clone(), value));
    }
    Ok(Some(all))
}

fn bundle(fields: &Fields<'_>) -> Result<Option<Hash>, ApiError> {
    let Some(text) = fields.text("bundle")? else { return Ok(None) };
    let complaint = "must be the hash of an uploaded bundle: 64 hexadecimal digits in lower case";
    Hash::parse(text).map(Some).map_err(|_| fields.bad("bundle", complaint))
}

/// The members of an object at `name`, of which there are only `known`.
fn part<'a>(
    fields: &Fields<'a>,
    (name, prefix): (&str, &'static str),
    known: &[&str],
) -> Result<Option<Fields<'a>>, ApiError> {
    let Some(map) = fields.object(name)? else { return Ok(None) };
    let inner = Fields::of(Some::<&Map<String, Value>>(map), prefix);
    inner.only(known)?;
    Ok(Some(inner))
}

fn health(fields: &Fields<'_>) -> Result<Option<HealthCheck>, ApiError> {
    let known = ["path", "intervalMs"];
    let Some(health) = part(fields, ("health", "health."), &known)? else { return Ok(None) };
    let path = health.text("path")?.ok_or_else(|| health.bad("path", "is required"))?;
    health.short("path", Some(path))?;
    // It is written into a request line as it is.
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        let complaint = "must begin with a slash and be the path of a url, percent-encoded";
        return Err(health.bad("path", complaint));
    }
    let interval = within(&health, "intervalMs", MIN_INTERVAL_MS..=MAX_INTERVAL_MS)?;
    Ok(Some(HealthCheck { path: path.to_owned(), interval_ms: interval.unwrap_or(INTERVAL_MS) }))
}

fn backoff(fields: &Fields<'_>) -> Result<Option<u64>, ApiError> {
    let Some(restart) = part(fields, ("restart", "restart."), &["backoffMs"])? else {
        return Ok(None);
    };
    let ms = within(&restart, "backoffMs", MIN_BACKOFF_MS..=MAX_BACKOFF_MS)?;
    ms.map(Some).ok_or_else(|| restart.bad("backoffMs", "is required"))
}

fn on_partition(fields: &Fields<'_>) -> Result<Option<OnPartition>, ApiError> {
    let Some(word) = fields.text("onPartition")? else { return Ok(None) };
    let choice = OnPartition::parse(word);
    choice.map(Some).ok_or_else(|| fields.bad("onPartition", "must be keep or stop"))
}

/// There is one way to replace instances, so it is checked and not kept.
fn update(fields: &Fields<'_>) -> Result<(), ApiError> {
    let Some(update) = part(fields, ("update", "update."), &["strategy"])? else { return Ok(()) };
    match update.text("strategy")? {
        None | Some("rolling") => Ok(()),
        Some(_) => Err(update.bad("strategy", "must be rolling")),
    }
}
