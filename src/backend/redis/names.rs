//! What things are called in Redis.
//!
//! The locks are called as `@medusajs/locking-redis` calls them, or old and new nodes would not exclude each other.
//! Our own records lie elsewhere: old nodes read and may delete what begins with the namespace. Those of a lock bear a
//! tag in braces by which they lie in the lock's own cluster slot (see [`super::slot`]).

use std::sync::atomic::{AtomicU64, Ordering};

use super::slot::{Head, tag};
use crate::backend::job_owner_prefix;
use crate::core::error::RequestError;
use crate::core::key::KeySet;
use crate::core::owner::{OWNERLESS, Owner};
use crate::core::ticket::Ticket;

/// What every key begins with that is not a lock.
pub const OWN_PREFIX: &str = "locking-native:";

/// The list of all queues that there are.
pub const QUEUES: &str = "locking-native:queues";

/// [`OWN_PREFIX`], and what a tag begins with.
const BEFORE_TAG: &str = "locking-native:{";

/// The names of one namespace.
#[derive(Clone, Debug)]
pub struct Names {
    namespace: Head,
    /// What stands between tag and key in the name of a record.
    before_record: String,
    fence: String,
    /// Locks of this namespace could be called like our own records, so each name must be checked.
    may_clash: bool,
}

impl Names {
    /// The names of `namespace`.
    ///
    /// # Errors
    /// It lies among our own records; the error says so.
    pub fn new(namespace: &str) -> Result<Self, String> {
        if namespace.starts_with(OWN_PREFIX) {
            return Err(format!(
                "expected one that does not begin with \"{OWN_PREFIX}\", got \"{namespace}\""
            ));
        }
        Ok(Names {
            namespace: Head::new(namespace),
            before_record: format!("}}:lock:{namespace}"),
            fence: format!("{OWN_PREFIX}fence:{namespace}"),
            may_clash: OWN_PREFIX.starts_with(namespace),
        })
    }

    /// Refuses keys whose locks would be called like our own records.
    ///
    /// # Errors
    /// One of `keys` would.
    pub fn check(&self, keys: &KeySet) -> Result<(), RequestError> {
        if !self.may_clash {
            return Ok(());
        }
        match keys.iter().find(|key| self.lock(key).starts_with(OWN_PREFIX)) {
            Some(key) => Err(RequestError::KeyReserved { key: key.to_string() }),
            None => Ok(()),
        }
    }

    /// The lock of `key`.
    pub fn lock(&self, key: &str) -> String {
        self.lock_pieces(key).concat()
    }

    /// The same, to be joined where it is written.
    pub fn lock_pieces<'n>(&'n self, key: &'n str) -> [&'n str; 2] {
        [self.namespace.text(), key]
    }

    /// The cluster slot of the lock of `key`. Of its tag a script makes the names of its queue and its waiters
    /// (`lua/names.lua`).
    pub fn slot(&self, key: &str) -> u16 {
        self.namespace.slot(key)
    }

    /// The record of the lock of `key`: which attempt took it, under which token. In pieces, to be joined where it is written.
    pub fn record_pieces<'n>(&'n self, key: &'n str) -> [&'n str; 4] {
        let tag = tag(self.slot(key));
        [BEFORE_TAG, tag, &self.before_record, key]
    }

    /// The counter of fencing tokens.
    pub fn fence(&self) -> &str {
        &self.fence
    }

    /// The key of the lock called `name`; None: that is not a lock.
    pub fn key_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        if name.starts_with(OWN_PREFIX) {
            return None;
        }
        name.strip_prefix(self.namespace.text())
            .filter(|key| !key.is_empty())
    }

    /// The pattern that SCAN finds the locks by: the namespace, its special characters taken literally.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.namespace.text().len() + 1);
        for c in self.namespace.text().chars() {
            if "*?[]\\^-".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern + "*"
    }
}

