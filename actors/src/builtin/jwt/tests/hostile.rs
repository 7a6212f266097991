//! Tokens that pretend.

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::signer::{encode, token};
use super::*;

/// A gateway that knows one RSA and one EC key, and their owners.
fn rsa_and_ec() -> (JwtAuth, Signer, Signer) {
    let (rsa, ec) = (Signer::new("RS256", "r"), Signer::new("ES256", "e"));
    let auth = gateway(&World::new(), &[&rsa, &ec], json!({}));
    (auth, rsa, ec)
}

#[test]
fn unsigned_and_symmetric_tokens_are_refused() {
    let (auth, rsa, _) = rsa_and_ec();
    for algorithm in [
        "none", "None", "nOnE", "HS256", "HS384", "HS512", "", "ES512", "rs256", "RS256 ",
    ] {
        let header = json!({"alg": algorithm, "kid": "r"});
        let claims = claims();
        let message = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        // The public key, in every form in which it might be taken for a secret.
        for secret in [
            rsa.public_key(),
            rsa.jwk().to_string().into_bytes(),
            Vec::new(),
        ] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = hmac::sign(&key, message.as_bytes());
            assert_eq!(
                flaw(&auth, &token(&header, &claims, tag.as_ref())),
                "the token's algorithm is not accepted"
            );
        }
        assert!(now(&auth, &format!("{message}.")).is_err());
    }
    for (header, expected) in [
        (json!({"kid": "r"}), "the token names no algorithm"),
        (json!({"alg": null}), "the token's algorithm is not a text"),
        (
            json!({"alg": ["RS256"]}),
            "the token's algorithm is not a text",
        ),
        (json!({"Alg": "RS256"}), "the token names no algorithm"),
    ] {
        assert_eq!(flaw(&auth, &rsa.sign_with(&header, &claims())), expected);
    }
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    let (auth, rsa, _) = rsa_and_ec();
    let header = |name: &str, value: Value| {
        let mut header = json!({"alg": "RS256", "kid": "r"});
        header[name] = value;
        header
    };
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!(1)),
        ("kid", json!(1)),
        ("kid", json!(null)),
    ] {
        let text = flaw(&auth, &rsa.sign_with(&header(name, value), &claims()));
        assert!(!text.contains("signature"), "{name}: {text}");
    }
    // Keys in the header are never used, nor fetched: the signature of a stranger stays one.
    let stranger = Signer::new("RS256", "r");
    for (name, value) in [
        ("jwk", stranger.jwk()),
        ("jku", json!("https://evil.test/keys")),
        ("x5u", json!("https://evil.test/cert")),
        ("x5c", json!(["AAAA"])),
    ] {
        assert_eq!(
            flaw(&auth, &stranger.sign_with(&header(name, value), &claims())),
            "the signature is not the issuer's"
        );
    }
    assert!(
        now(
            &auth,
            &rsa.sign_with(&header("typ", json!("application/AT+JWT")), &claims())
        )
        .is_ok()
    );
}

#[test]
fn the_same_key_twice_is_refused_everywhere() {
    let (auth, rsa, _) = rsa_and_ec();
    let good = claims().to_string();
    for header in [
        r#"{"alg":"RS256","kid":"r","kid":"r"}"#,
        r#"{"alg":"none","alg":"RS256","kid":"r"}"#,
        r#"{"alg":"RS256","kid":"r","\u0061lg":"RS256"}"#,
        r#"["RS256"]"#,
        "",
    ] {
        assert!(flaw(&auth, &rsa.sign_text(header, &good)).contains("JSON object"));
    }
    let header = r#"{"alg":"RS256","kid":"r"}"#;
    let twice = good.replacen('{', r#"{"sub":"mallory","#, 1);
    assert!(flaw(&auth, &rsa.sign_text(header, &twice)).contains("JSON object"));
    assert!(now(&auth, &rsa.sign_text(header, &good)).is_ok());
}

#[test]
fn claims_of_the_wrong_type_value_or_time_are_refused() {
    let (auth, rsa, _) = rsa_and_ec();
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!((NOW + 600).to_string())),
        ("exp", json!(NOW - 60)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!([NOW + 600])),
        ("exp", json!(true)),
        ("nbf", json!("9999999999")),
        ("nbf", json!(NOW.to_string())),
        ("nbf", json!(NOW + 61)),
        ("nbf", json!({})),
        ("iat", json!("yesterday")),
        ("iss", Value::Null),
        ("iss", json!([ISSUER])),
        ("iss", json!("https://login.example/")),
        ("iss", json!("https://evil.test")),
        ("aud", Value::Null),
        ("aud", json!([])),
        ("aud", json!({})),
        ("aud", json!([AUDIENCE, 1])),
        ("aud", json!("https://other.example/mcp")),
        ("aud", json!("https://gateway.example/mcp/")),
        ("aud", json!("https://gateway.example")),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(1)),
        ("sub", json!("alice\n")),
        ("sub", json!("a".repeat(600))),
        ("tenant_id", json!(1)),
        ("roles", json!([1])),
        ("roles", json!({"admin": true})),
    ] {
        let token = rsa.sign(&claims_with(name, value.clone()));
        assert!(
            matches!(now(&auth, &token), Err(AuthError::Invalid(_))),
            "{name} {value}"
        );
    }
    for (name, value) in [
        ("exp", json!(NOW - 59)),
        ("nbf", json!(NOW + 60)),
        ("iat", json!(NOW + 10_000)),
    ] {
        assert!(now(&auth, &rsa.sign(&claims_with(name, value))).is_ok());
    }
}

