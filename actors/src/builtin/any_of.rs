//! Several auth providers as one.

use std::sync::Arc;

use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, UserPrincipal};

/// Providers that are asked one after the other. The first that knows the caller wins. If none does, a provider that
/// could not be asked weighs more than one that refused, and any refusal more than nothing presented.
#[derive(Clone)]
pub struct AnyOf {
    providers: Arc<[Arc<dyn AuthProvider>]>,
}

// === impl AnyOf ===

impl AnyOf {
    /// Asks `providers` in this order.
    pub fn new(providers: Vec<Arc<dyn AuthProvider>>) -> Self {
        Self {
            providers: providers.into(),
        }
    }

    fn ask(
        &self,
        from: usize,
        credentials: Option<&Credentials>,
        mut refusal: AuthError,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        for (index, provider) in self.providers.iter().enumerate().skip(from) {
            match provider.validate_credential(credentials) {
                Answer::Now(Ok(principal)) => return Answer::Now(Ok(principal)),
                Answer::Now(Err(error)) => refusal = heavier(refusal, error),
                Answer::Later(verdict) => {
                    let (rest, credentials) = (self.clone(), credentials.cloned());
                    return Answer::Later(Box::pin(async move {
                        let error = match verdict.await {
                            Ok(principal) => return Ok(principal),
                            Err(error) => error,
                        };
                        let refusal = heavier(refusal, error);
                        match rest.ask(index + 1, credentials.as_ref(), refusal) {
                            Answer::Now(verdict) => verdict,
                            Answer::Later(verdict) => verdict.await,
                        }
                    }));
                }
            }
        }
        Answer::Now(Err(refusal))
    }
}

impl AuthProvider for AnyOf {
    fn validate_credential(
        &self,
        credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        self.ask(0, credentials, AuthError::Missing)
    }
}

/// The refusal that says more.
fn heavier(a: AuthError, b: AuthError) -> AuthError {
    fn weight(error: &AuthError) -> u8 {
        match error {
            AuthError::Missing => 0,
            AuthError::Invalid(_) => 1,
            AuthError::InsufficientScope(_) => 2,
            AuthError::Unavailable(_) => 3,
        }
    }
    if weight(&b) > weight(&a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use weir_plugin_protocol::Secret;
    use weir_plugin_protocol::identity::CredentialKind;

    use super::*;

    /// A provider that knows one text, at once or later.
    struct Knows {
        text: &'static str,
        otherwise: AuthError,
        later: bool,
    }

    impl AuthProvider for Knows {
        fn validate_credential(
            &self,
            credentials: Option<&Credentials>,
        ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
            let verdict = match credentials {
                Some(credentials) if credentials.value.expose() == self.text => {
                    Ok(Arc::new(UserPrincipal::named(self.text)))
                }
                _ => Err(self.otherwise.clone()),
            };
            if self.later {
                return Answer::Later(Box::pin(std::future::ready(verdict)));
            }
            Answer::Now(verdict)
        }
    }

    fn bearer(text: &str) -> Credentials {
        Credentials {
            kind: CredentialKind::Bearer,
            value: Secret::new(text),
        }
    }

    async fn ask(provider: &dyn AuthProvider, text: &str) -> Result<String, AuthError> {
        let verdict = match provider.validate_credential(Some(&bearer(text))) {
            Answer::Now(verdict) => verdict,
            Answer::Later(verdict) => verdict.await,
        };
        verdict.map(|principal| principal.user_id.clone())
    }

    #[tokio::test]
    async fn the_first_that_knows_the_caller_wins_and_the_heaviest_refusal_remains() {
        for later in [[false, false], [true, false], [false, true], [true, true]] {
            let knows = |text, otherwise, later| -> Arc<dyn AuthProvider> {
                Arc::new(Knows {
                    text,
                    otherwise,
                    later,
                })
            };
            let down = AuthError::Unavailable("down".to_owned());
            let bad = AuthError::Invalid("bad".to_owned());
            let any = AnyOf::new(vec![
                knows("a", down.clone(), later[0]),
                knows("b", bad.clone(), later[1]),
            ]);
            assert_eq!(ask(&any, "a").await.unwrap(), "a");
            assert_eq!(ask(&any, "b").await.unwrap(), "b");
            assert_eq!(ask(&any, "c").await, Err(down));
            let any = AnyOf::new(vec![
                knows("a", bad.clone(), later[0]),
                knows("b", AuthError::Missing, later[1]),
            ]);
            assert_eq!(ask(&any, "c").await, Err(bad));
        }
    }
}
