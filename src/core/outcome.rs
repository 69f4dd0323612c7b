//! What becomes of a request, as it is told to whoever made it.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::RequestError;
use crate::core::key::{KeySet, Shown};
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// The answer to a request that was not answered at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The request.
    pub ticket: Ticket,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It holds its keys, under this fencing token.
    Granted(u64),
    /// The same for a lock that lives on a server, with what it takes to give it back.
    Acquired {
        /// The request under whose id the server knows it: of a caller that has come back, its first one.
        attempt: Ticket,
        /// The fencing token.
        token: u64,
        /// What it holds.
        keys: KeySet,
        /// As whose.
        owner: Owner,
    },
    /// It holds nothing; this is a key that somebody else holds.
    Refused(Arc<str>),
    /// It holds nothing: its patience ended while this key was somebody else's.
    TimedOut(Arc<str>),
    /// A job's keys are no longer its own.
    Lost(Failure),
    /// Whether all keys were released.
    Released(bool),
    /// Nothing, or not all, was released: the holder came after its lock had lapsed. In words for whoever watches over it.
    Outlived(Failure),
    /// It could not be carried out.
    Failed(Failure),
    /// A job's keys were given back; false: they had been lost before.
    Finished(bool),
    /// The locks that were asked for.
    Inspected(Vec<Lock>),
    /// Carried out; there is nothing to tell.
    Done,
}

/// Why something failed: a stable code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the codes that README lists.
    pub code: &'static str,
    /// Names the key or server concerned, what was expected and what was seen. Never holds a secret.
    pub message: String,
    /// The key concerned, where it is one.
    pub key: Option<String>,
}

/// One held lock, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The key, without the namespace.
    pub key: String,
    /// None: taken without an owner.
    pub owner_id: Option<String>,
    /// None where it is not known, as for a lock that another provider took.
    pub fencing_token: Option<u64>,
    /// None: until released.
    pub expires_in_ms: Option<u64>,
    /// How many requests wait for it: in memory all of them, on Redis those of this client.
    pub waiting: usize,
}

impl Failure {
    /// Every call after `close`, and every wait that `close` ended.
    pub fn closed() -> Self {
        Failure {
            code: "CLOSED",
            message: "The locking provider is closed".to_owned(),
            key: None,
        }
    }

    /// A job's lock is no longer its own; `why` completes the sentence.
    pub fn lost(key: &str, why: &str) -> Self {
        Failure {
            code: "LOCK_LOST",
            message: format!(
                "Lost the lock for key \"{}\" while the job was running: {why}",
                Shown(key)
            ),
            key: Some(key.to_owned()),
        }
    }

    /// A lock without an owner was to be released by whoever was given it, `late` after it had lapsed.
    pub fn outlived(key: &str, late: Duration) -> Self {
        let message = format!(
            "The lock for key \"{}\" had expired {} s before its holder released it: what was done meanwhile was not \
             exclusive, and whoever holds the key by now keeps it",
            Shown(key),
            late.as_secs_f64()
        );
        Failure {
            code: "LOCK_EXPIRED",
            message,
            key: Some(key.to_owned()),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Failure {
            code: error.code(),
            message: error.to_string(),
            key: None,
        }
    }
}
