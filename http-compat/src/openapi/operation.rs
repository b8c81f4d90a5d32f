//! What is told of one route, and what follows from how routes work here.
//!
//! Always: who may use a route is read from the table of routes, not said again; what every route of a kind
//! can answer is added here, so that a description names only what is its own.

use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, RefOr, Required, Response};

use super::shape::{Shape, count, named, object, short, text};
use crate::auth::Enough;
use crate::idempotency::MAX_KEY_BYTES;
use crate::routes::{ANY, Needs};

/// Names of the ways to say who one is.
pub(super) const TOKEN: &str = "token";
pub(super) const BEARER: &str = "bearer";
pub(super) const API_KEY: &str = "apiKey";
pub(super) const API_BEARER: &str = "apiBearer";

pub(super) const JSON: &str = "application/json";

/// The description of one route, under construction.
pub(super) struct Op {
    /// As in the table of routes: `GET`, `/v1/jobs/:id`.
    pub(super) route: (&'static str, &'static str),
    pub(super) tag: &'static str,
    name: &'static str,
    summary: &'static str,
    more: String,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    answers: Vec<(u16, Response)>,
    /// The node behind the API is asked.
    asks: bool,
}

/// Begins a description: method, template, a name that is fit for a function, a line.
pub(super) fn op(
    tag: &'static str,
    route: (&'static str, &'static str),
    name: &'static str,
    summary: &'static str,
) -> Op {
    let asks = route.1.starts_with("/v1/");
    let (more, parameters) = (String::new(), Vec::new());
    Op { route, tag, name, summary, more, parameters, body: None, answers: Vec::new(), asks }
}

fn json_of(shape: Shape) -> Content {
    Content::new(Some(shape.built()))
}

impl Op {
    /// Further sentences.
    pub(super) fn more(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self
    }

    /// What stands for `:id`.
    pub(super) fn id(mut self, shape: Shape) -> Self {
        let mut parameter = Parameter::new("id");
        parameter.parameter_in = ParameterIn::Path;
        parameter.required = Required::True;
        parameter.schema = Some(shape.built());
        self.parameters.insert(0, parameter);
        self
    }

    /// A part of the query that may be left out.
    pub(super) fn query(self, name: &str, shape: Shape, says: &str) -> Self {
        self.optional(ParameterIn::Query, name, shape, says)
    }

    /// A header that may be left out.
    pub(super) fn header(self, name: &str, shape: Shape, says: &str) -> Self {
        self.optional(ParameterIn::Header, name, shape, says)
    }

    fn optional(self, place: ParameterIn, name: &str, shape: Shape, says: &str) -> Self {
        let mut parameter = Parameter::new(name);
        parameter.parameter_in = place;
        parameter.required = Required::False;
        parameter.schema = Some(shape.built());
        parameter.description = Some(says.to_owned());
        self.parameter(parameter)
    }

    fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// It takes a body of JSON, and refuses one that is none or too large.
    pub(super) fn body(self, shape: Shape) -> Self {
        self.takes(JSON, shape, true)
    }

    /// It takes a body of JSON that may be left out.
    pub(super) fn any_body(self, shape: Shape) -> Self {
        self.takes(JSON, shape, false)
    }

    /// It takes bytes.
    pub(super) fn bytes(self, shape: Shape) -> Self {
        self.takes("application/octet-stream", shape, true)
    }

    fn takes(self, kind: &str, shape: Shape, needed: bool) -> Self {
        let mut body = RequestBody::new();
        body.content.insert(kind.to_owned(), RefOr::T(json_of(shape)));
        body.required = Some(if needed { Required::True } else { Required::False });
        Self { body: Some(body), ..self.reads() }
    }

    /// It reads a body, if only to throw it away.
    pub(super) fn reads(self) -> Self {
        self.error(408, "The body did not arrive in time.")
            .error(413, "The body, or a part of it, is larger than it may be.")
    }

    /// It is done once, however often it is sent with one key.
    pub(super) fn once(self) -> Self {
        self.header(
            "x-idempotency-key",
            short(MAX_KEY_BYTES),
            "The same key with the same request gets the same answer, and nothing is done again.",
        )
        .error(409, "The key came with another request before.")
    }

    /// What it answers when all is well.
    pub(super) fn answers(self, status: u16, says: &str, shape: Shape) -> Self {
        self.answers_as(status, says, JSON, shape)
    }

    pub(super) fn answers_as(mut self, status: u16, says: &str, kind: &str, shape: Shape) -> Self {
        let mut response = Response::new(says);
        response.content.insert(kind.to_owned(), RefOr::T(json_of(shape)));
        self.answers.push((status, response));
        self
    }

