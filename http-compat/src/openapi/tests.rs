//! The description against the table of routes, and against itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PUBLIC, WHOLE, needs, operation, ops, shapes};
use crate::routes::{ANY, Needs, ROUTES};

fn whole() -> Value {
    serde_json::from_slice(&WHOLE).unwrap()
}

fn described<'a>(document: &'a Value, (method, template): (&str, &str)) -> &'a Value {
    let path = template.replace(":id", "{id}");
    &document["paths"][path.as_str()][method.to_lowercase().as_str()]
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.template)).collect();
    let all = ops();
    let told: BTreeSet<_> = all.iter().map(|op| op.route).collect();
    assert_eq!(told.len(), all.len(), "a route is described twice");
    let missing: Vec<_> = routes.difference(&told).collect();
    assert!(missing.is_empty(), "not described, see the module doc of openapi.rs: {missing:?}");
    let strange: Vec<_> = told.difference(&routes).collect();
    assert!(strange.is_empty(), "described, and no route: {strange:?}");
    let document = whole();
    for route in routes {
        assert!(described(&document, route).is_object(), "{route:?} is not in the document");
    }
}

#[test]
fn each_route_says_who_may_use_it_and_how_it_refuses_others() {
    let document = whole();
    for route in ROUTES {
        let told = described(&document, (route.method, route.template));
        let name = format!("{} {}", route.method, route.template);
        let ways: BTreeSet<String> = told["security"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|way| way.as_object().unwrap().keys().cloned())
            .collect();
        let want: &[&str] = match route.needs {
            Needs::Nothing => &[],
            Needs::CustomerKey => &[operation::API_KEY, operation::API_BEARER],
            Needs::Scope(_) => &[operation::TOKEN, operation::BEARER],
        };
        assert_eq!(ways, want.iter().map(|way| (*way).to_owned()).collect(), "{name}");
        let has = |status: &str| told["responses"][status].is_object();
        assert!(has("400") && has("500"), "{name}");
        assert!(has("401") || want.is_empty(), "{name}");
        if let Needs::Scope(scopes) = route.needs
            && route.needs != ANY
        {
            assert!(has("403"), "{name}");
            let words = told["description"].as_str().unwrap();
            for scope in scopes {
                assert!(words.contains(scope.as_str()), "{name} does not name {scope:?}");
            }
        }
        if route.template.contains(":id") {
            assert_eq!(told["parameters"][0]["name"], "id", "{name}");
            assert_eq!(told["parameters"][0]["in"], "path", "{name}");
        }
    }
}

#[test]
fn each_refusal_has_the_shape_of_one() {
    for op in ops() {
        let needs = needs(op.route).unwrap();
        let (route, value) = (op.route, serde_json::to_value(op.build(needs)).unwrap());
        for (status, response) in value["responses"].as_object().unwrap() {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{route:?} {status}");
            if status.starts_with('4') || status == "500" {
                let shape = &response["content"]["application/json"]["schema"]["$ref"];
                let want = if route.0 == "HEAD" {
                    Value::Null
                } else {
                    "#/components/schemas/Error".into()
                };
                assert_eq!(*shape, want, "{route:?} {status}");
            }
        }
    }
}

#[test]
fn every_name_is_taken_once_and_each_shape_is_used_and_there() {
    let document = whole();
    let ops: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|op| op["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ops.iter().collect::<BTreeSet<_>>().len(), ops.len());
    let there: BTreeSet<&str> =
        document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(there, shapes().into_keys().collect(), "a shape is not used, or is not there");
    let mut named = BTreeSet::new();
    super::names(&document, &mut named);
    assert_eq!(named.iter().map(String::as_str).collect::<BTreeSet<_>>(), there);
}

#[test]
fn customers_are_told_of_their_part_alone() {
    let document: Value = serde_json::from_slice(&PUBLIC).unwrap();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert!(
        !paths.is_empty() && paths.iter().all(|path| path.starts_with("/v1/public/")),
        "{paths:?}"
    );
    let text = String::from_utf8(PUBLIC.clone()).unwrap();
    assert!(!text.contains("x-skyclaw-token") && !text.contains("principal"), "{text}");
    let ours = ROUTES.iter().filter(|route| route.template.starts_with("/v1/public/")).count();
    let told =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(told.sum::<usize>(), ours);
}

/// As clients resolve it (OpenAPI 3.1, 4.5): against the address of the description.
#[test]
fn the_api_is_found_from_where_its_description_lies_also_behind_a_prefix() {
    for (text, place) in [(&WHOLE, "openapi.json"), (&PUBLIC, "openapi/public.json")] {
        let document: Value = serde_json::from_slice(text).unwrap();
        let [server] = document["servers"].as_array().unwrap().as_slice() else {
            panic!("{}", document["servers"])
        };
        for base in ["http://127.0.0.1:8787/", "https://example.org/skyclaw/", "https://a/b/c/"] {
            let at = url::Url::parse(base).unwrap().join(place).unwrap();
            let found = at.join(server["url"].as_str().unwrap()).unwrap();
            assert_eq!(found.as_str(), base, "{place}");
            let path = document["paths"].as_object().unwrap().keys().next().unwrap();
            let whole = format!("{}{path}", found.as_str().trim_end_matches('/'));
            assert_eq!(whole, format!("{}{}", base.trim_end_matches('/'), path));
        }
    }
}
