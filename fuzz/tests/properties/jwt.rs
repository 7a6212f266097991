use proptest::prelude::*;
use serde_json::{Value, json};
use weir_fuzz::jwt::{Forged, NOW, Signed, good_claims, good_header, holds, token_holds};

use super::json::{any_text, any_value, cases};

/// A good object with some members changed, or gone.
fn changed(good: Value, keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        3 => any_value(),
        1 => prop::sample::select(vec![
            json!(NOW), json!(NOW + 61), json!(NOW - 61), json!(NOW as f64 + 0.5), json!(NOW.to_string()), json!(1e300), json!(-1),
            json!("https://login.example"), json!("https://gateway.example/mcp"), json!(["https://gateway.example/mcp"]),
            json!([["https://gateway.example/mcp"]]), json!("none"), json!("HS256"), json!("ES256"), json!("es256"), json!(""), json!(["k"]),
        ]),
    ];
    let change = (prop::sample::select(keys), prop::option::of(value));
    prop::collection::vec(change, 0..3).prop_map(move |changes| {
        let mut object = good.clone();
        for (key, value) in changes {
            let members = object.as_object_mut().unwrap();
            match value {
                Some(value) => members.insert(key.to_owned(), value),
                None => members.shift_remove(key),
            };
        }
        object
    })
}

fn forged() -> impl Strategy<Value = Forged> {
    let header = changed(
        good_header(),
        &[
            "alg", "typ", "kid", "crit", "b64", "jwk", "zip", "enc", "ALG",
        ],
    );
    let claims = changed(
        good_claims(),
        &[
            "iss", "aud", "sub", "exp", "nbf", "iat", "roles", "Exp", "x",
        ],
    );
    let signed = prop_oneof![
        5 => Just(Signed::ByIssuer),
        1 => Just(Signed::ByStranger),
        1 => Just(Signed::Not),
        1 => Just(Signed::ByChance),
    ];
    let damage =
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(any::<(u16, u8)>(), 0..3)];
    let repeated = prop::option::weighted(0.1, Just(r#""exp":99999999999,"#));
    (header, claims, signed, damage, repeated).prop_map(
        |(header, claims, signed, damage, repeated)| {
            let mut claims = claims.to_string();
            claims.insert_str(1, repeated.filter(|_| claims.len() > 2).unwrap_or_default());
            Forged {
                header: header.to_string(),
                claims,
                signed,
                damage,
            }
        },
    )
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn no_token_is_good_that_we_did_not_sign(forged in forged()) {
        holds(&forged);
    }

    #[test]
    fn no_text_is_a_token(parts in prop::collection::vec(any_text(), 0..5)) {
        token_holds(&parts.join("."));
    }
}

#[test]
fn good_tokens_are_good() {
    holds(&Forged {
        header: good_header().to_string(),
        claims: good_claims().to_string(),
        signed: Signed::ByIssuer,
        damage: Vec::new(),
    });
}