/// A channel on which the server can call this process, for one connection.
///
/// No two connections have the same, also those of one member after each other: who was called over one that is gone cannot
/// be reached, whatever an older state of the server, put back in place, says of it. Whoever still waits says where when it
/// asks over the next connection.
pub fn new_inbox() -> String {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    inbox(NUMBERS.fetch_add(1, Ordering::Relaxed))
}

fn inbox(connection: u64) -> String {
    let process = job_owner_prefix();
    let process = process.strip_prefix("execute:").unwrap_or(process);
    format!("{OWN_PREFIX}inbox:{process}{connection}")
}

/// The id of the attempt of `ticket`, in pieces: which process made it, and its number there. A job's owner id begins with
/// it.
pub fn attempt(ticket: Ticket, digits: &mut itoa::Buffer) -> [&str; 2] {
    [job_owner_prefix(), digits.format(ticket.number())]
}

/// The owner id that an `acquire` leaves in Redis. That of a job holds its token, and is made where that is known.
pub fn name_of(owner: &Owner) -> &str {
    match owner {
        Owner::Named(name) => name,
        Owner::Anyone | Owner::Job(_) => OWNERLESS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::slot;
    use super::*;

    #[test]
    fn locks_are_called_as_the_incumbent_calls_them() {
        let names = Names::new("medusa_lock:").unwrap();
        assert_eq!(names.lock("cart_1"), "medusa_lock:cart_1");
        assert_eq!(names.key_of("medusa_lock:cart_1"), Some("cart_1"));
        assert_eq!(names.key_of("other:cart_1"), None);
    }

    #[test]
    fn our_own_records_do_not_begin_with_the_namespace() {
        let names = Names::new("medusa_lock:").unwrap();
        assert!(!names.fence().starts_with("medusa_lock:"));
        assert!(!names.record_pieces("cart_1").concat().starts_with("medusa_lock:"));
        assert!(QUEUES.starts_with(OWN_PREFIX));
    }

    #[test]
    fn what_belongs_to_a_lock_lies_in_its_slot() {
        for (namespace, key) in [("medusa_lock:", "cart_1"), ("", "{a}b"), ("shop{1", "2}:x")] {
            let names = Names::new(namespace).unwrap();
            let lock = names.lock(key);
            assert_eq!(names.slot(key), slot(&lock), "{lock}");
            let tag = tag(slot(&lock));
            let record = names.record_pieces(key).concat();
            assert_eq!(record, format!("locking-native:{{{tag}}}:lock:{lock}"));
            assert_eq!(slot(&record), slot(&lock), "{record}");
        }
        // Written down, so that no later version calls them otherwise.
        let names = Names::new("medusa_lock:").unwrap();
        assert_eq!(
            names.record_pieces("cart_1").concat(),
            "locking-native:{57x}:lock:medusa_lock:cart_1"
        );
    }

    #[test]
    fn an_inbox_is_called_after_process_and_connection() {
        let name = inbox(12);
        let process = job_owner_prefix().strip_prefix("execute:").unwrap();
        assert_eq!(name, format!("locking-native:inbox:{process}12"));
    }

    #[test]
    fn no_key_is_called_like_a_record() {
        for namespace in ["", "l", "locking", "locking-native:"] {
            let Ok(names) = Names::new(namespace) else {
                continue;
            };
            let clash = OWN_PREFIX.strip_prefix(namespace).unwrap().to_owned() + "fence:";
            assert!(
                names.check(&KeySet::one(&clash).unwrap()).is_err(),
                "{namespace:?}"
            );
            assert!(
                names.check(&KeySet::one("cart_1").unwrap()).is_ok(),
                "{namespace:?}"
            );
        }
        assert!(Names::new("locking-native:mine").is_err());
    }

    #[test]
    fn a_pattern_takes_the_namespace_literally() {
        assert_eq!(Names::new("a*b?[c]\\").unwrap().pattern(), "a\\*b\\?\\[c\\]\\\\*");
    }
}
