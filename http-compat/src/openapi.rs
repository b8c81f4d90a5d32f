//! The description of this API, in OpenAPI: for clients that are generated, and for people at `/docs`.
//!
//! A new route is described in three steps, and the tests of this module say which one is missing:
//!
//! 1. an [`op`](operation::op) in the `ops` of its area (`jobs`, `services`, ...), with what it takes and answers;
//!    who may use it, and the errors that all routes of its kind have, follow from the table of routes;
//! 2. shapes that are new in the `shapes` of that area, by name, with the constants that the code checks by;
//! 3. if fuzzing is to leave something of it alone, an entry with its reason in `tests/openapi/schemathesis.toml`.
//!
//! Always: every route is described, and nothing else; the description holds no secret and nothing of this
//! node, so everybody may have it.

mod blobs;
mod hosts;
mod insight;
mod jobs;
mod network;
mod node;
mod operation;
mod originals;
mod payload;
mod principals;
mod public;
mod services;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Info, License, OpenApi, Paths, RefOr, Server};

use crate::routes::{Needs, ROUTES};
use operation::{API_BEARER, API_KEY, BEARER, Op, TOKEN};
use shape::Shape;

/// The whole API, as JSON.
pub(crate) static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| text(&document(false)));

/// What customers need, as JSON.
pub(crate) static PUBLIC: LazyLock<Vec<u8>> = LazyLock::new(|| text(&document(true)));

/// Where the API begins, as seen from where its description lies: behind a proxy that puts a prefix before
/// all paths it is right as well, and nothing of the node is told.
const SERVER: &str = ".";

/// The same as seen from the description for customers, which lies one folder deeper.
const SERVER_OF_PUBLIC: &str = "..";

const ABOUT: &str = "Jobs and services on many people's machines.\n\n\
    Answers are JSON where no other type is named, and every refusal is `{\"error\"}` with what is wrong and what to do. Members \
    that are absent are left out of answers; claims alone answer null where there is nothing. In requests null counts as absent, and members that are not known \
    are ignored unless it is said otherwise. Texts are bounded in bytes of UTF-8. Paths are matched as they are \
    sent: whatever is no route is a 404.";

const ABOUT_PUBLIC: &str = "Jobs for customers of a Skyclaw network.\n\n\
    Answers are JSON where no other type is named, every refusal `{\"error\"}` with what is wrong and what to do. Submit a job, then ask for it \
    until its `status` is `completed` or `failed`. Browsers of any origin that the node allows may ask: \
    `OPTIONS` is answered with 204.";

fn ops() -> Vec<Op> {
    [
        public::ops(),
        jobs::ops(),
        services::ops(),
        hosts::ops(),
        blobs::ops(),
        network::ops(),
        principals::ops(),
        originals::ops(),
        node::ops(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn shapes() -> BTreeMap<&'static str, Shape> {
    [
        jobs::shapes(),
        payload::shapes(),
        insight::shapes(),
        services::shapes(),
        hosts::shapes(),
        blobs::shapes(),
        network::shapes(),
        principals::shapes(),
        originals::shapes(),
        node::shapes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Who may use a route, if it is one.
fn needs(route: (&str, &str)) -> Option<Needs> {
    let found = ROUTES.iter().find(|it| (it.method, it.template) == route);
    found.map(|route| route.needs)
}

fn document(public: bool) -> Value {
    let mut paths = Paths::new();
    for op in ops() {
        let Some(needs) = needs(op.route) else { continue };
        if public && op.tag != public::TAG {
            continue;
        }
        let (method, path) = (op.route.0, op.route.1.replace(":id", "{id}"));
        place(paths.paths.entry(path).or_default(), method, op.build(needs));
    }
    let (title, about) =
        if public { ("Skyclaw: the public API", ABOUT_PUBLIC) } else { ("Skyclaw", ABOUT) };
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(about.to_owned());
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let mut api = OpenApi::new(info, paths);
    let mut server = Server::new(if public { SERVER_OF_PUBLIC } else { SERVER });
    server.description =
        Some("The node that gave this, by whatever address it was asked.".to_owned());
    api.servers = Some(vec![server]);
    let mut components = Components::new();
    components.security_schemes = schemes(public);
    components.schemas =
        shapes().into_iter().map(|(name, shape)| (name.to_owned(), shape.built())).collect();
    api.components = Some(components);
    // What utoipa writes is JSON, so this cannot fail.
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    keep_what_is_named(&mut document);
    document
}

fn place(item: &mut PathItem, method: &str, operation: Operation) {
    let place = match method {
        "GET" => &mut item.get,
        "HEAD" => &mut item.head,
        "POST" => &mut item.post,
        "PUT" => &mut item.put,
        "PATCH" => &mut item.patch,
        "DELETE" => &mut item.delete,
        _ => return,
    };
    *place = Some(operation);
}

fn schemes(public: bool) -> BTreeMap<String, RefOr<SecurityScheme>> {
    let header = |name: &str, says: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, says)))
    };
    let bearer = |says: &str| {
        SecurityScheme::Http(
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(says)).build(),
        )
    };
    let private = [
        (TOKEN, header("x-skyclaw-token", "The shared token, or a key that begins with sk_.")),
        (BEARER, bearer("A key that begins with sk_.")),
    ];
    let customers = [
        (API_KEY, header("x-api-key", "A key of the public API.")),
        (API_BEARER, bearer("A key of the public API.")),
    ];
    let private = private.into_iter().filter(|_| !public);
    let all = private.chain(customers);
    all.map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme))).collect()
}

/// Drops the shapes that nothing names.
fn keep_what_is_named(document: &mut Value) {
    let mut kept = BTreeSet::new();
    let mut open = BTreeSet::new();
    names(&document["paths"], &mut open);
    while let Some(name) = open.pop_first() {
        let mut found = BTreeSet::new();
        names(&document["components"]["schemas"][name.as_str()], &mut found);
        kept.insert(name);
        open.extend(found.into_iter().filter(|name| !kept.contains(name)));
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| kept.contains(name));
    }
}

/// Names of the shapes that a part of the document refers to.
fn names(part: &Value, into: &mut BTreeSet<String>) {
    match part {
        Value::String(text) => {
            into.extend(text.strip_prefix("#/components/schemas/").map(str::to_owned));
        }
        Value::Array(all) => all.iter().for_each(|one| names(one, into)),
        Value::Object(all) => all.values().for_each(|one| names(one, into)),
        _ => {}
    }
}

fn text(document: &Value) -> Vec<u8> {
    // Writing a `Value` to memory cannot fail.
    serde_json::to_vec(document).unwrap_or_default()
}
