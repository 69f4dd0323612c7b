//! The local queues: who of this member may ask the server. Of those that want the same keys, the first.
//!
//! Whoever wants other keys has a queue of its own, also where the two sets overlap: what comes first of these is for the
//! server to say, which knows who else in the fleet wants which of the keys.

use std::collections::BTreeSet;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::{Entry, EntryRef};

use super::{Fleet, Link};
use crate::core::error::RequestError;
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::table::Limits;
use crate::core::ticket::Ticket;

/// One queue for each key set that somebody here asks for or holds.
#[derive(Debug)]
pub(super) struct Lines {
    lines: HashMap<KeySet, Line>,
    limits: Limits,
    /// How many stand behind a first one.
    behind: usize,
    /// The places of those that do not stand at their own tickets, but where their callers stood that have come back.
    places: HashMap<Ticket, Ticket>,
}

#[derive(Debug)]
struct Line {
    /// The one that asks the server, or holds the keys.
    first: Ticket,
    /// Whoever waits for its turn, in order: its place and its ticket.
    behind: BTreeSet<(Ticket, Ticket)>,
    /// When the keys last changed hands, as far as is known here.
    moved_at: Moment,
    /// When the server last said so.
    seen_at: Moment,
}

impl Lines {
    pub(super) fn new(limits: Limits) -> Self {
        Lines {
            lines: HashMap::new(),
            limits,
            behind: 0,
            places: HashMap::new(),
        }
    }

    /// Whether somebody asks for exactly these keys already, or holds them.
    pub(super) fn has(&self, keys: &KeySet) -> bool {
        self.lines.contains_key(keys)
    }

    /// Whether `ticket`, which takes `place` for `keys`, is the first there.
    fn join(
        &mut self,
        now: Moment,
        ticket: Ticket,
        place: Ticket,
        keys: &KeySet,
    ) -> Result<bool, RequestError> {
        match self.lines.entry(keys.clone()) {
            Entry::Vacant(line) => {
                line.insert(Line {
                    first: ticket,
                    behind: BTreeSet::new(),
                    moved_at: now,
                    seen_at: now,
                });
                Ok(true)
            }
            Entry::Occupied(mut line) => {
                let behind = &mut line.get_mut().behind;
                if self.behind >= self.limits.waiters_max {
                    let max = self.limits.waiters_max;
                    return Err(RequestError::Waiters { max });
                }
                if behind.len() >= self.limits.waiters_per_key_max {
                    return Err(RequestError::WaitersPerKey {
                        key: keys.iter().next().map_or("", |key| key).to_owned(),
                        max: self.limits.waiters_per_key_max,
                    });
                }
                behind.insert((place, ticket));
                if place != ticket {
                    self.places.insert(ticket, place);
                }
                self.behind += 1;
                Ok(false)
            }
        }
    }

    /// Takes `ticket` out. Some: it was the first, and now this one is.
    pub(super) fn leave(&mut self, ticket: Ticket, keys: &KeySet) -> Option<Ticket> {
        let EntryRef::Occupied(mut entry) = self.lines.entry_ref(keys) else {
            return None;
        };
        let line = entry.get_mut();
        if line.first != ticket {
            let place = self.places.remove(&ticket).unwrap_or(ticket);
            self.behind -= usize::from(line.behind.remove(&(place, ticket)));
            return None;
        }
        match line.behind.pop_first() {
            Some((_, next)) => {
                self.places.remove(&next);
                line.first = next;
                self.behind -= 1;
                Some(next)
            }
            None => {
                entry.remove();
                None
            }
        }
    }

    /// The keys changed hands at `at`, or later.
    pub(super) fn moved(&mut self, at: Moment, keys: &KeySet) {
        if let Some(line) = self.waiting_mut(keys) {
            line.moved_at = line.moved_at.max(at);
        }
    }

