//! The naive memory of locks without an owner that have lapsed: a list of them, the oldest first.

use std::sync::Arc;

use medusa_locking_native::core::grants::LAPSED_KEPT;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::ticket::Ticket;

struct Lapsed {
    key: Arc<str>,
    grant: Ticket,
    forgotten_at: Moment,
}

#[derive(Default)]
pub struct Outlived {
    lapsed: Vec<Lapsed>,
}

impl Outlived {
    /// This lock has lapsed now, and was not released.
    pub fn note(&mut self, key: &Arc<str>, grant: Ticket, lapsed_at: Moment) {
        let is_known = |lapsed: &Lapsed| lapsed.key == *key && lapsed.grant == grant;
        if !self.lapsed.iter().any(is_known) {
            self.lapsed.push(Lapsed {
                key: Arc::clone(key),
                grant,
                forgotten_at: lapsed_at.after(LAPSED_KEPT),
            });
        }
    }

    /// This lock has been released.
    pub fn forget(&mut self, key: &str, grant: Ticket) {
        self.lapsed
            .retain(|lapsed| *lapsed.key != *key || lapsed.grant != grant);
    }

    /// A release of this key, which `holder` holds by a lock without an owner. True: it is for a lock that has lapsed.
    pub fn takes(&mut self, now: Moment, key: &Arc<str>, holder: Option<(Ticket, Option<Moment>)>) -> bool {
        let is_first = |lapsed: &Lapsed| lapsed.key == *key && lapsed.forgotten_at > now;
        let Some(first) = self.lapsed.iter().position(is_first) else {
            return false;
        };
        if holder.is_some_and(|(grant, _)| grant == self.lapsed[first].grant) {
            return false;
        }
        let first = self.lapsed.remove(first);
        // Its own release may be the one that came: none may be left, and then nobody shall pay for that any longer.
        if let Some((grant, expires_at)) = holder {
            let end = expires_at.unwrap_or(Moment::NEVER);
            self.note(key, grant, end);
        }
        for other in self.lapsed.iter_mut().filter(|other| other.key == *key) {
            other.forgotten_at = other.forgotten_at.min(first.forgotten_at);
        }
        true
    }
}
