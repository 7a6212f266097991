//! Keys that come in, end, are replaced, and should never have been configured.

use weir_plugin_protocol::identity::CredentialKind;

use super::*;
use crate::builtin::outside::testing::{NOW, World};

fn entry(id: &str, key: &str) -> ApiKeyEntry {
    ApiKeyEntry {
        id: id.to_owned(),
        hash: hash_key(key),
        user: "alice".to_owned(),
        tenant: Some("acme".to_owned()),
        roles: vec!["reader".to_owned()],
        groups: Vec::new(),
        expires: None,
    }
}

fn config(keys: Vec<ApiKeyEntry>) -> ApiKeysConfig {
    ApiKeysConfig { keys, file: None }
}

fn ask(keys: &ApiKeys, key: &str) -> Result<Arc<UserPrincipal>, AuthError> {
    let credentials = Credentials {
        kind: CredentialKind::ApiKey,
        value: Secret::new(key),
    };
    keys.judge(Some(&credentials))
}

fn refused(keys: Vec<ApiKeyEntry>) -> String {
    match ApiKeys::load(&config(keys), &World::new().outside()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_hash_is_sha256_in_hexadecimal() {
    assert_eq!(
        hash_key("abc"),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_generated_key_is_let_in_as_its_user() {
    let new = generate_key("laptop", "bob").unwrap();
    assert!(new.key.expose().len() > 40);
    assert!(!format!("{new:?}").contains(new.key.expose()));
    let keys = ApiKeys::load(&config(vec![new.entry.clone()]), &World::new().outside()).unwrap();
    assert_eq!(ask(&keys, new.key.expose()).unwrap().user_id, "bob");
    assert_ne!(
        generate_key("laptop", "bob").unwrap().entry.hash,
        new.entry.hash
    );
}

#[test]
fn unknown_missing_and_endless_keys_are_refused() {
    let keys = ApiKeys::load(&config(vec![entry("a", "k1")]), &World::new().outside()).unwrap();
    let alice = ask(&keys, "k1").unwrap();
    assert_eq!(alice.tenant_id.as_deref(), Some("acme"));
    assert_eq!(alice.roles, ["reader"]);
    assert!(matches!(keys.judge(None), Err(AuthError::Missing)));
    for key in [
        "",
        "k",
        "k1 ",
        "K1",
        &"k".repeat(16 * 1024),
        &hash_key("k1"),
    ] {
        assert!(matches!(ask(&keys, key), Err(AuthError::Invalid(_))));
    }
}

#[test]
fn keys_end_at_their_expiry() {
    let world = World::new();
    let mut ending = entry("a", "k1");
    ending.expires = Some(rfc3339::format(NOW + 10, 0));
    let keys = ApiKeys::load(&config(vec![ending]), &world.outside()).unwrap();
    world.pass(9);
    assert!(ask(&keys, "k1").is_ok());
    world.pass(1);
    assert!(matches!(ask(&keys, "k1"), Err(AuthError::Invalid(_))));
}

#[test]
fn placeholders_and_mistakes_are_refused_at_load() {
    for key in ["", "changeme", "secret", "password", "secret-api-key"] {
        assert!(refused(vec![entry("a", key)]).starts_with("keys[0].hash: "));
    }
    let mut plain = entry("a", "k1");
    plain.hash = "my-plain-key".to_owned();
    let text = refused(vec![plain]);
    assert!(text.starts_with("keys[0].hash: ") && !text.contains("my-plain-key"));
    let mut zero = entry("a", "k1");
    zero.hash = format!("sha256:{}", "0".repeat(64));
    assert!(refused(vec![zero]).starts_with("keys[0].hash: "));
    let mut nobody = entry("a", "k1");
    nobody.user = String::new();
    assert!(refused(vec![nobody]).starts_with("keys[0].user: "));
    let mut undated = entry("a", "k1");
    undated.expires = Some("tomorrow".to_owned());
    assert!(refused(vec![undated]).starts_with("keys[0].expires: "));
    assert!(refused(vec![entry("a", "k1"), entry("a", "k2")]).starts_with("keys[1].id: "));
    assert!(refused(vec![entry("a", "k1"), entry("b", "k1")]).starts_with("keys[1].hash: "));
    assert!(refused(Vec::new()).starts_with("keys: "));
}

#[test]
fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
    let world = World::new();
    let file = |entries: &[ApiKeyEntry]| serde_json::to_vec(entries).unwrap();
    world.file("keys.json", file(&[entry("a", "k1")]));
    let config = ApiKeysConfig {
        keys: vec![entry("inline", "k0")],
        file: Some("keys.json".into()),
    };
    let keys = ApiKeys::load(&config, &world.outside()).unwrap();
    assert!(ask(&keys, "k0").is_ok() && ask(&keys, "k1").is_ok());

    world.file("keys.json", file(&[entry("b", "k2")]));
    keys.reload().unwrap();
    assert!(ask(&keys, "k1").is_err() && ask(&keys, "k2").is_ok());

    world.file(
        "keys.json",
        r#"[{"id":"c","hash":"k3","user":"x","extra":1}]"#,
    );
    assert!(keys.reload().is_err());
    assert!(ask(&keys, "k0").is_ok() && ask(&keys, "k2").is_ok());
}
