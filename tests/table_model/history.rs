//! Made-up histories: what happens to a table, call by call.

use std::fmt;
use std::time::Duration;

use medusa_locking_native::core::error::RequestError;
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{Claim, Client, Effect, Released, Request, Table, Verdict};
use medusa_locking_native::core::ticket::Ticket;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::scene::number_is_taken;

/// Few keys, owners and clients, so that they meet often.
pub const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const OWNERS: [&str; 3] = ["ada", "ben", "cyd"];
const CLIENTS: u32 = 3;

/// What the clock shows at first. Not zero, where a missing subtraction would go unnoticed.
const START_MS: u64 = 1_000;

/// How many calls a history has at most.
const CALLS_MAX: usize = 80;

/// So far apart are two tickets: the tokens of the grants between them are numbers between them.
const TICKETS_APART: u64 = 1_000;

/// One call of the table's interface.
#[derive(Clone, Debug)]
pub enum Call {
    Request(Request),
    Finish(Ticket),
    Release(KeySet, Owner),
    ReleaseAll(Option<Owner>),
    Cancel(Ticket),
    Leave(Client),
    LeaveQueues(Client),
    Tick,
    /// Not a call: time passes and nobody tells the table.
    Nothing,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Verdict(Result<Verdict, RequestError>),
    Truth(bool),
    /// In their order.
    Tickets(Vec<Ticket>),
    Nothing,
}

/// A call and when it is made. The moments of a history never go back.
#[derive(Clone)]
pub struct Event {
    pub now: Moment,
    pub call: Call,
}

/// In one line each, so that a failing history can be read as a list.
impl fmt::Debug for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ms: {:?}", self.now.as_ms(), self.call)
    }
}

/// Makes the call on the real table.
pub fn make(table: &mut Table, now: Moment, call: &Call, out: &mut Vec<Effect>) -> Answer {
    match call {
        Call::Request(request) => {
            number_is_taken(request.ticket);
            return Answer::Verdict(table.request(now, request.clone(), out));
        }
        Call::Finish(ticket) => return Answer::Truth(table.finish(now, *ticket, out)),
        Call::Release(keys, owner) => {
            return Answer::Truth(table.release(now, keys, owner, out) == Released::All);
        }
        Call::ReleaseAll(owner) => table.release_all(now, owner.as_ref(), out),
        Call::Cancel(ticket) => table.cancel(now, *ticket, out),
        Call::Leave(client) => table.leave(now, *client, out),
        Call::LeaveQueues(client) => {
            let mut tickets = table.leave_queues(now, *client, out);
            tickets.sort_unstable();
            return Answer::Tickets(tickets);
        }
        Call::Tick => table.tick(now, out),
        Call::Nothing => {}
    }
    Answer::Nothing
}

/// Any history. It shrinks by leaving out calls.
pub fn history() -> impl Strategy<Value = Vec<Event>> {
    let pause = prop_oneof![
        12 => Just(0_u64),
        6 => 1..=3_u64,
        2 => 4..=12_u64,
        // Who was refused is expected back for 50 ms and more, and for no longer than a second.
        1 => 40..=400_u64,
        1 => 990..=1_010_u64,
    ];
    prop::collection::vec((pause, draft()), 1..=CALLS_MAX).prop_map(written_out)
}

/// A call before it is known which tickets there are and what time it is.
#[derive(Clone, Debug)]
enum Draft {
    Request {
        client: u32,
        keys: Vec<&'static str>,
        claim: Claim,
        patience: Wait,
    },
    /// The same as an earlier one, by whom it may be.
    Again(Age, Wait),
    Finish(Age),
    Release(Vec<&'static str>, Who),
    ReleaseAll(Option<Who>),
    Cancel(Age),
    Leave(u32),
    LeaveQueues(u32),
    Tick,
    Nothing,
}

/// A request, by how many were made since. That way most calls concern a request that still waits or holds.
type Age = usize;

#[derive(Clone, Debug)]
enum Wait {
    Not,
    Ms(u64),
    /// The span, and the most.
    Moving(u64, u64),
    Forever,
}

impl Wait {
    fn at(&self, now: u64) -> Patience {
        let (now, ms) = (Moment::from_ms(now), Duration::from_millis);
        match *self {
            Wait::Not => Patience::Refuse,
            Wait::Ms(span) => Patience::Until(now.after(ms(span))),
            Wait::Moving(span, most) => Patience::while_moving(now, ms(span), ms(most)),
            Wait::Forever => Patience::Forever,
        }
    }
}

#[derive(Clone, Debug)]
enum Who {
    Caller(Owner),
    Job(Age),
}

fn draft() -> impl Strategy<Value = Draft> {
    let age = || prop_oneof![3 => 0..4_usize, 1 => 0..16_usize];
    let who = || prop_oneof![4 => caller().prop_map(Who::Caller), 1 => age().prop_map(Who::Job)];
    // Nothing first: a call that does not matter to a failure shrinks to it.
    prop_oneof![
        1 => Just(Draft::Nothing),
        16 => (0..CLIENTS, keys(), claim(), wait())
            .prop_map(|(client, keys, claim, patience)| Draft::Request { client, keys, claim, patience }),
        8 => (age(), wait()).prop_map(|(age, wait)| Draft::Again(age, wait)),
        6 => age().prop_map(Draft::Finish),
        7 => (keys(), who()).prop_map(|(keys, who)| Draft::Release(keys, who)),
        1 => prop::option::of(who()).prop_map(Draft::ReleaseAll),
        4 => age().prop_map(Draft::Cancel),
        1 => (0..CLIENTS).prop_map(Draft::Leave),
        1 => (0..CLIENTS).prop_map(Draft::LeaveQueues),
        3 => Just(Draft::Tick),
    ]
}

fn keys() -> impl Strategy<Value = Vec<&'static str>> {
    let some = |sizes| subsequence(KEYS.to_vec(), sizes);
    prop_oneof![5 => some(1..=2), 3 => some(2..=3), 1 => some(0..=KEYS.len())]
}

