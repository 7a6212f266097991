//! What a plugin is asked and what it answers: the body of `POST /call`, one line on standard input and output, and the
//! line by which a plugin that was started says where it listens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One call, as a plugin receives it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CallRequest {
    /// What is asked for: `check-access`, `record-counter`, …. Over HTTP and lines the words of a role's method are
    /// joined by hyphens.
    pub method: String,
    /// What the method needs. Members that a plugin does not know are to be ignored: later versions add some.
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// What a plugin answers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResponse {
    /// What the method answers; `"ok"` where it has nothing to say.
    Result(Value),
    /// It cannot. For a method that the plugin does not have the text begins with `unknown method`.
    Error(String),
}

// === impl CallRequest ===

impl CallRequest {
    /// The parameters as the type that the method has.
    ///
    /// # Errors
    /// A text that names the member that is missing or of another type.
    pub fn params<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(Value::Object(self.params.clone())).map_err(|error| error.to_string())
    }
}

// === impl CallResponse ===

impl CallResponse {
    /// Nothing to say, but done.
    pub fn ok() -> Self {
        Self::Result("ok".into())
    }

    /// An answer of the type that the method has.
    pub fn result(answer: &impl Serialize) -> Self {
        match serde_json::to_value(answer) {
            Ok(answer) => Self::Result(answer),
            Err(error) => Self::Error(error.to_string()),
        }
    }

    /// There is no such method.
    pub fn unknown_method(method: &str) -> Self {
        Self::Error(format!("unknown method {method}"))
    }
}

/// The line that a plugin prints first, without its end: it listens on this port of the loopback.
///
/// ```
/// assert_eq!(weir_plugin_protocol::call::port_line(8081), "PORT=8081");
/// ```
pub fn port_line(port: u16) -> String {
    format!("PORT={port}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::UserPrincipal;

    #[test]
    fn answers_look_as_the_contract_says() {
        let text = |answer: &CallResponse| serde_json::to_string(answer).unwrap();
        assert_eq!(text(&CallResponse::ok()), r#"{"result":"ok"}"#);
        assert_eq!(
            text(&CallResponse::unknown_method("sing")),
            r#"{"error":"unknown method sing"}"#
        );
        let answer = CallResponse::result(&UserPrincipal::named("alice"));
        assert_eq!(text(&answer), r#"{"result":{"user_id":"alice"}}"#);
    }

    #[test]
    fn parameters_are_read_as_a_type_and_what_is_missing_is_named() {
        let call =
            json!({ "method": "validate-credential", "params": { "user_id": "bob", "new": 1 } });
        let call: CallRequest = serde_json::from_value(call).unwrap();
        let principal: UserPrincipal = call.params().unwrap();
        assert_eq!(principal, UserPrincipal::named("bob"));
        let bare: CallRequest = serde_json::from_str(r#"{"method":"ping"}"#).unwrap();
        let error = bare.params::<UserPrincipal>().unwrap_err();
        assert!(error.contains("user_id"), "{error}");
    }
}
