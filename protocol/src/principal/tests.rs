//! Keys are read as they were written, and nothing else is one.

use proptest::prelude::*;

use super::*;

fn key() -> ApiKey {
    ApiKey::new(ApiKey::id_of([7; 10]).unwrap(), [9; 32])
}

fn principal() -> Principal {
    Principal {
        id: key().id.clone(),
        name: "ci".into(),
        scopes: vec![Scope::Submit, Scope::Read],
        secret_hash: key().hash(),
        quotas: Quotas::default(),
        created: Wall(1000),
        created_by: "node_a".into(),
        expires: Some(Wall(2000)),
        revoked: None,
    }
}

#[test]
fn a_key_is_read_as_it_was_shown_and_shows_nowhere_else() {
    let key = key();
    let text = key.expose();
    assert_eq!(ApiKey::parse(&text), Ok(key.clone()));
    assert!(text.starts_with("sk_a4dqobyha4dqobyh_"));
    let secret = text.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 58);
    assert!(!format!("{key:?}").contains(&secret[..8]));
    assert!(!format!("{:?}", principal()).contains(&secret[..8]));
}

#[test]
fn every_changed_character_is_noticed() {
    let text = key().expose().to_string();
    for at in 0..text.len() {
        for with in ["a", "b", "7", "_", "A", ""] {
            let other = [&text[..at], with, &text[at + 1..]].concat();
            if other != text {
                assert!(ApiKey::parse(&other).is_err(), "{other}");
            }
        }
    }
    for none in ["", "sk_", "sk__", "sk_a_", "token", "sk_A_b", "sk_a"] {
        assert!(ApiKey::parse(none).is_err(), "{none}");
    }
}

#[test]
fn a_principal_has_one_key_and_its_time() {
    let principal = principal();
    assert!(principal.check().is_ok());
    assert!(principal.has(&key()));
    assert!(!principal.has(&ApiKey::new(key().id.clone(), [8; 32])));
    assert!(!principal.has(&ApiKey::new(PrincipalId::new("other").unwrap(), [9; 32])));
    assert!(principal.is_valid(Wall(1999)) && !principal.is_valid(Wall(2000)));
    let revoked = Principal { revoked: Some(Wall(1)), ..principal.clone() };
    assert!(!revoked.is_valid(Wall(1500)));
    assert!(principal.may(Scope::Read) && !principal.may(Scope::Deploy));
    let admin = Principal { scopes: vec![Scope::Admin], ..principal };
    assert!(Scope::ALL.into_iter().all(|scope| admin.may(scope)));
}

#[test]
fn names_scopes_and_ids_have_bounds() {
    for name in ["", "a b", "a:b", "ä", &"x".repeat(65)] {
        assert!(Principal { name: name.into(), ..principal() }.check().is_err(), "{name}");
    }
    for scopes in [vec![], vec![Scope::Read, Scope::Submit], vec![Scope::Read, Scope::Read]] {
        assert!(Principal { scopes, ..principal() }.check().is_err());
    }
    assert!(Principal { id: PrincipalId::new("a_b").unwrap(), ..principal() }.check().is_err());
    for scope in Scope::ALL {
        assert_eq!(Scope::of(scope.as_str()), Some(scope));
    }
}

proptest! {
    #[test]
    fn no_text_is_more_than_an_error(text in "\\PC*") {
        let _ = ApiKey::parse(&text);
        let _ = ApiKey::parse(&format!("sk_a_{text}"));
    }
}