fn caller() -> impl Strategy<Value = Owner> {
    prop_oneof![
        1 => Just(Owner::Anyone),
        2 => select(OWNERS.to_vec()).prop_map(|name| Owner::Named(name.into())),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    let expire =
        prop_oneof![4 => Just(None), 3 => (1..=8_u64).prop_map(|ms| Some(Duration::from_millis(ms)))];
    prop_oneof![
        2 => Just(Claim::Job),
        3 => (caller(), expire).prop_map(|(owner, expire)| Claim::Lock { owner, expire }),
    ]
}

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        3 => Just(Wait::Not),
        3 => (0..=8_u64).prop_map(Wait::Ms),
        2 => (1..=6_u64, 0..=30_u64).prop_map(|(span, most)| Wait::Moving(span, most)),
        4 => Just(Wait::Forever)
    ]
}

/// Gives the drafts their tickets and their moments.
fn written_out(drafts: Vec<(u64, Draft)>) -> Vec<Event> {
    let (mut now, mut requests) = (START_MS, Vec::new());
    let matters = |(pause, draft): &(u64, Draft)| *pause > 0 || !matches!(draft, Draft::Nothing);
    let written = drafts.into_iter().filter(matters).map(|(pause, draft)| {
        now += pause;
        let call = draft.at(now, &requests);
        if let Call::Request(request) = &call {
            requests.push(request.clone());
        }
        Event {
            now: Moment::from_ms(now),
            call,
        }
    });
    written.collect()
}

impl Draft {
    fn at(self, now: u64, requests: &[Request]) -> Call {
        let of_age = |age: Age| requests.iter().rev().nth(age);
        // An age before the first request means ticket 0, which nobody has.
        let ticket = |age: Age| of_age(age).map_or(Ticket::new(0), |request| request.ticket);
        let next = Ticket::new((requests.len() as u64 + 1) * TICKETS_APART);
        let owner = |who| match who {
            Who::Caller(owner) => owner,
            Who::Job(age) => Owner::Job(ticket(age)),
        };
        match self {
            Draft::Request {
                client,
                keys,
                claim,
                patience,
            } => Call::Request(Request {
                ticket: next,
                client: Client(client),
                keys: key_set(keys),
                claim,
                patience: patience.at(now),
            }),
            Draft::Again(age, patience) => match of_age(age) {
                Some(request) => Call::Request(Request {
                    ticket: next,
                    patience: patience.at(now),
                    ..request.clone()
                }),
                None => Call::Nothing,
            },
            Draft::Finish(age) => Call::Finish(ticket(age)),
            Draft::Release(keys, who) => Call::Release(key_set(keys), owner(who)),
            Draft::ReleaseAll(who) => Call::ReleaseAll(who.map(owner)),
            Draft::Cancel(age) => Call::Cancel(ticket(age)),
            Draft::Leave(client) => Call::Leave(Client(client)),
            Draft::LeaveQueues(client) => Call::LeaveQueues(Client(client)),
            Draft::Tick => Call::Tick,
            Draft::Nothing => Call::Nothing,
        }
    }
}

/// The set of these keys, which are within the bounds.
pub fn key_set<'k>(keys: impl IntoIterator<Item = &'k str>) -> KeySet {
    KeySet::new(keys).unwrap_or_else(|error| panic!("{error}"))
}
