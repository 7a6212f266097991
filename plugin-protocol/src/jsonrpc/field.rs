//! The members the gateway knows, and the object each lives in.

use super::level::{Level, PLACES};

/// A member of a message. Which object it belongs to is part of the name: `Name` is `params.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Field {
    /// `id`
    Id,
    /// `method`
    Method,
    /// `params`
    Params,
    /// `result`
    Result,
    /// `error`
    Error,
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.taskId`
    TaskId,
    /// `params.cursor`
    Cursor,
    /// `params.arguments`
    Arguments,
    /// `params._meta`
    Meta,
    /// `params.requestState`
    RequestState,
    /// `params.inputResponses`
    InputResponses,
    /// `params.notifications`
    Notifications,
    /// `params.protocolVersion`
    ProtocolVersion,
    /// `params.capabilities`
    Capabilities,
    /// `params.clientInfo`
    ClientInfo,
    /// `params.level`
    Level,
    /// `params.ref`
    Ref,
    /// `params.progressToken`
    ProgressToken,
    /// `params.requestId`
    RequestId,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`
    MetaVersion,
    /// `params._meta["io.modelcontextprotocol/clientCapabilities"]`
    MetaCapabilities,
    /// `params._meta["io.modelcontextprotocol/clientInfo"]`
    MetaClientInfo,
    /// `params._meta["io.modelcontextprotocol/logLevel"]`
    MetaLogLevel,
    /// `params._meta.progressToken`
    MetaProgressToken,
    /// `params._meta.traceparent`
    MetaTraceparent,
    /// `params._meta.tracestate`
    MetaTracestate,
    /// `params._meta["io.modelcontextprotocol/subscriptionId"]`
    MetaSubscriptionId,
    /// `result.resultType`
    ResultType,
    /// `result.requestState`
    ResultState,
    /// `result._meta`
    ResultMeta,
    /// `result._meta["io.modelcontextprotocol/subscriptionId"]`
    ResultMetaSubscriptionId,
    /// `result._meta["io.modelcontextprotocol/serverInfo"]`
    ResultMetaServerInfo,
    /// `result.nextCursor`
    NextCursor,
    /// `result.ttlMs`
    TtlMs,
    /// `result.cacheScope`
    CacheScope,
    /// `result.isError`
    IsError,
    /// `result.inputRequests`
    InputRequests,
    /// `error.code`
    ErrorCode,
    /// `error.message`
    ErrorMessage,
    /// `error.data`
    ErrorData,
}

// === impl Field ===

impl Field {
    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn level(self) -> Level {
        PLACES.get(self.index()).map_or(Level::Top, |place| place.1)
    }

    pub(super) fn key(self) -> &'static str {
        PLACES.get(self.index()).map_or("", |place| place.2)
    }

    /// The object that this field is, if its members are fields too.
    pub(super) fn opens(self) -> Option<Level> {
        match self {
            Self::Params => Some(Level::Params),
            Self::Meta => Some(Level::Meta),
            Self::Result => Some(Level::Result),
            Self::ResultMeta => Some(Level::ResultMeta),
            Self::Error => Some(Level::Error),
            _ => None,
        }
    }
}
