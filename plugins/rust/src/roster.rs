//! Which roles may use which servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::Deserialize;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::policy::Decision;

/// The servers of each role.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Roster(BTreeMap<String, Vec<String>>);

/// The parameters of `check-access` that matter here.
#[derive(Debug, Deserialize)]
pub(crate) struct Question {
    #[serde(flatten)]
    principal: UserPrincipal,
    mcp_server: String,
}

// === impl Roster ===

impl Roster {
    /// Reads a roster.
    ///
    /// # Errors
    /// The file cannot be read or is no object of lists of texts. Names the file.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| named(&error))?;
        serde_json::from_str(&text).map_err(|error| named(&error))
    }

    /// Decides, and says why.
    pub(crate) fn decide(&self, question: &Question) -> Decision {
        let Question {
            principal,
            mcp_server,
        } = question;
        let opens = |role: &&String| {
            let servers = self.0.get(*role);
            servers.is_some_and(|servers| {
                let mut servers = servers.iter();
                servers.any(|server| server == "*" || server == mcp_server)
            })
        };
        match principal.roles.iter().find(opens) {
            Some(role) => Decision {
                allowed: true,
                reason: format!("the role {role} may use {mcp_server}"),
            },
            None => Decision {
                allowed: false,
                reason: format!("no role of the caller may use {mcp_server}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_open_their_servers_and_nothing_else() {
        let roster = json!({ "developer": ["github"], "admin": ["*"] });
        let roster: Roster = serde_json::from_value(roster).unwrap();
        let allowed = |roles: &[&str], server: &str| {
            let question = json!({ "user_id": "alice", "roles": roles, "mcp_server": server });
            roster
                .decide(&serde_json::from_value(question).unwrap())
                .allowed
        };
        assert!(allowed(&["developer"], "github"));
        assert!(!allowed(&["developer"], "payroll"));
        assert!(allowed(&["guest", "admin"], "payroll"));
        assert!(!allowed(&["guest"], "github"));
        assert!(!allowed(&[], "github"));
    }
}
