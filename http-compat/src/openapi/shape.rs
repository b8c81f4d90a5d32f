//! Shapes of JSON, said shortly: what utoipa has builders for, in the words of this crate.
//!
//! Always: bounds are the constants that the code itself reads, so that what is told and what is done are
//! one thing.

use serde_json::{Value, json};
use skyclaw_protocol::limits::MAX_ID_BYTES;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOf, Array, Object, OneOf, Schema, SchemaType, Type,
};
use utoipa::openapi::{Discriminator, Ref, RefOr};

/// Blanks as they are trimmed here (`text::trim`), as a class of a regular expression.
const BLANKS: &str = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff";

/// The shape of one value.
#[derive(Clone)]
pub(super) struct Shape(RefOr<Schema>);

/// One member of an object.
pub(super) struct Member {
    name: &'static str,
    needed: bool,
    shape: Shape,
}

/// A member that is always there.
pub(super) const fn need(name: &'static str, shape: Shape) -> Member {
    Member { name, needed: true, shape }
}

/// A member of an answer that may be missing; it is never null.
pub(super) const fn may(name: &'static str, shape: Shape) -> Member {
    Member { name, needed: false, shape }
}

/// A member of a request that may be missing, for which null stands, too.
pub(super) fn opt(name: &'static str, shape: Shape) -> Member {
    Member { name, needed: false, shape: shape.or_null() }
}

fn of(kind: Type) -> Object {
    Object::with_type(kind)
}

pub(super) fn text() -> Shape {
    of(Type::String).into()
}

/// A text that is not only blanks.
pub(super) fn filled() -> Shape {
    text().like(&format!("[^{BLANKS}]"))
}

/// A text of at most so many bytes in UTF-8; characters are what JSON Schema counts.
pub(super) fn short(most: usize) -> Shape {
    text().longest(most)
}

pub(super) fn whole() -> Shape {
    of(Type::Integer).into()
}

/// A whole number from 0 on.
pub(super) fn count() -> Shape {
    whole().at_least(0)
}

pub(super) fn number() -> Shape {
    of(Type::Number).into()
}

pub(super) fn flag() -> Shape {
    of(Type::Boolean).into()
}

/// Of an answer that is meant to name all there is.
pub(super) fn a_part() -> Member {
    opt("truncated", flag().says("Here and true where this node keeps a part of all jobs alone."))
}

/// Anything at all.
pub(super) fn any() -> Shape {
    let mut any = Object::new();
    any.schema_type = SchemaType::AnyValue;
    any.into()
}

pub(super) fn word<T: AsRef<str>>(words: &[T]) -> Shape {
    let mut word = of(Type::String);
    word.enum_values = Some(words.iter().map(|word| json!(word.as_ref())).collect());
    word.into()
}