#[test]
fn a_key_serves_its_own_algorithm_only() {
    let (world, rsa) = (World::new(), Signer::new("RS256", "r"));
    let auth = gateway(&world, &[&rsa], json!({}));
    for algorithm in ["PS256", "ES256", "EdDSA"] {
        let header = json!({"alg": algorithm, "kid": "r"});
        assert_eq!(
            flaw(&auth, &rsa.sign_with(&header, &claims())),
            "the issuer has no such key"
        );
    }
    let header = json!({"alg": "RS512", "kid": "r"});
    assert_eq!(
        flaw(&auth, &rsa.sign_with(&header, &claims())),
        "the token's algorithm is not accepted from its issuer"
    );
    // The algorithm in the header is not what was signed with.
    let mut bare = rsa.bare_jwk();
    bare["kid"] = json!("r");
    world.file("keys.json", document(&[bare]));
    let auth = JwtAuth::load(&config(json!({})), Some(AUDIENCE), &world.outside()).unwrap();
    let header = json!({"alg": "PS256", "kid": "r"});
    assert_eq!(
        flaw(&auth, &rsa.sign_with(&header, &claims())),
        "the signature is not the issuer's"
    );
    assert!(now(&auth, &rsa.sign(&claims())).is_ok());
}

#[test]
fn what_is_not_a_token_is_refused() {
    let (auth, rsa, ec) = rsa_and_ec();
    let good = rsa.sign(&claims());
    let encrypted = format!(
        "{}.AAAA.AAAA.AAAA.AAAA",
        encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)
    );
    assert_eq!(flaw(&auth, &encrypted), "encrypted tokens are not accepted");
    let junk = "x".repeat(16 * 1024);
    let long = "x".repeat(16 * 1024 + 1);
    assert_eq!(flaw(&auth, &long), "the token is longer than 16 KiB");
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d",
        &junk,
        &junk.replace("xxxx", "xxx."),
        &format!("{good}."),
        &format!(".{good}"),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{good}A"),
        &good[..good.len() - 1],
        &good.replace('.', "+"),
        "é.é.é",
    ] {
        assert!(
            matches!(now(&auth, text), Err(AuthError::Invalid(_))),
            "{text}"
        );
    }
    // Parts of two good tokens.
    let (parts, others): (Vec<_>, Vec<_>) = (
        good.split('.').map(str::to_owned).collect(),
        ec.sign(&claims()).split('.').map(str::to_owned).collect(),
    );
    assert!(now(&auth, &format!("{}.{}.{}", parts[0], parts[1], others[2])).is_err());
    assert!(now(&auth, &format!("{}.{}.{}", others[0], parts[1], parts[2])).is_err());
    assert!(now(&auth, &good).is_ok());
}

#[test]
fn no_flipped_bit_is_accepted() {
    let (auth, _, ec) = rsa_and_ec();
    let good = ec.sign(&claims());
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(now(&auth, &text).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn refusals_are_remembered_for_a_moment_and_never_forever() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = gateway(&world, &[&signer], json!({}));
    let token = signer.sign(&claims_with("nbf", json!(NOW + 62)));
    assert_eq!(flaw(&auth, &token), "the token is not valid yet");
    world.pass(4);
    assert_eq!(flaw(&auth, &token), "the token is not valid yet");
    world.pass(1);
    assert!(now(&auth, &token).is_ok());
}

#[test]
fn arbitrary_texts_are_refused() {
    let auth = gateway(&World::new(), &[&Signer::new("ES256", "k")], json!({}));
    proptest!(|(text in "[A-Za-z0-9_.-]{0,200}", other: String)| {
        prop_assert!(now(&auth, &text).is_err());
        prop_assert!(now(&auth, &other).is_err());
    });
}
