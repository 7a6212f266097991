//! API keys, kept as hashes: reading the configuration does not let anybody in.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_plugin_protocol::role::{Answer, AuthError, AuthProvider};
use weir_plugin_protocol::{Credentials, Secret, UserPrincipal};

use super::misconfigured::Misconfigured;
use super::outside::{Clock, Outside};
use super::rfc3339;

#[cfg(test)]
mod tests;

/// The longest key that is looked up, in bytes.
const MAX_KEY_BYTES: usize = 1024;
/// The largest key file, in bytes: about 30,000 keys.
pub(super) const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;
/// Random bytes in a generated key.
const KEY_BYTES: usize = 32;
/// What generated keys begin with, so that secret scanners and people recognise them.
const KEY_PREFIX: &str = "weir_";
/// Keys that somebody forgot to replace.
const PLACEHOLDERS: &[&str] = &[
    "",
    "0000",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
    "abc123",
    "admin",
    "api-key",
    "api_key",
    "apikey",
    "change-me",
    "change_me",
    "changeit",
    "changeme",
    "default",
    "demo",
    "dev",
    "dummy",
    "example",
    "foo",
    "foobar",
    "key",
    "letmein",
    "my-api-key",
    "my-secret",
    "none",
    "null",
    "pass",
    "passw0rd",
    "password",
    "placeholder",
    "qwerty",
    "root",
    "secret",
    "secret-api-key",
    "secret-key",
    "sk-1234",
    "test",
    "test-key",
    "todo",
    "token",
    "undefined",
    "weir",
    "weir_",
    "xxx",
    "xxxx",
    "your-api-key",
    "your_api_key",
    "your-secret-key",
];

/// Where API keys come from: the list, the file, or both.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeysConfig {
    /// Keys written here.
    pub keys: Vec<ApiKeyEntry>,
    /// A JSON file that holds a list of such entries (at most 8 MiB); read again on reload.
    pub file: Option<PathBuf>,
}

/// One key and whom it stands for. `weir keys new` prints one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyEntry {
    /// The name of the key in logs; unique.
    pub id: String,
    /// `sha256:` and the 64 hexadecimal digits of the key's SHA-256. Never the key itself.
    pub hash: String,
    /// The user that presents this key.
    pub user: String,
    /// The tenant of the user; default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Roles, as policy rules name them; default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Groups, as policy rules name them; default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the key ends to be valid, RFC 3339 (`2026-12-31T00:00:00Z`); default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A key that was just made, and the entry that lets it in.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key: shown once, to whoever will present it.
    pub key: Secret,
    /// What goes into the configuration.
    pub entry: ApiKeyEntry,
}

/// Validates `Authorization: Bearer` and `X-API-Key` by looking up the SHA-256 of what was presented, so that no
/// secret is ever compared byte by byte.
pub struct ApiKeys {
    config: ApiKeysConfig,
    outside: Outside,
    table: ArcSwap<Table>,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];
type Table = HashMap<Digest, Holder>;

struct Holder {
    id: String,
    principal: Arc<UserPrincipal>,
    expires: Option<u64>,
}

/// Returns the form in which `key` is configured: `sha256:` and 64 hexadecimal digits.
pub fn hash_key(key: &str) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in sha256(key) {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
    }
    text
}

/// Makes a random key of 256 bits for `user`. Returns `None` if the operating system has no randomness.
pub fn generate_key(id: &str, user: &str) -> Option<NewKey> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).ok()?;
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let entry = ApiKeyEntry {
        id: id.to_owned(),
        hash: hash_key(&key),
        user: user.to_owned(),
        tenant: None,
        roles: Vec::new(),
        groups: Vec::new(),
        expires: None,
    };
    Some(NewKey {
        key: Secret::new(key),
        entry,
    })
}

// === impl ApiKeyEntry ===

