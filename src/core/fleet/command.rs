//! What a member says to the server, and what it hears.

use std::sync::Arc;
use std::time::Duration;

use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Lock};
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// One script call, or one command, for the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take all keys or none. May be repeated: the same ticket finds what an earlier try of it took.
    Acquire {
        /// The attempt's id.
        ticket: Ticket,
        /// What to take.
        keys: KeySet,
        /// As whose: [`Owner::Job`] of the same ticket, or whom an `acquire` named.
        owner: Owner,
        /// How long the lock lives if nobody extends or releases it.
        expire: Option<Duration>,
        /// Only if this owner holds all of them already: then it comes before whoever waits for them.
        must_hold: bool,
        /// How many fencing tokens to set aside beyond the one of the grant.
        reserve: u32,
        /// Some: it waits in the server's queues if it must.
        wait: Option<Place>,
        /// Others of this member wait for the same keys right behind it.
        more: bool,
    },
    /// Release what `held` says, if it is still so.
    Release {
        /// The errand.
        ticket: Ticket,
        /// What to release.
        keys: KeySet,
        /// Whose.
        held: Held,
        /// Others of this member wait for the same keys.
        more: bool,
    },
    /// Leave the queues, and give back what the attempt took, if it took anything.
    Cancel {
        /// The attempt's id.
        ticket: Ticket,
        /// What it may have taken.
        keys: KeySet,
        /// As whose.
        owner: Owner,
    },
    /// Extend these leases, each if it is still its job's.
    Renew {
        /// All or part of the leases that are due.
        leases: Vec<Renewal>,
    },
    /// Extend these locks of owners, each if this member was the last to take it.
    Keep {
        /// All or part of those that are due.
        locks: Vec<Keep>,
    },
    /// Set aside more fencing tokens for a lease that is passed on within this member, if nobody else waits for its keys.
    Reserve {
        /// The job that it was granted to.
        job: Ticket,
        /// The token of its grant.
        token: u64,
        /// What it holds.
        keys: KeySet,
        /// How many; at least one.
        count: u32,
        /// How often the lease had been passed on when this was asked for. Not sent.
        passes: u32,
    },
    /// The next page of all keys of the namespace.
    Scan {
        /// The errand.
        ticket: Ticket,
        /// Where the last page ended; 0 to begin.
        cursor: u64,
    },
    /// Release those of `keys` that belong to `owner_id`, or all.
    Sweep {
        /// The errand.
        ticket: Ticket,
        /// A page of keys.
        keys: Vec<Arc<str>>,
        /// None: whoever's they are.
        owner_id: Option<Box<str>>,
    },
    /// Look up `keys`.
    Inspect {
        /// The errand.
        ticket: Ticket,
        /// Which.
        keys: Vec<Arc<str>>,
    },
}

/// Where a request stands in the server's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ticket that the server gave it; 0: none yet.
    pub ticket: u64,
    /// By how much a new ticket is older than the moment when the server reads this.
    pub age: Duration,
}

/// Whose lock is to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The one that this job was granted under this token.
    ByJob {
        /// The job.
        job: Ticket,
        /// The token of its grant.
        token: u64,
    },
    /// The ones of this owner id; `None` means without an owner.
    ByOwner(Option<Box<str>>),
    /// Those without an owner that this member was given: for each key the request that took it; None: by nobody here,
    /// and that key is left alone.
    ByGrants(Vec<Option<Given>>),
}

/// A lock without an owner, as the server knows whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The request that took it.
    pub attempt: Ticket,
    /// It does not expire.
    pub is_endless: bool,
}

/// One lease to extend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The job.
    pub job: Ticket,
    /// The token of its grant.
    pub token: u64,
    /// What it holds.
    pub keys: KeySet,
    /// For how long, from now.
    pub lease: Duration,
}

/// One lock of an owner to extend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Which.
    pub key: Arc<str>,
    /// The request that took it.
    pub attempt: Ticket,
    /// Whose it is.
    pub owner: Owner,
    /// For how long, from now.
    pub expire: Duration,
}

/// A command that was sent, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The command.
    pub command: Command,
    /// Not later than its first byte left.
    pub at: Moment,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `Acquire`: all keys are held, under this fencing token.
    Granted(u64),
    /// To `Acquire`: nothing was taken, because somebody holds this key for this long (None: without end).
    Busy(usize, Option<Duration>),
    /// To `Acquire`: it waits in the server's queues.
    Waiting(Waiting),
    /// To `Release`: whether all keys were held until now. To `Cancel` and `Sweep`: carried out.
    Released(bool),
    /// To `Renew`: per lease, the first key that was not the job's any more.
    Renewed(Vec<Option<usize>>),
    /// To `Keep`: per lock, whether it was extended.
    Kept(Vec<bool>),
    /// To `Reserve`.
    Reserved(Reserved),
    /// To `Scan`: a page, and where it ended; 0: that was the last.
    Page(u64, Vec<Arc<str>>),
    /// To `Inspect`.
    Locks(Vec<Lock>),
    /// To anything: it was not carried out.
    Error(ServerError),
}

/// What became of a request for more tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// They are set aside, from this one on.
    From(u64),
    /// None: others wait for the keys.
    OthersWait,
    /// None: this key is not the job's any more.
    Lost(usize),
}

/// How a request waits on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A key that keeps it.
    pub key: usize,
    /// When to ask again because whoever is before it may have lost the key by then; None: there is no telling.
    pub look_in: Option<Duration>,
    /// Its ticket.
    pub ticket: u64,
    /// What it waits for is held by a node that tells nobody when it releases it.
    pub silent: bool,
    /// For how long that has been with its holder, as far as the server can tell.
    pub held_for: Duration,
}

/// What the server says of its own accord: a hint, which may be late, doubled, or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    /// The request that it is about.
    pub ticket: Ticket,
    /// None: its locks have been handed over to it and are to be claimed. Some: it should ask again after so long.
    pub look_in: Option<Duration>,
}

/// Why the server did not carry a command out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// For the caller.
    pub failure: Failure,
    /// The server says that it cannot now, as while it loads or has no memory; not that it never will.
    pub passing: bool,
}