    /// The server has said for how long `keys` have been with their holder.
    pub(super) fn seen(&mut self, now: Moment, keys: &KeySet, held_for: Duration) {
        if let Some(line) = self.lines.get_mut(keys) {
            line.moved_at = line.moved_at.max(now.before(held_for));
            line.seen_at = now;
        }
    }

    /// When the keys last changed hands, and when that was last looked at.
    pub(super) fn movement(&self, keys: &KeySet) -> Option<(Moment, Moment)> {
        self.lines.get(keys).map(|line| (line.moved_at, line.seen_at))
    }

    /// Whether anybody stands behind a first one.
    pub(super) fn has_anybody_behind(&self) -> bool {
        self.behind > 0
    }

    /// The one that asks for these keys, or holds them.
    pub(super) fn first(&self, keys: &KeySet) -> Option<Ticket> {
        self.lines.get(keys).map(|line| line.first)
    }

    /// Who comes after the first.
    pub(super) fn heir(&self, keys: &KeySet) -> Option<Ticket> {
        self.waiting(keys)?.behind.first().map(|(_, ticket)| *ticket)
    }

    /// How many stand behind the first.
    pub(super) fn behind(&self, keys: &KeySet) -> usize {
        self.waiting(keys).map_or(0, |line| line.behind.len())
    }

    /// The line for `keys`, if anybody may stand behind its first. Where nobody does in any, it is not looked up: with many keys
    /// that takes long.
    fn waiting(&self, keys: &KeySet) -> Option<&Line> {
        (self.behind > 0).then(|| self.lines.get(keys)).flatten()
    }

    fn waiting_mut(&mut self, keys: &KeySet) -> Option<&mut Line> {
        (self.behind > 0).then(|| self.lines.get_mut(keys)).flatten()
    }
}

impl Fleet {
    /// Takes a place for a request. False: others come first.
    ///
    /// # Errors
    /// As many wait as may.
    pub(super) fn take_place(
        &mut self,
        now: Moment,
        ticket: Ticket,
        place: Ticket,
        keys: &KeySet,
    ) -> Result<bool, RequestError> {
        self.lines.join(now, ticket, place, keys)
    }

    /// Gives up the place of `ticket`: the next one that still waits may ask.
    pub(super) fn give_up_place(&mut self, now: Moment, ticket: Ticket, keys: &KeySet) {
        let mut next = self.lines.leave(ticket, keys);
        while let Some(ticket) = next {
            if !self.is_overdue(now, ticket) {
                return self.may_ask(now, ticket);
            }
            next = self.lines.leave(ticket, keys);
            self.overdue_in_line(now, ticket);
        }
    }

    /// The next of those behind the first that still waits.
    pub(super) fn patient_heir(&mut self, now: Moment, keys: &KeySet) -> Option<Ticket> {
        while let Some(heir) = self.lines.heir(keys) {
            if !self.is_overdue(now, heir) {
                return Some(heir);
            }
            self.lines.leave(heir, keys);
            self.overdue_in_line(now, heir);
        }
        None
    }

    fn is_overdue(&self, now: Moment, ticket: Ticket) -> bool {
        let Some(ask) = self.asks.get(&ticket) else {
            return false;
        };
        ask.ends_at.is_some_and(|at| at <= now) && self.prolonged(now, ask).is_none()
    }

    /// The patience of one that never got to ask has ended. It has left its line already.
    fn overdue_in_line(&mut self, now: Moment, ticket: Ticket) {
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.has_place = false;
            self.ask_ends(now, ticket);
        }
    }

    /// What one is told whose turn did not come in time.
    pub(super) fn queue_timed_out(&self, keys: &KeySet) -> Outcome {
        match (&self.link, keys.iter().next()) {
            (Link::New(_) | Link::Up, Some(key)) => Outcome::TimedOut(key.clone()),
            (Link::Down(why), _) => Outcome::Failed(why.clone()),
            // Nobody waits for no keys.
            (_, None) => Outcome::Failed(self.unreachable("in time")),
        }
    }
}
