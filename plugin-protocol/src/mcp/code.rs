//! The error codes of JSON-RPC and MCP.

/// The text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The text is JSON but no message that is expected here.
pub const INVALID_REQUEST: i64 = -32600;
/// The method does not exist.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are wrong; since 2026-07-28 also: the resource does not exist (`data.uri`).
pub const INVALID_PARAMS: i64 = -32602;
/// The receiver failed.
pub const INTERNAL_ERROR: i64 = -32603;
/// An interceptor was too slow (SEP-2624).
pub const INTERCEPTOR_TIMEOUT: i64 = -32000;
/// Legacy: the resource does not exist.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// Legacy (2025-11-25): an elicitation in URL mode must be finished first.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// A header contradicts the body, or a required header is missing.
pub const HEADER_MISMATCH: i64 = -32020;
/// The request needs a capability that the client did not declare (`data.requiredCapabilities`).
pub const MISSING_CAPABILITY: i64 = -32021;
/// The revision is not supported (`data.supported`, `data.requested`).
pub const UNSUPPORTED_VERSION: i64 = -32022;
