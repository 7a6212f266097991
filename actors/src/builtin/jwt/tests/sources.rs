//! Issuers whose keys are behind a URL, rotate, and cannot always be reached.

use super::*;

fn remote(world: &World) -> JwtAuth {
    let config = config(json!({"jwks": URL, "jwks_refresh_seconds": 600}));
    JwtAuth::load(&config, Some(AUDIENCE), &world.outside()).unwrap()
}

fn serve(world: &World, signers: &[&Signer]) {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    world.page(URL, Ok(document(&keys)));
}

fn long_lived() -> Value {
    claims_with("exp", json!(NOW + 1_000_000))
}

/// Lets fetches that were begun in the background end.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_token_waits_for_the_keys_and_the_next_does_not() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    serve(&world, &[&signer]);
    let auth = remote(&world);
    assert!(!auth.is_ready());
    let (verdict, waited) = ask(&auth, &signer.sign(&claims())).await;
    assert_eq!((verdict.unwrap().user_id.as_str(), waited), ("alice", true));
    assert!(auth.is_ready());
    let other = signer.sign(&claims_with("sub", json!("bob")));
    let (verdict, waited) = ask(&auth, &other).await;
    assert_eq!((verdict.unwrap().user_id.as_str(), waited), ("bob", false));
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_that_wait_share_one_fetch() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    serve(&world, &[&signer]);
    let auth = remote(&world);
    let token = |index: usize| signer.sign(&claims_with("sub", json!(index.to_string())));
    let waiting: Vec<_> = (0..50)
        .map(
            |index| match auth.validate_credential(Some(&bearer(&token(index)))) {
                Answer::Later(verdict) => verdict,
                Answer::Now(_) => panic!("no keys yet"),
            },
        )
        .collect();
    for verdict in futures_util::future::join_all(waiting).await {
        assert!(verdict.is_ok());
    }
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_the_one_who_asked_goes_away() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    serve(&world, &[&signer]);
    let auth = remote(&world);
    let token = signer.sign(&claims());
    drop(auth.validate_credential(Some(&bearer(&token))));
    settle().await;
    assert!(now(&auth, &token).is_ok());
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_for_at_most_once_a_minute() {
    let (world, old, new) = (
        World::new(),
        Signer::new("ES256", "old"),
        Signer::new("ES256", "new"),
    );
    serve(&world, &[&old]);
    let auth = remote(&world);
    auth.warm().await;
    world.pass(10);
    for _ in 0..100 {
        assert_eq!(
            flaw(&auth, &new.sign(&claims())),
            "the issuer has no such key"
        );
    }
    assert_eq!(world.fetches(), 1);

    serve(&world, &[&old, &new]);
    world.pass(50);
    let (verdict, waited) = ask(&auth, &new.sign(&claims())).await;
    assert!(verdict.is_ok() && waited);
    assert!(now(&auth, &old.sign(&claims())).is_ok());
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_in_the_background_and_withdrawn_ones_end() {
    let (world, old, new) = (
        World::new(),
        Signer::new("ES256", "old"),
        Signer::new("ES256", "new"),
    );
    serve(&world, &[&old]);
    let auth = remote(&world);
    auth.warm().await;
    let token = old.sign(&long_lived());
    assert!(now(&auth, &token).is_ok());

    serve(&world, &[&new]);
    world.pass(599);
    assert!(now(&auth, &token).is_ok());
    settle().await;
    assert_eq!(world.fetches(), 1);
    world.pass(1);
    // Answered from memory, while the refresh begins.
    assert!(now(&auth, &token).is_ok());
    settle().await;
    assert_eq!(world.fetches(), 2);
    assert_eq!(flaw(&auth, &token), "the issuer has no such key");
    assert!(now(&auth, &new.sign(&long_lived())).is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_go_on_working_while_the_issuer_is_down() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    serve(&world, &[&signer]);
    let auth = remote(&world);
    auth.warm().await;
    for broken in [
        Err("connection refused".to_owned()),
        Ok("<html>".to_owned()),
        Ok(r#"{"keys":[]}"#.to_owned()),
        Ok(format!(
            "{{\"keys\":[],\"x\":\"{}\"}}",
            "x".repeat(JWKS_MAX_BYTES)
        )),
    ] {
        world.page(URL, broken);
        world.pass(3600);
        let fetches = world.fetches();
        for index in 0..10 {
            let token = claims_with("sub", json!(index.to_string()));
            let token = signer.sign(&{
                let mut token = token;
                token["exp"] = json!(NOW + 1_000_000);
                token
            });
            assert!(now(&auth, &token).is_ok());
            settle().await;
        }
        assert_eq!(world.fetches(), fetches + 1, "one attempt a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_nobody_comes_in_and_it_is_our_fault() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    world.page(URL, Err("connection refused".to_owned()));
    let auth = remote(&world);
    let token = signer.sign(&claims());
    let (verdict, waited) = ask(&auth, &token).await;
    assert!(matches!(verdict, Err(AuthError::Unavailable(_))) && waited);
    let (verdict, waited) = ask(&auth, &token).await;
    assert!(matches!(verdict, Err(AuthError::Unavailable(_))) && !waited);
    assert_eq!(world.fetches(), 1);

    serve(&world, &[&signer]);
    world.pass(5);
    assert!(ask(&auth, &token).await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_never_answers_is_given_up_after_five_seconds() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = remote(&world);
    let begin = tokio::time::Instant::now();
    let (verdict, _) = ask(&auth, &signer.sign(&claims())).await;
    assert!(matches!(verdict, Err(AuthError::Unavailable(_))));
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_key_file_is_read_again_when_a_key_is_unknown() {
    let (world, old, new) = (
        World::new(),
        Signer::new("ES256", "old"),
        Signer::new("ES256", "new"),
    );
    let auth = gateway(&world, &[&old], json!({}));
    world.file("keys.json", document(&[new.jwk()]));
    let (verdict, waited) = ask(&auth, &new.sign(&claims())).await;
    assert!(verdict.is_ok() && waited);
    assert!(now(&auth, &old.sign(&claims())).is_err());
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_wrong_anyway_cause_no_fetch() {
    let (world, signer) = (World::new(), Signer::new("ES256", "k"));
    let auth = remote(&world);
    for token in [
        "junk".to_owned(),
        signer.sign(&claims_with("iss", json!("https://evil.test"))),
        signer.sign(&claims_with("aud", json!("https://other"))),
        signer.sign(&claims_with("exp", json!(NOW - 1000))),
    ] {
        assert!(matches!(now(&auth, &token), Err(AuthError::Invalid(_))));
    }
    assert_eq!(world.fetches(), 0);
}
