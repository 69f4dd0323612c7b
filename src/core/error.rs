//! What can be wrong with a request before anything is taken or sent.

use crate::core::key::Shown;

/// The kinds of refusals that are the caller's to mend. Each has one stable code (see [`RequestError::code`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A key is the empty string.
    #[error("Invalid argument \"keys\": expected non-empty keys, got an empty string")]
    KeyEmpty,
    /// A key is longer than the bound.
    #[error(
        "Invalid argument \"keys\": expected keys of at most {max} bytes, got one of {bytes} bytes: \"{start}...\""
    )]
    KeyTooLong {
        /// How long it is, in UTF-8 bytes.
        bytes: usize,
        /// The bound.
        max: usize,
        /// How it begins.
        start: String,
    },
    /// One call names more keys than the bound.
    #[error("Invalid argument \"keys\": expected at most {max} different keys in a call, got {count}")]
    KeysTooMany {
        /// How many different keys it names.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// The keys of one call are longer than the bound, all together.
    #[error(
        "Invalid argument \"keys\": expected at most {max} bytes of different keys in a call, got {bytes}"
    )]
    KeysTooLong {
        /// How long they are, in UTF-8 bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A key has the prefix that the provider's own bookkeeping uses.
    #[error(
        "Invalid argument \"keys\": \"{}\" is a name that this provider keeps for itself; use a non-empty namespace",
        Shown(key)
    )]
    KeyReserved {
        /// The key.
        key: String,
    },
    /// As many requests wait for this key as may.
    #[error("Too many waiters for key \"{}\": {max} wait already", Shown(key))]
    WaitersPerKey {
        /// The key.
        key: String,
        /// The bound.
        max: usize,
    },
    /// As many requests wait as may.
    #[error("Too many waiters: {max} wait already")]
    Waiters {
        /// The bound.
        max: usize,
    },
}

impl RequestError {
    /// The stable code of this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            RequestError::KeyEmpty
            | RequestError::KeyTooLong { .. }
            | RequestError::KeysTooMany { .. }
            | RequestError::KeysTooLong { .. }
            | RequestError::KeyReserved { .. } => "INVALID_ARGUMENT",
            RequestError::WaitersPerKey { .. } | RequestError::Waiters { .. } => "LIMIT_EXCEEDED",
        }
    }
}
