//! What a host is told to run of services, and its question for it.

use serde_json::{Map, Value, json};
use skyclaw_protocol::limits::MAX_CLAIM_WAIT_MS;
use skyclaw_protocol::orders::{Order, Orders, Over, Question};
use skyclaw_protocol::{Hash, HostId, ServiceId};

use super::fields::{Document, Fields};
use super::{put, service};
use crate::error::ApiError;

/// Services a host may name: more than one can run.
pub(crate) const MAX_NAMED: usize = 1024;

/// `{running, mark, waitMs}`, all optional.
pub(crate) fn asked(host: HostId, document: &Document) -> Result<Question, ApiError> {
    let fields = document.fields();
    let named = fields.strings("running")?.unwrap_or_default();
    if named.len() > MAX_NAMED {
        return Err(fields.bad("running", &format!("must not name more than {MAX_NAMED} services")));
    }
    let ids = named.into_iter().map(|id| ServiceId::new(id).map_err(|e| unusable(&fields, &e)));
    let running = ids.collect::<Result<_, _>>()?;
    let mark = fields.text("mark")?.map(Hash::parse).transpose();
    let mark = mark.map_err(|_| fields.bad("mark", "must be 64 hexadecimal digits"))?;
    let wait = fields.integer("waitMs")?.unwrap_or(0).clamp(0, i64::from(MAX_CLAIM_WAIT_MS));
    Ok(Question { host, running, mark, wait_ms: u32::try_from(wait).unwrap_or(u32::MAX) })
}

fn unusable(fields: &Fields<'_>, error: &skyclaw_protocol::IdError) -> ApiError {
    fields.bad("running", &format!("holds an id that is not usable: {error}"))
}

/// `{orders, over, mark}`.
pub(crate) fn show(orders: &Orders) -> Value {
    json!({
        "orders": orders.orders.iter().map(order).collect::<Vec<_>>(),
        "over": orders.over.iter().map(over).collect::<Vec<_>>(),
        "mark": orders.mark().hex(),
    })
}

fn order(order: &Order) -> Value {
    let mut map = Map::new();
    put(&mut map, "serviceId", Some(order.id.as_str()));
    put(&mut map, "ver", Some(order.ver));
    put(&mut map, "slot", Some(order.slot));
    put(&mut map, "epoch", Some(order.epoch));
    put(&mut map, "generation", Some(order.generation));
    service::def(&mut map, &order.def, service::Env::Clear);
    Value::Object(map)
}

fn over(over: &Over) -> Value {
    json!({ "id": over.id, "ver": over.ver })
}
