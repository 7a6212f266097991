//! MCP on the wire: its revisions, methods, codes and headers, and which era a request belongs to.

mod answer;
mod classify;
pub mod code;
mod headers;
mod method;
mod name;
mod param_headers;
mod refusal;
mod uri_template;
mod version;

pub use answer::{error_response, result_response};
pub use classify::{Class, HeaderRule, HttpMethod, ModernRequest, Offered, classify, classify_by};
pub use headers::{
    HeaderValueError, Values, WireHeaders, decode_header_value, encode_header_value,
};
pub use method::Method;
pub use name::valid_tool_name;
pub use param_headers::{
    HeaderAnnotation, ParamKind, check_params, header_annotations, params_as_headers,
};
pub use refusal::Refusal;
pub use uri_template::{TemplateError, UriTemplate};
pub use version::{Era, LEGACY_VERSIONS, MODERN_VERSIONS, Version, negotiate};
