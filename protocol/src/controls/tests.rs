//! Which record stands does not depend on who heard what when.

use proptest::prelude::*;

use super::*;
use crate::clock::Hlc;
use crate::id::NetworkId;
use crate::key::NodeKey;
use crate::limits::CONTROL_KEEP_MS;
use crate::principal::{Quotas, Scope};
use crate::record::Reject;

fn network() -> NetworkId {
    NetworkId::of_name("test")
}

fn principal(id: &str) -> Principal {
    let key = ApiKey::new(PrincipalId::new(id).unwrap(), [3; 32]);
    Principal {
        id: key.id.clone(),
        name: format!("name-{id}"),
        scopes: vec![Scope::Submit],
        secret_hash: key.hash(),
        quotas: Quotas { queued: Some(3), ..Quotas::default() },
        created: Wall(1),
        created_by: "node".into(),
        expires: None,
        revoked: None,
    }
}

fn signed(signer: u8, ms: u64, principal: Principal) -> Signed<Control> {
    let control = Content::Principal(Box::new(principal)).at(Hlc { ms, count: 0 });
    Signed::seal(&NodeKey::from_seed(&[signer; 32]), network(), control)
}

fn revoked(id: &str) -> Principal {
    Principal { revoked: Some(Wall(9)), ..principal(id) }
}

fn held(records: impl IntoIterator<Item = Signed<Control>>) -> Controls {
    let mut controls = Controls::default();
    for record in records {
        controls.take(record);
    }
    controls
}

#[test]
fn a_revoked_key_stays_revoked_whatever_comes_later() {
    let newer = Principal { scopes: vec![Scope::Admin], ..principal("a") };
    let controls =
        held([signed(1, 5, principal("a")), signed(2, 6, revoked("a")), signed(1, 9, newer)]);
    let key = ApiKey::new(PrincipalId::new("a").unwrap(), [3; 32]);
    assert!(controls.principal("a").unwrap().revoked.is_some());
    assert!(controls.admit(&key, Wall(10)).is_none());
    assert!(controls.named("name-a").is_none(), "its name is free");
    let controls = held([signed(1, 5, principal("a"))]);
    assert_eq!(controls.admit(&key, Wall(10)).unwrap().name, "name-a");
    let wrong = ApiKey::new(key.id.clone(), [4; 32]);
    assert!(controls.admit(&wrong, Wall(10)).is_none());
}

#[test]
fn an_inventory_is_of_what_stands() {
    let mut controls = held([signed(1, 5, principal("a")), signed(1, 7, principal("b"))]);
    let items = controls.items(Range::ALL, 9).unwrap();
    assert_eq!(controls.sum(Range::ALL).unwrap(), Sum::of(&items));
    assert_eq!(controls.items(Range::ALL, 1).unwrap(), items[..1]);
    let upside_down = Range { from: items[1], to: items[0] };
    assert_eq!(controls.sum(upside_down).unwrap(), Sum::EMPTY);
    assert_eq!(controls.held(&items[0]).unwrap().body().id, "a");
    controls.take(signed(1, 8, revoked("a")));
    assert!(controls.held(&items[0]).is_none());
    let items = controls.items(Range::ALL, 9).unwrap();
    assert_eq!(controls.sum(Range::ALL).unwrap(), Sum::of(&items));
    controls.forget(&ControlKey { kind: "principal".into(), id: "a".into() });
    assert_eq!(controls.len(), 1);
    assert!(controls.principal("a").is_none());
    assert_eq!(controls.sum(Range::ALL).unwrap(), Sum::of(&items[..1]));
}

/// A later version makes these; what is not known here is handed on all the same.
#[test]
fn kinds_and_forms_of_later_versions_are_held_and_mean_nothing() {
    let known = Content::Principal(Box::new(principal("a"))).at(Hlc { ms: 5, count: 0 });
    let key = NodeKey::from_seed(&[1; 32]);
    let seal = |control: Control| Signed::seal(&key, network(), control);
    let kind = seal(Control { kind: "later".into(), ..known.clone() });
    let form = seal(Control { body: vec![0xa1, 0x61, 0x78, 0x01], ..known.clone() });
    for record in [kind, form] {
        let read = record.raw().clone().verify::<Control>(network(), Wall(10)).unwrap();
        let controls = held([read]);
        assert_eq!(controls.len(), 1);
        assert_eq!(controls.items(Range::ALL, 9).unwrap().len(), 1);
        assert_eq!(controls.principals().count(), 0);
    }
    for wrong in [
        Control { id: "b".into(), ..known.clone() },
        Control { last: true, ..known.clone() },
        Control { until: Some(Wall(7)), ..known.clone() },
        Control { kind: "x".repeat(33), ..known.clone() },
        Control { id: "x".repeat(300), kind: "later".into(), ..known },
    ] {
        let raw = seal(wrong).raw().clone();
        assert!(matches!(raw.verify::<Control>(network(), Wall(10)), Err(Reject::Invalid(_))));
    }
}

#[test]
fn no_kind_takes_the_room_of_another_and_what_stands_can_be_revoked() {
    let key = NodeKey::from_seed(&[1; 32]);
    let mut controls = Controls::default();
    let other = |n: usize| Control {
        kind: format!("later{}", n % 3),
        id: n.to_string(),
        at: Hlc { ms: 5, count: 0 },
        last: false,
        until: None,
        body: Vec::new(),
    };
    // One signature for all: only the bound is of interest.
    let sealed = |control| Signed::seal(&key, network(), control);
    for n in 0..MAX_CONTROLS {
        assert_eq!(controls.take(sealed(other(n))), Taken::New);
    }
    assert_eq!(controls.take(sealed(other(MAX_CONTROLS))), Taken::Full);
    assert_eq!(controls.take(signed(1, 5, principal("a"))), Taken::New);
    assert_eq!(controls.take(signed(1, 6, revoked("a"))), Taken::New);
}

#[test]
fn what_expired_a_day_ago_is_over() {
    let expiring = Principal { expires: Some(Wall(1000)), ..principal("a") };
    let controls = held([signed(1, 5, expiring), signed(1, 5, principal("b"))]);
    assert_eq!(controls.over(Wall(1000)).count(), 0);
    let over: Vec<_> = controls.over(Wall(1000 + CONTROL_KEEP_MS)).collect();
    assert_eq!(over, [&ControlKey { kind: "principal".into(), id: "a".into() }]);
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        records in proptest::collection::vec((1u8..4, 1u64..4, 0usize..2, any::<bool>()), 1..12),
        shift in 0usize..12,
    ) {
        let all: Vec<_> = records
            .iter()
            .map(|(signer, ms, id, over)| {
                let id = ["a", "b"][*id];
                signed(*signer, *ms, if *over { revoked(id) } else { principal(id) })
            })
            .collect();
        let mut other = all.clone();
        other.rotate_left(shift % all.len());
        other.extend(all.iter().rev().cloned());
        let (one, two) = (held(all), held(other));
        prop_assert_eq!(one.sum(Range::ALL).unwrap(), two.sum(Range::ALL).unwrap());
        let names = |controls: &Controls| {
            controls.principals().map(|p| (p.id.clone(), p.revoked)).collect::<Vec<_>>()
        };
        prop_assert_eq!(names(&one), names(&two));
    }
}
