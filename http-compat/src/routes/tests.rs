//! The table of routes.

use skyclaw_protocol::principal::Scope;

use super::{Area, Needs, ROUTES};

#[test]
fn every_route_says_who_may_use_it() {
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.template);
        match (Area::of(route.template), route.needs) {
            (Area::Open, Needs::Nothing) | (Area::Public, Needs::CustomerKey) => {}
            (Area::Private, Needs::Scope(scopes)) => assert!(!scopes.is_empty(), "{name}"),
            (_, needs) => panic!("{name} needs {needs:?}"),
        }
    }
}

#[test]
fn what_changes_the_network_is_for_administrators_alone() {
    for route in ROUTES.iter().filter(|route| route.method != "GET" && route.method != "HEAD") {
        let Needs::Scope(scopes) = route.needs else { continue };
        assert!(!scopes.contains(&Scope::Read), "{} {}", route.method, route.template);
    }
    let admin = |route: &&super::Route| route.needs == Needs::Scope(&[Scope::Admin]);
    let templates: Vec<&str> = ROUTES.iter().filter(admin).map(|route| route.template).collect();
    for template in ["/v1/principals", "/v1/backup", "/v1/import", "/v1/network/join"] {
        assert!(templates.contains(&template), "{template}");
    }
}
