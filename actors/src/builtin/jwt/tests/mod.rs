//! Tokens that are good, tokens that pretend to be, and issuers that come and go.

mod hostile;
mod keys;
mod signer;
mod sources;

use std::sync::Arc;

use serde_json::{Value, json};
use weir_plugin_protocol::identity::CredentialKind;
use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use self::signer::Signer;
use super::*;
use crate::builtin::outside::testing::{NOW, World};

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "https://gateway.example/mcp";
const URL: &str = "https://login.example/keys";

/// Claims of a token that is good.
fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600})
}

/// The same with one member changed, or removed by `null`.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Value::Null => {
            members.shift_remove(name);
        }
        value => {
            members.insert(name.to_owned(), value);
        }
    }
    claims
}

fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn config(issuer: Value) -> JwtConfig {
    let mut merged = json!({"issuer": ISSUER, "jwks": "keys.json"});
    let members = merged.as_object_mut().unwrap();
    members.extend(issuer.as_object().unwrap().clone());
    serde_json::from_value(json!({ "issuers": [merged] })).unwrap()
}

/// A gateway that knows the keys of `signers` from a file.
fn gateway(world: &World, signers: &[&Signer], issuer: Value) -> JwtAuth {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    world.file("keys.json", document(&keys));
    JwtAuth::load(&config(issuer), Some(AUDIENCE), &world.outside()).unwrap()
}

fn bearer(token: &str) -> Credentials {
    Credentials {
        kind: CredentialKind::Bearer,
        value: Secret::new(token),
    }
}

type Verdict = Result<Arc<UserPrincipal>, AuthError>;

/// The verdict, which must be there at once.
fn now(auth: &JwtAuth, token: &str) -> Verdict {
    match auth.validate_credential(Some(&bearer(token))) {
        Answer::Now(verdict) => verdict,
        Answer::Later(_) => panic!("has to wait"),
    }
}

/// The verdict, and whether it took a fetch.
async fn ask(auth: &JwtAuth, token: &str) -> (Verdict, bool) {
    match auth.validate_credential(Some(&bearer(token))) {
        Answer::Now(verdict) => (verdict, false),
        Answer::Later(verdict) => (verdict.await, true),
    }
}

fn flaw(auth: &JwtAuth, token: &str) -> String {
    match now(auth, token) {
        Err(AuthError::Invalid(flaw)) => flaw,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_of_each_algorithm_is_accepted() {
    let world = World::new();
    for algorithm in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ] {
        let signer = Signer::new(algorithm, "k");
        let auth = gateway(&world, &[&signer], json!({ "algorithms": [algorithm] }));
        assert_eq!(
            now(&auth, &signer.sign(&claims())).unwrap().user_id,
            "alice"
        );
    }
}

#[test]
fn the_claims_say_who_the_user_is() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = gateway(&world, &[&signer], json!({}));
    let mut token = claims();
    token["tenant_id"] = json!("acme");
    token["roles"] = json!(["reader", "writer"]);
    token["groups"] = json!("eu");
    token["aud"] = json!(["https://other", AUDIENCE]);
    token["exp"] = json!(NOW as f64 + 0.5);
    let principal = now(&auth, &signer.sign(&token)).unwrap();
    assert_eq!(principal.tenant_id.as_deref(), Some("acme"));
    assert_eq!(principal.roles, ["reader", "writer"]);
    assert_eq!(principal.groups, ["eu"]);
    assert_eq!(principal.metadata["issuer"], ISSUER);

    let auth = gateway(
        &world,
        &[&signer],
        json!({
            "claims": {"user": "email", "tenant": "/org/id", "roles": "/realm_access/roles", "groups": "https://x/groups"},
            "user_prefix": "corp:",
        }),
    );
    let mut token = claims();
    token["email"] = json!("a@x");
    token["org"] = json!({"id": "acme"});
    token["realm_access"] = json!({"roles": ["r"]});
    token["https://x/groups"] = json!(["g"]);
    let principal = now(&auth, &signer.sign(&token)).unwrap();
    assert_eq!(principal.user_id, "corp:a@x");
    assert_eq!(principal.tenant_id.as_deref(), Some("acme"));
    assert_eq!((&*principal.roles[0], &*principal.groups[0]), ("r", "g"));
    assert_eq!(
        flaw(&auth, &signer.sign(&claims())),
        "the claim of the user id is not a text"
    );

    let auth = gateway(&world, &[&signer], json!({"tenant": "fixed"}));
    let token = claims_with("tenant_id", json!("forged"));
    let principal = now(&auth, &signer.sign(&token)).unwrap();
    assert_eq!(principal.tenant_id.as_deref(), Some("fixed"));
}

