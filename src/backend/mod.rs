//! Where locks live, and how their news reaches whoever asked.

pub mod mailbox;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::core::moment::Moment;
pub use crate::core::outcome::{Completion, Failure, Lock, Outcome};
use crate::core::patience::Patience;
use crate::core::ticket::Ticket;

/// How long a request is ready to wait, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Refuse,
    /// This long.
    For(Duration),
    /// This long, and on while what keeps it changes hands, up to so long in all: see [`Patience::WhileMoving`].
    WhileMoving(Duration, Duration),
    /// For ever.
    Forever,
}

impl Wait {
    /// The same, as a point in time.
    pub fn from(self, now: Moment) -> Patience {
        match self {
            Wait::Refuse => Patience::Refuse,
            Wait::For(span) => Patience::Until(now.after(span)),
            Wait::WhileMoving(Duration::ZERO, _) => Patience::Refuse,
            Wait::WhileMoving(span, most) => Patience::while_moving(now, span, most),
            Wait::Forever => Patience::Forever,
        }
    }
}

/// What came of giving something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// All of it was held until now.
    pub held: bool,
    /// Completions for this very client were pushed without waking it: it should look now.
    pub news: bool,
    /// Its holder came after its lock had lapsed: in words for whoever watches over it.
    pub outlived: Option<Failure>,
}

/// Where the completions of a client go.
///
/// Pushing and waking are apart so that completions are pushed in the order in which they became true, under the
/// lock that made them true, and the receiver is woken after that lock is gone.
pub trait Sink: Send + Sync {
    /// Queues a completion. True: the receiver has to be woken.
    fn push(&self, completion: Completion) -> bool;
    /// Wakes the receiver.
    fn wake(&self);
    /// Asks the receiver's thread for a sign of life, unless it has been asked and has not answered yet.
    fn probe(&self, now: Moment);
    /// For how long the receiver's thread has not answered since it was last asked anything; zero when it has.
    fn stalled(&self, now: Moment) -> Duration;
}

/// The next ticket. Call it under the lock of the table that it is for: a table's tickets must rise.
pub fn next_ticket() -> Ticket {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU64::new(Ticket::first_of_process(clock::unix_us()).number()));
    Ticket::new(next.fetch_add(1, Ordering::Relaxed))
}

/// How the owner id of every `execute` of this process begins: `execute:<host>:<pid>:<nonce>:`.
///
/// Readable, so that somebody who finds a lock in redis-cli knows whose it is; and unguessable by its nonce, so that
/// nobody can release it by accident.
pub fn job_owner_prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| {
        use std::hash::{BuildHasher, RandomState};
        // The standard library's only source of randomness: the keys of its hash maps.
        let nonce = RandomState::new().hash_one((clock::unix_us(), std::process::id()));
        format!("execute:{}:{}:{nonce:016x}:", host_name(), std::process::id())
    })
}

/// The host's name with only characters that are safe in a key's value; `host` where it has none.
fn host_name() -> String {
    let name = hostname::get()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    if safe.is_empty() {
        "host".to_owned()
    } else {
        safe.chars().take(64).collect()
    }
}

/// The owner id of a job: its process, its ticket and the fencing token of its grant.
pub fn job_owner_id(ticket: Ticket, token: u64) -> String {
    format!("{}{}#{token}", job_owner_prefix(), ticket.number())
}

/// The ticket of the job of this process that has this owner id.
pub fn job_of_owner_id(owner_id: &str) -> Option<Ticket> {
    let rest = owner_id.strip_prefix(job_owner_prefix())?;
    let (ticket, _token) = rest.split_once('#')?;
    ticket.parse().ok().map(Ticket::new)
}
