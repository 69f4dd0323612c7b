//! The local queue: who of this member may ask the server.

use std::sync::Arc;

use super::{Fleet, Link};
use crate::core::moment::Moment;
use crate::core::outcome::Outcome;
use crate::core::table::{Change, Effect, Table};
use crate::core::ticket::Ticket;

impl Fleet {
    /// Runs one turn of the local table and follows up on what it granted and ended.
    pub(super) fn in_table<R>(
        &mut self,
        now: Moment,
        turn: impl FnOnce(&mut Table, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = std::mem::take(&mut self.effects);
        let result = turn(&mut self.table, &mut effects);
        for Effect { ticket, change, .. } in effects.drain(..) {
            match change {
                Change::Granted => self.may_ask(now, ticket),
                Change::TimedOut(key) => self.queue_timed_out(now, ticket, key),
                // Only `finish` frees a local place, so nobody else can have taken it.
                Change::Lost(_) => {}
            }
        }
        self.effects = effects;
        result
    }

    /// For each key of `job`, whether others wait for it here; empty: for none.
    pub(super) fn wanted_more(&self, job: Ticket) -> Vec<bool> {
        if !self.table.is_waited_for(job) {
            return Vec::new();
        }
        let keys = self.table.keys_of(job).into_iter().flatten();
        keys.map(|key| self.table.waiters_of(key) > 0).collect()
    }

    /// Gives up the local place of `ticket`: the next one in the queue may ask.
    pub(super) fn leave_table(&mut self, now: Moment, ticket: Ticket) {
        self.in_table(now, |table, effects| table.cancel(now, ticket, effects));
    }

    fn queue_timed_out(&mut self, now: Moment, ticket: Ticket, key: Arc<str>) {
        let Some(ask) = self.asks.get(&ticket) else {
            return;
        };
        let outcome = match &self.link {
            Link::New(_) | Link::Up => Outcome::TimedOut(key),
            Link::Down(why) => Outcome::Failed(why.clone()),
        };
        let may_have_extended = ask.may_have_extended();
        self.tell(ticket, outcome);
        if may_have_extended {
            self.ask_abandoned(now, ticket);
        } else {
            self.remove_ask(ticket);
        }
    }
}