#[test]
fn scopes_are_required_of_tokens_that_are_genuine() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = gateway(&world, &[&signer], json!({"required_scopes": ["a", "b"]}));
    for (name, scopes) in [
        ("scope", json!("b x a")),
        ("scp", json!(["a", "b"])),
        ("scp", json!("a b")),
    ] {
        assert!(now(&auth, &signer.sign(&claims_with(name, scopes))).is_ok());
    }
    for scopes in [json!("a"), json!("ab"), json!("A B"), json!(1), Value::Null] {
        assert_eq!(
            now(&auth, &signer.sign(&claims_with("scope", scopes))),
            Err(AuthError::InsufficientScope("a b".to_owned()))
        );
    }
    let forger = Signer::new("ES256", "k");
    assert!(matches!(
        now(&auth, &forger.sign(&claims())),
        Err(AuthError::Invalid(_))
    ));
}

#[test]
fn a_verdict_is_remembered_until_the_token_expires() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = gateway(&world, &[&signer], json!({"leeway_seconds": 10}));
    let token = signer.sign(&claims());
    let first = now(&auth, &token).unwrap();
    world.pass(609);
    assert!(Arc::ptr_eq(&first, &now(&auth, &token).unwrap()));
    world.pass(1);
    assert_eq!(flaw(&auth, &token), "the token has expired");
}

#[test]
fn only_bearer_tokens_are_looked_at() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = gateway(&world, &[&signer], json!({}));
    let credentials = Credentials {
        kind: CredentialKind::ApiKey,
        value: Secret::new(signer.sign(&claims())),
    };
    for (credentials, missing) in [(Some(&credentials), false), (None, true)] {
        let Answer::Now(Err(error)) = auth.validate_credential(credentials) else {
            panic!("accepted");
        };
        assert_eq!(error == AuthError::Missing, missing);
    }
}

#[test]
fn configurations_that_would_let_strangers_in_are_refused() {
    let world = World::new();
    let refused = |issuer: Value, audience: Option<&str>| {
        let loaded = JwtAuth::load(&config(issuer), audience, &world.outside());
        loaded.err().unwrap().key
    };
    for (issuer, key) in [
        (json!({"issuer": ""}), "issuer"),
        (json!({"jwks": "http://login.example/keys"}), "jwks"),
        (json!({"jwks": "http://localhost@evil.test/keys"}), "jwks"),
        (json!({"jwks": "ftp://login.example/keys"}), "jwks"),
        (json!({"jwks": ""}), "jwks"),
        (json!({"jwks": "missing.json"}), "jwks"),
        (json!({"algorithms": []}), "algorithms"),
        (json!({"leeway_seconds": 301}), "leeway_seconds"),
        (json!({"jwks_refresh_seconds": 1}), "jwks_refresh_seconds"),
        (json!({"required_scopes": ["a b"]}), "required_scopes"),
        (json!({"audience": [""]}), "audience"),
        (json!({"claims": {"user": ""}}), "claims.user"),
        (json!({"tenant": ""}), "tenant"),
    ] {
        assert_eq!(refused(issuer, Some(AUDIENCE)), format!("issuers[0].{key}"));
    }
    assert_eq!(refused(json!({}), None), "issuers[0].audience");
    for algorithm in ["none", "HS256", "ES512", "rs256"] {
        let issuer = json!({"issuers": [{"issuer": "i", "jwks": "k", "algorithms": [algorithm]}]});
        let error = serde_json::from_value::<JwtConfig>(issuer).unwrap_err();
        assert!(error.to_string().contains(algorithm), "{error}");
    }
}

#[test]
fn users_of_two_issuers_are_told_apart() {
    let (world, a, b) = (
        World::new(),
        Signer::new("ES256", "k"),
        Signer::new("EdDSA", "k"),
    );
    world.file("a.json", document(&[a.jwk()]));
    world.file("b.json", document(&[b.jwk()]));
    let two = |a: Value, b: Value| {
        let mut issuers = [
            json!({"issuer": "https://a", "jwks": "a.json"}),
            json!({"issuer": "https://b", "jwks": "file:b.json"}),
        ];
        for (issuer, more) in issuers.iter_mut().zip([a, b]) {
            issuer
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        }
        let config = serde_json::from_value(json!({ "issuers": issuers })).unwrap();
        JwtAuth::load(&config, Some(AUDIENCE), &world.outside())
    };
    let error = two(json!({"user_prefix": "a/"}), json!({})).err().unwrap();
    assert_eq!(error.key, "issuers[1].user_prefix");

    let auth = two(json!({"user_prefix": "a/"}), json!({"tenant": "b"})).unwrap();
    let token = |signer: &Signer, issuer| signer.sign(&claims_with("iss", json!(issuer)));
    assert_eq!(
        now(&auth, &token(&a, "https://a")).unwrap().user_id,
        "a/alice"
    );
    assert_eq!(
        now(&auth, &token(&b, "https://b"))
            .unwrap()
            .tenant_id
            .as_deref(),
        Some("b")
    );
    assert_eq!(
        flaw(&auth, &token(&b, "https://a")),
        "the issuer has no such key"
    );
    assert_eq!(
        flaw(&auth, &token(&a, "https://c")),
        "the issuer is not known"
    );
}
