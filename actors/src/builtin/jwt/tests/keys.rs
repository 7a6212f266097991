//! Documents of keys: what is used, what is left out, what is refused whole.

use super::super::algorithm::Algorithm;
use super::super::key_set::KeySet;
use super::*;

fn changed(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn error(document: &str) -> String {
    KeySet::parse(document.as_bytes()).err().unwrap()
}

#[test]
fn keys_that_cannot_check_signatures_are_left_out() {
    let signer = Signer::new("RS256", "k");
    let jwk = signer.jwk();
    let small = signer::encode([0x80; 128]);
    for useless in [
        changed(jwk.clone(), "use", json!("enc")),
        changed(jwk.clone(), "use", json!(1)),
        changed(jwk.clone(), "key_ops", json!(["encrypt"])),
        changed(jwk.clone(), "key_ops", json!("verify")),
        changed(jwk.clone(), "kty", json!("oct")),
        changed(jwk.clone(), "kty", json!("EC")),
        changed(jwk.clone(), "n", json!(small)),
        changed(jwk.clone(), "n", json!("")),
        changed(jwk.clone(), "e", json!("AQ")),
        changed(jwk.clone(), "e", json!("Ag")),
        changed(jwk.clone(), "alg", json!(1)),
        json!({"kty": "oct", "k": "AAAA", "kid": "k"}),
        json!({"kty": "OKP", "crv": "X25519", "x": signer::encode([1; 32]), "kid": "k"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": signer::encode([1; 31]), "kid": "k"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "kid": "k"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ", "kid": "k"}),
    ] {
        let text = document(&[useless]);
        assert_eq!(
            error(&text),
            "no key that could check a signature",
            "{text}"
        );
    }
    let both = document(&[jwk.clone(), json!({"kty": "new", "kid": "x"})]);
    let set = KeySet::parse(both.as_bytes()).unwrap();
    assert!(set.find(Some("k"), Algorithm::RS256).is_some());
    assert!(set.find(Some("x"), Algorithm::RS256).is_none());
    assert!(set.find(Some("K"), Algorithm::RS256).is_none());
}

#[test]
fn documents_that_could_mean_two_things_are_refused_whole() {
    let (a, b) = (Signer::new("RS256", "k"), Signer::new("RS256", "k"));
    assert_eq!(
        error(&document(&[a.jwk(), b.jwk()])),
        "two keys with the id \"k\""
    );
    assert_eq!(
        error(&document(&[changed(a.jwk(), "kid", json!(1))])),
        "a key id is not a text"
    );
    assert_eq!(
        error(r#"{"keys":[1]}"#),
        "an entry of `keys` is not an object"
    );
    assert_eq!(error(r#"{"keys":{}}"#), "no list `keys`");
    assert!(error(r#"{"keys":[],"keys":[]}"#).contains("the same key twice"));
    assert!(error("<html>").contains("not a JSON object"));

    // Of different types they are alternatives, which the algorithm tells apart.
    let ec = Signer::new("ES256", "k");
    let set = KeySet::parse(document(&[a.jwk(), ec.jwk()]).as_bytes()).unwrap();
    assert!(set.find(Some("k"), Algorithm::RS256).is_some());
    assert!(set.find(Some("k"), Algorithm::ES256).is_some());
    assert!(set.find(Some("k"), Algorithm::EdDSA).is_none());
}

#[test]
fn a_token_without_key_id_needs_a_single_possible_key() {
    let (world, a, b) = (
        World::new(),
        Signer::new("ES256", "a"),
        Signer::new("ES256", "b"),
    );
    let header = json!({"alg": "ES256"});
    let auth = gateway(&world, &[&a], json!({}));
    assert!(now(&auth, &a.sign_with(&header, &claims())).is_ok());
    let auth = gateway(&world, &[&a, &b], json!({}));
    assert_eq!(
        flaw(&auth, &a.sign_with(&header, &claims())),
        "the issuer has no such key"
    );
    assert!(now(&auth, &a.sign(&claims())).is_ok());
}

#[test]
fn both_names_of_ed25519_are_understood() {
    let signer = Signer::new("EdDSA", "k");
    for name in ["EdDSA", "Ed25519"] {
        let jwk = changed(signer.jwk(), "alg", json!(name));
        let set = KeySet::parse(document(&[jwk]).as_bytes()).unwrap();
        assert!(set.find(Some("k"), Algorithm::EdDSA).is_some());
    }
}