/// A moment, as all answers write it.
pub(super) fn moment() -> Shape {
    text().like(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").such_as("2026-01-02T03:04:05.678Z")
}

/// BLAKE3's hash of some bytes.
pub(super) fn hash() -> Shape {
    text().like("^[0-9a-f]{64}$").such_as("0".repeat(64))
}

/// An id as it stands in a path: without control characters, and of at most 256 bytes.
pub(super) fn id() -> Shape {
    text().shortest(1).longest(MAX_ID_BYTES).like(r"^[^\u0000-\u001f\u007f-\u009f]*$")
}

/// An id in a body, where blanks around it are trimmed; nothing left is as if it were not there.
pub(super) fn trimmed_id() -> Shape {
    text().like(&format!("^[{BLANKS}]*[^\\u0000-\\u001f\\u007f-\\u009f]*[{BLANKS}]*$"))
}

/// What a process can be started with: without NUL characters.
pub(super) fn startable() -> Shape {
    text().like(r"^[^\u0000]*$")
}

/// The like, of which something is left when blanks are trimmed.
pub(super) fn startable_filled() -> Shape {
    text().like(&format!("^[^\\u0000]*[^\\u0000{BLANKS}][^\\u0000]*$"))
}

/// A text of this form, with blanks around it if need be.
pub(super) fn trimmed(form: &str) -> Shape {
    text().like(&format!("^[{BLANKS}]*{form}[{BLANKS}]*$"))
}

/// One of the server-sent events of a stream.
pub(super) fn event() -> Shape {
    object([need("data", text()), may("event", text()), may("id", text())])
}

pub(super) fn list(of: Shape) -> Shape {
    Shape(RefOr::T(Schema::Array(Array::new(of.0))))
}

/// Any names, each with a value of this shape.
pub(super) fn map(of_each: Shape) -> Shape {
    let mut map = of(Type::Object);
    map.additional_properties = Some(Box::new(AdditionalProperties::RefOr(of_each.0)));
    map.into()
}

/// Variables of a process, by their names.
pub(super) fn variables(of_each: Shape) -> Shape {
    map(of_each).object(|map| {
        if let RefOr::T(names) = startable().0 {
            map.property_names = Some(Box::new(names));
        }
    })
}

/// An object with these members, and maybe others.
pub(super) fn object<const N: usize>(members: [Member; N]) -> Shape {
    let mut object = of(Type::Object);
    for Member { name, needed, shape } in members {
        if needed {
            object.required.push(name.to_owned());
        }
        object.properties.insert(name.to_owned(), shape.0);
    }
    object.into()
}

/// An object with these members and no others.
pub(super) fn closed<const N: usize>(members: [Member; N]) -> Shape {
    let mut shape = object(members);
    if let RefOr::T(Schema::Object(object)) = &mut shape.0 {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
    shape
}

/// The shape of that name, which [`super::shapes`] has.
pub(super) fn named(name: &str) -> Shape {
    Shape(RefOr::Ref(Ref::from_schema_name(name)))
}

/// One of the named shapes, told apart by the member `by`, which has one of the values.
pub(super) fn one_by(by: &str, all: &[(&str, &str)]) -> Shape {
    let mut one = OneOf::new();
    one.items = all.iter().map(|(_, name)| named(name).0).collect();
    let place = |(value, name): &(&str, &str)| {
        ((*value).to_owned(), format!("#/components/schemas/{name}"))
    };
    one.discriminator = Some(Discriminator::with_mapping(by, all.iter().map(place)));
    Shape(RefOr::T(Schema::OneOf(one)))
}

pub(super) fn any_of<const N: usize>(all: [Shape; N]) -> Shape {
    let mut any = AnyOf::new();
    any.items = all.into_iter().map(|shape| shape.0).collect();
    Shape(RefOr::T(Schema::AnyOf(any)))
}

impl From<Object> for Shape {
    fn from(object: Object) -> Self {
        Self(RefOr::T(Schema::Object(object)))
    }
}

impl Shape {
    pub(super) fn built(self) -> RefOr<Schema> {
        self.0
    }

    /// What it means.
    pub(super) fn says(mut self, text: &str) -> Self {
        let text = text.to_owned();
        match &mut self.0 {
            RefOr::Ref(to) => to.description = text,
            RefOr::T(Schema::Object(object)) => object.description = Some(text),
            RefOr::T(Schema::Array(array)) => array.description = Some(text),
            RefOr::T(Schema::OneOf(one)) => one.description = Some(text),
            RefOr::T(Schema::AnyOf(any)) => any.description = Some(text),
            RefOr::T(_) => {}
        }
        self
    }

    /// Null will do, too.
    fn or_null(mut self) -> Self {
        let both = |kind: &SchemaType| match kind {
            SchemaType::Type(kind) => SchemaType::from_iter([kind.clone(), Type::Null]),
            other => other.clone(),
        };
        match &mut self.0 {
            // Null is none of the words, and generated clients would make a type of it.
            RefOr::T(Schema::Object(object)) if object.enum_values.is_none() => {
                object.schema_type = both(&object.schema_type);
                self
            }
            RefOr::T(Schema::Array(array)) => {
                array.schema_type = both(&array.schema_type);
                self
            }
            RefOr::T(Schema::AnyOf(any)) => {
                any.items.push(Self::from(of(Type::Null)).0);
                self
            }
            _ => any_of([self, of(Type::Null).into()]),
        }
    }

    fn object(mut self, change: impl FnOnce(&mut Object)) -> Self {
        if let RefOr::T(Schema::Object(object)) = &mut self.0 {
            change(object);
        }
        self
    }

    fn array(mut self, change: impl FnOnce(&mut Array)) -> Self {
        if let RefOr::T(Schema::Array(array)) = &mut self.0 {
            change(array);
        }
        self
    }

    /// Not less than this.
    // Bounds are below 2^53; the machines have 64 bits.
    pub(super) fn at_least(self, least: u64) -> Self {
        self.object(|object| object.minimum = Some((least as usize).into()))
    }

    /// Not more than this.
    pub(super) fn at_most(self, most: u64) -> Self {
        self.object(|object| object.maximum = Some((most as usize).into()))
    }

    pub(super) fn longest(self, most: usize) -> Self {
        self.object(|object| object.max_length = Some(most))
    }

    pub(super) fn shortest(self, least: usize) -> Self {
        self.object(|object| object.min_length = Some(least))
    }

    /// Fits this regular expression.
    pub(super) fn like(self, pattern: &str) -> Self {
        self.object(|object| object.pattern = Some(pattern.to_owned()))
    }

    pub(super) fn such_as(self, example: impl Into<Value>) -> Self {
        let example = example.into();
        self.object(|object| object.examples.push(example))
    }

    /// What it is if nothing is said.
    pub(super) fn usually(self, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.object(|object| object.default = Some(value))
    }

    /// It has so many members at least.
    pub(super) fn not_empty(self) -> Self {
        self.object(|object| object.min_properties = Some(1)).array(|all| all.min_items = Some(1))
    }

    /// A list of at most so many.
    pub(super) fn up_to(self, most: usize) -> Self {
        self.array(|array| array.max_items = Some(most))
    }

    /// Bytes, not JSON.
    pub(super) fn binary(self) -> Self {
        self.object(|object| {
            object.format = Some(utoipa::openapi::SchemaFormat::Custom("binary".to_owned()));
        })
    }

    /// A word of JSON Schema that utoipa has no builder for.
    pub(super) fn rule(self, word: &str, value: Value) -> Self {
        self.object(|object| {
            let rules = object.extensions.get_or_insert_with(Extensions::default);
            rules.insert(word.to_owned(), value);
        })
    }
}
