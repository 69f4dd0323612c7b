//! Who holds a lock.

use crate::core::ticket::Ticket;

/// What stands for "no owner" in Redis, here as in every Medusa provider.
pub const OWNERLESS: &str = "*";

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Taken by an `acquire` that named nobody.
    Anyone,
    /// Taken by an `acquire` that named its owner. Never empty, never [`OWNERLESS`].
    Named(Box<str>),
    /// Held by the `execute` call with this ticket, for as long as its job runs.
    Job(Ticket),
}

impl Owner {
    /// The owner that an `acquire` or `release` names by `owner_id`: none and [`OWNERLESS`] mean the same.
    pub fn from_id(owner_id: Option<&str>) -> Self {
        match owner_id {
            None | Some(OWNERLESS) => Owner::Anyone,
            Some(name) => Owner::Named(name.into()),
        }
    }

    /// The name that a caller gave it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Owner::Named(name) => Some(name),
            Owner::Anyone | Owner::Job(_) => None,
        }
    }

    /// Whether a lock of this owner may be taken again, or released, by `other` as the same owner.
    ///
    /// Two callers that name nobody are not the same owner: else an ownerless lock would exclude nobody.
    pub fn is_same_named(&self, other: &Owner) -> bool {
        matches!((self, other), (Owner::Named(mine), Owner::Named(theirs)) if mine == theirs)
    }
}
