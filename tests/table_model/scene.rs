//! A table with a clock and a ticket counter, for tests that are written out call by call.

use std::cell::Cell;

use medusa_locking_native::core::error::RequestError;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{
    Change, Claim, Client, Effect, Limits, Ownerless, Released, Request, Table, Verdict,
};
use medusa_locking_native::core::ticket::Ticket;

use super::history::key_set;

pub struct Scene {
    pub table: Table,
    pub now: Moment,
    /// Who asks.
    pub client: Client,
    effects: Vec<Effect>,
}

/// A request that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Granted(Ticket),
    Queued(Ticket),
    Refused,
}

impl Scene {
    pub fn new(ownerless: Ownerless, limits: Limits) -> Self {
        let now = Moment::from_ms(1_000);
        Scene {
            table: Table::new(ownerless, limits, next_number),
            now,
            client: Client(1),
            effects: Vec::new(),
        }
    }

    /// Asks, and hands out whatever came of it.
    pub fn try_ask(
        &mut self,
        keys: &[&str],
        claim: Claim,
        patience: Patience,
    ) -> Result<Asked, RequestError> {
        let (ticket, keys) = (next_number(), key_set(keys.iter().copied()));
        let request = Request {
            ticket,
            client: self.client,
            keys,
            claim,
            patience,
        };
        Ok(match self.table.request(self.now, request, &mut self.effects)? {
            Verdict::Granted => Asked::Granted(ticket),
            Verdict::Queued => Asked::Queued(ticket),
            Verdict::Refused(_) => Asked::Refused,
        })
    }

    /// The ticket of a request that must be granted at once.
    pub fn take(&mut self, keys: &[&str], claim: Claim) -> Ticket {
        match self.try_ask(keys, claim, Patience::Forever) {
            Ok(Asked::Granted(ticket)) => ticket,
            other => panic!("expected {keys:?} to be granted, got {other:?}"),
        }
    }

    /// The ticket of a request that must wait.
    pub fn queue(&mut self, keys: &[&str], claim: Claim) -> Ticket {
        self.queue_with(keys, claim, Patience::Forever)
    }

    /// The ticket of a request that must wait, for so long.
    pub fn queue_with(&mut self, keys: &[&str], claim: Claim, patience: Patience) -> Ticket {
        match self.try_ask(keys, claim, patience) {
            Ok(Asked::Queued(ticket)) => ticket,
            other => panic!("expected a wait for {keys:?}, got {other:?}"),
        }
    }

    pub fn finish(&mut self, ticket: Ticket) {
        assert!(
            self.table.finish(self.now, ticket, &mut self.effects),
            "{ticket:?} was not a job"
        );
    }

    pub fn release(&mut self, keys: &[&str], owner: &Owner) {
        let keys = key_set(keys.iter().copied());
        assert_eq!(
            self.table.release(self.now, &keys, owner, &mut self.effects),
            Released::All,
            "{owner:?} did not hold {keys:?}"
        );
    }

    pub fn leave(&mut self, client: Client) {
        self.table.leave(self.now, client, &mut self.effects);
    }

    pub fn cancel(&mut self, ticket: Ticket) {
        self.table.cancel(self.now, ticket, &mut self.effects);
    }

    /// Lets the time pass until `ms`, in one step.
    pub fn tick_at(&mut self, ms: u64) {
        self.now = Moment::from_ms(ms);
        self.table.tick(self.now, &mut self.effects);
    }

    /// The effects since the last look.
    pub fn news(&mut self) -> Vec<(Ticket, Change)> {
        self.effects
            .drain(..)
            .map(|effect| (effect.ticket, effect.change))
            .collect()
    }

    /// The effects since the last look, which must all be grants.
    pub fn grants(&mut self) -> Vec<Ticket> {
        let news = self.news();
        let grant = |(ticket, change)| {
            if matches!(change, Change::Granted(_)) {
                Ok(ticket)
            } else {
                Err(change)
            }
        };
        let grants: Result<Vec<Ticket>, Change> = news.into_iter().map(grant).collect();
        grants.unwrap_or_else(|change| panic!("expected grants, got {change:?}"))
    }

    /// Who holds `key`.
    pub fn owner_of(&self, key: &str) -> Option<Owner> {
        self.table.inspect_key(self.now, key).map(|lock| lock.owner)
    }
}

thread_local! {
    static LAST_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The next number of this test: a ticket, or a token, which is above all tickets before it.
pub fn next_number() -> Ticket {
    LAST_NUMBER.set(LAST_NUMBER.get() + 1);
    Ticket::new(LAST_NUMBER.get())
}

/// A request is made with a ticket of its own choice: tokens are above it from now on.
pub fn number_is_taken(ticket: Ticket) {
    LAST_NUMBER.set(ticket.number());
}

/// The owner of this name.
pub fn named(name: &str) -> Owner {
    Owner::Named(name.into())
}

/// A lock of this owner that does not expire.
pub fn lock(owner: &Owner) -> Claim {
    Claim::Lock {
        owner: owner.clone(),
        expire: None,
    }
}