    /// The answer of that status may also be of this kind.
    pub(super) fn answers_as_well(mut self, status: u16, kind: &str, shape: Shape) -> Self {
        if let Some((_, response)) = self.answers.iter_mut().find(|(known, _)| *known == status) {
            response.content.insert(kind.to_owned(), RefOr::T(json_of(shape)));
        }
        self
    }

    /// It answers with one of these kinds of text.
    pub(super) fn answers_text(mut self, status: u16, says: &str, kinds: &[&str]) -> Self {
        let mut response = Response::new(says);
        for kind in kinds {
            response.content.insert((*kind).to_owned(), RefOr::T(json_of(text())));
        }
        self.answers.push((status, response));
        self
    }

    /// It answers without a body.
    pub(super) fn empty(mut self, status: u16, says: &str) -> Self {
        self.answers.push((status, Response::new(says)));
        self
    }

    /// The last answer has this header.
    pub(super) fn with(mut self, name: &str, says: &str) -> Self {
        if let Some((_, response)) = self.answers.last_mut() {
            response.headers.insert(name.to_owned(), RefOr::T(header(text(), says)));
        }
        self
    }

    /// There is no such thing.
    pub(super) fn missing(self, says: &str) -> Self {
        self.error(404, says)
    }

    /// The key has used up one of its bounds.
    pub(super) fn bounded(self) -> Self {
        self.error(429, "The key has used up one of its bounds, which the text names.")
    }

    /// Says one more reason for a refusal with this status.
    pub(super) fn error(mut self, status: u16, says: &str) -> Self {
        if let Some((_, known)) = self.answers.iter_mut().find(|(known, _)| *known == status) {
            if !known.description.contains(says) {
                known.description.push(' ');
                known.description.push_str(says);
            }
            return self;
        }
        let mut response = Response::new(says);
        if self.route.0 != "HEAD" {
            response.content.insert(JSON.to_owned(), RefOr::T(json_of(named("Error"))));
        }
        if matches!(status, 429 | 503) {
            let says = "Seconds after which it is worth another try.";
            response.headers.insert("retry-after".to_owned(), RefOr::T(header(count(), says)));
        }
        self.answers.push((status, response));
        self
    }

    /// The whole, with what follows from who may use the route.
    pub(super) fn build(self, needs: Needs) -> Operation {
        let all = self
            .error(400, "It is not understood: the text names the member, header or parameter.")
            .error(500, "A defect of the node.");
        let all = match needs {
            Needs::Nothing => all,
            Needs::CustomerKey => all
                .error(401, "The key of the public API is missing or wrong.")
                .error(503, "The public API is switched off."),
            Needs::Scope(_) => all.error(401, "The token or key is missing or wrong."),
        };
        let mut all = match needs {
            Needs::Scope(scopes) if needs != ANY => {
                let who = format!("Needs the token, or a key with {}.", Enough(scopes));
                let all = all.error(403, "The key does not cover this.");
                let more = if all.more.is_empty() { who } else { format!("{} {who}", all.more) };
                Self { more, ..all }
            }
            _ => all,
        };
        if all.asks {
            all = all.error(503, "The node cannot do it now, and the text says why. Try again.");
        }
        all.answers.sort_by_key(|(status, _)| *status);
        let mut operation = Operation::new();
        operation.tags = Some(vec![all.tag.to_owned()]);
        operation.operation_id = Some(all.name.to_owned());
        operation.summary = Some(all.summary.to_owned());
        operation.description = Some(all.more).filter(|text| !text.is_empty());
        let parameters: Vec<_> = all.parameters.into_iter().map(RefOr::T).collect();
        operation.parameters = Some(parameters).filter(|all| !all.is_empty());
        operation.request_body = all.body.map(RefOr::T);
        for (status, response) in all.answers {
            operation.responses.responses.insert(status.to_string(), RefOr::T(response));
        }
        operation.security = Some(security(needs));
        operation
    }
}

/// Any one of these is enough.
fn security(needs: Needs) -> Vec<SecurityRequirement> {
    let ways: &[&str] = match needs {
        Needs::Nothing => &[],
        Needs::CustomerKey => &[API_KEY, API_BEARER],
        Needs::Scope(_) => &[TOKEN, BEARER],
    };
    ways.iter().map(|way| SecurityRequirement::new(*way, Vec::<String>::new())).collect()
}

fn header(shape: Shape, says: &str) -> Header {
    let mut header = Header::new(shape.built());
    header.description = Some(says.to_owned());
    header
}

/// `{name: shape}`, as most answers are.
pub(super) fn only(name: &'static str, shape: Shape) -> Shape {
    object([super::shape::need(name, shape)])
}