impl ApiKeyEntry {
    fn check(&self, placeholders: &HashSet<Digest>) -> Result<(Digest, Holder), Misconfigured> {
        if self.id.is_empty() {
            return Err(Misconfigured::new("id", "empty; give the key a name"));
        }
        if self.user.is_empty() {
            return Err(Misconfigured::new("user", "empty; name the user"));
        }
        let digest = parse_hash(&self.hash).ok_or_else(|| {
            let problem =
                "not `sha256:` and 64 hexadecimal digits; make one with `weir keys new`, never write the key itself";
            Misconfigured::new("hash", problem)
        })?;
        let is_constant = digest.iter().all(|byte| digest.first() == Some(byte));
        if is_constant || placeholders.contains(&digest) {
            let problem =
                "the hash of an empty or well-known key; make a random one with `weir keys new`";
            return Err(Misconfigured::new("hash", problem));
        }
        let expires = match &self.expires {
            Some(text) => Some(rfc3339::parse(text).ok_or_else(|| {
                let problem = "not an RFC 3339 date; write it like 2026-12-31T00:00:00Z";
                Misconfigured::new("expires", problem)
            })?),
            None => None,
        };
        let mut principal = UserPrincipal::named(&self.user);
        principal.tenant_id.clone_from(&self.tenant);
        principal.roles.clone_from(&self.roles);
        principal.groups.clone_from(&self.groups);
        let holder = Holder {
            id: self.id.clone(),
            principal: Arc::new(principal),
            expires,
        };
        Ok((digest, holder))
    }
}

// === impl ApiKeys ===

impl ApiKeys {
    /// Reads the list and the file. No keys at all is an error: nobody could ever come in.
    pub fn load(config: &ApiKeysConfig, outside: &Outside) -> Result<Self, Misconfigured> {
        let table = read(config, outside)?;
        Ok(Self {
            config: config.clone(),
            outside: outside.clone(),
            table: ArcSwap::from_pointee(table),
        })
    }

    /// Reads the file again. If anything is wrong with it, the keys stay as they were. Blocks on the disk.
    pub fn reload(&self) -> Result<(), Misconfigured> {
        let table = read(&self.config, &self.outside)?;
        self.table.store(Arc::new(table));
        Ok(())
    }

    fn judge(&self, credentials: Option<&Credentials>) -> Result<Arc<UserPrincipal>, AuthError> {
        let credentials = credentials.ok_or(AuthError::Missing)?;
        let presented = credentials.value.expose();
        if presented.len() > MAX_KEY_BYTES {
            return Err(AuthError::Invalid("longer than any API key".to_owned()));
        }
        let table = self.table.load();
        let holder = table
            .get(&sha256(presented))
            .ok_or_else(|| AuthError::Invalid("not a known API key".to_owned()))?;
        if holder.expired(&self.outside.clock) {
            return Err(AuthError::Invalid(format!(
                "the API key {:?} has expired",
                holder.id
            )));
        }
        Ok(holder.principal.clone())
    }
}

impl AuthProvider for ApiKeys {
    fn validate_credential(
        &self,
        credentials: Option<&Credentials>,
    ) -> Answer<Result<Arc<UserPrincipal>, AuthError>> {
        Answer::Now(self.judge(credentials))
    }
}

// === impl Holder ===

impl Holder {
    fn expired(&self, clock: &Clock) -> bool {
        self.expires.is_some_and(|expires| clock.now() >= expires)
    }
}

fn read(config: &ApiKeysConfig, outside: &Outside) -> Result<Table, Misconfigured> {
    let placeholders: HashSet<Digest> = PLACEHOLDERS.iter().map(|key| sha256(key)).collect();
    let mut table = Table::new();
    let mut ids = HashSet::new();
    let mut add = |entries: &[ApiKeyEntry], origin: &str| {
        for (index, entry) in entries.iter().enumerate() {
            let place = format!("{origin}[{index}]");
            let (digest, holder) = entry
                .check(&placeholders)
                .map_err(|error| error.within(&place))?;
            if !ids.insert(entry.id.clone()) {
                let problem = "this id is used twice; ids must be unique";
                return Err(Misconfigured::new(format!("{place}.id"), problem));
            }
            if table.insert(digest, holder).is_some() {
                let problem = "this hash is used twice; one key stands for one user";
                return Err(Misconfigured::new(format!("{place}.hash"), problem));
            }
        }
        Ok(())
    };
    add(&config.keys, "keys")?;
    if let Some(path) = &config.file {
        let content = outside
            .files
            .read(path, MAX_FILE_BYTES)
            .map_err(|error| Misconfigured::new("file", format!("cannot be read: {error}")))?;
        let entries: Vec<ApiKeyEntry> = serde_json::from_slice(&content).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let problem = format!("not a JSON list of keys at line {line}, column {column}");
            Misconfigured::new("file", problem)
        })?;
        add(&entries, "file")?;
    }
    if table.is_empty() {
        let problem = "no keys; add one with `weir keys new`";
        return Err(Misconfigured::new("keys", problem));
    }
    Ok(table)
}

fn parse_hash(text: &str) -> Option<Digest> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut digest = Digest::default();
    if !rest.is_empty() || pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(digest)
}

fn sha256(text: &str) -> Digest {
    let mut bytes = Digest::default();
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}
