//! Waiting on while the lock changes hands.
//!
//! A default wait is there to give up on a lock that is stuck. It begins anew with each change of hands that this member
//! knows of: what its own callers were granted and gave back, and what the server says to a poll of those who wait there.
//! That is asked for no more often than without this: the last poll before the end comes at the end.

use std::time::Duration;

use super::ask::{Ask, Phase};
use super::{Fleet, Timer};
use crate::core::moment::Moment;
use crate::core::patience::Patience;
use crate::core::ticket::Ticket;

/// For how long what the server said of a lock is taken for true at the end of a wait.
const FRESH: Duration = Duration::from_millis(50);

/// How long the end of a wait is put off for the server's answer.
const LAST_LOOK: Duration = Duration::from_millis(150);

impl Fleet {
    /// Until when an ask waits on although its wait has come to its end; None: the lock is stuck.
    pub(super) fn prolonged(&self, now: Moment, ask: &Ask) -> Option<Moment> {
        ask.wish
            .patience
            .prolonged(now)
            .filter(|_| self.is_up() && ask.has_caller())?;
        let (moved_at, _) = self.lines.movement(&ask.wish.keys)?;
        ask.wish.patience.prolonged(moved_at).filter(|later| *later > now)
    }

    /// The wait of `ticket` has come to its end: whether it goes on, because the lock has changed hands or the server is asked
    /// once more whether it has.
    pub(super) fn waits_on(&mut self, now: Moment, ticket: Ticket) -> bool {
        let Some(ask) = self.asks.get(&ticket) else {
            return false;
        };
        let (ends_at, takes_last_look) = match (self.prolonged(now, ask), self.looks_again_until(now, ask)) {
            (Some(later), _) => (later, false),
            (None, Some(until)) => (until, true),
            (None, None) => return false,
        };
        let first = self.lines.first(&ask.wish.keys);
        if let Some(ask) = self.asks.get_mut(&ticket) {
            (ask.ends_at, ask.takes_last_look) = (Some(ends_at), takes_last_look);
            self.arm(ends_at, Timer::AskEnds(ticket));
        }
        if let Some(first) = first.filter(|_| takes_last_look) {
            self.poll_now(now, first);
        }
        true
    }

    /// Until when the server's answer is waited for, if that can say more than it did and has not been asked for this ask's
    /// sake already. Behind one whose caller is away, the next one asks when that
    /// is over.
    fn looks_again_until(&self, now: Moment, ask: &Ask) -> Option<Moment> {
        let Patience::WhileMoving { last, .. } = ask.wish.patience else {
            return None;
        };
        // One that has left its line would wait for a turn that never comes.
        let has_left = ask.phase == Phase::Queued && !ask.has_place;
        if ask.takes_last_look || has_left || last <= now || !self.is_up() {
            return None;
        }
        let keys = &ask.wish.keys;
        let first = self.lines.first(keys).and_then(|first| self.asks.get(&first))?;
        let is_stale = |(_, seen_at): (Moment, Moment)| seen_at.after(FRESH) <= now;
        let asks = first.visit.is_away() || matches!(first.phase, Phase::Waiting | Phase::Sent);
        let can_say_more = asks && self.lines.movement(keys).is_some_and(is_stale);
        let absence_ends = first.ends_at.filter(|_| first.visit.is_away());
        can_say_more.then(|| absence_ends.unwrap_or(now).after(LAST_LOOK).min(last))
    }

    fn poll_now(&mut self, now: Moment, ticket: Ticket) {
        if (self.asks.get(&ticket)).is_some_and(|ask| ask.phase == Phase::Waiting && !ask.caller_gone) {
            self.send_ask(now, ticket);
        }
    }

    /// The server has told `ticket`, which waits there, for how long the lock has been with its holder.
    pub(super) fn line_seen(&mut self, now: Moment, ticket: Ticket, held_for: Duration) {
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        self.lines.seen(now, &ask.wish.keys, held_for);
        if ask.takes_last_look {
            self.ask_ends(now, ticket);
        }
    }
}
