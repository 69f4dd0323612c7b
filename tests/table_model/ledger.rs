//! What the callers of a table know, and what must be true of that.
//!
//! The ledger never looks into the table. It writes down what was asked and what was answered, derives from that who
//! must believe to hold what, and complains as soon as two beliefs contradict each other or the table. It states each
//! property by itself, so that a mistake that the table and the model have in common is still found.

use std::collections::BTreeMap;
use std::sync::Arc;

use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::table::{Change, Claim, Client, Effect, Ownerless, Request, Table, Verdict};
use medusa_locking_native::core::ticket::Ticket;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::history::{Answer, Call};
use super::outlived::Outlived;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// It was granted. Of a job: it runs.
    Granted,
    /// It is a job that was told that it lost a key.
    Lost,
    /// It was refused, timed out, cancelled, finished, or its client left.
    Over,
}

struct Entry {
    request: Request,
    state: State,
}

/// Somebody believes to hold a key.
struct Belief {
    owner: Owner,
    /// The requests that were told so; more than one after a lock was taken again.
    takers: Vec<Ticket>,
    expires_at: Option<Moment>,
}

pub struct Ledger {
    ownerless: Ownerless,
    entries: BTreeMap<Ticket, Entry>,
    held: BTreeMap<Arc<str>, Belief>,
    /// The last request that got each key when nobody held it.
    last_grants: BTreeMap<Arc<str>, Ticket>,
    outlived: Outlived,
}

impl Ledger {
    pub fn new(ownerless: Ownerless) -> Self {
        let (entries, held, last_grants, outlived) = Default::default();
        Ledger {
            ownerless,
            entries,
            held,
            last_grants,
            outlived,
        }
    }

    /// Writes down a call and what came of it.
    pub fn note(&mut self, now: Moment, call: &Call, answer: &Answer, effects: &[Effect]) -> TestCaseResult {
        match call {
            Call::Request(request) => self.note_request(now, request, answer)?,
            Call::Finish(ticket) => {
                let ours = self.state(*ticket) == Some(State::Granted) && self.is_job(*ticket);
                prop_assert_eq!(
                    answer,
                    &Answer::Truth(ours),
                    "finish tells whether the job kept its keys"
                );
                self.end_job(*ticket);
            }
            Call::Release(keys, owner) => {
                let open = self.ownerless == Ownerless::Open;
                let mut freed = Vec::new();
                for key in keys {
                    let held = self.held.get(key);
                    let holder = held.filter(|held| held.owner == Owner::Anyone);
                    let holder = holder.map(|held| (held.takers[0], held.expires_at));
                    let is_outlived = *owner == Owner::Anyone && self.outlived.takes(now, key, holder);
                    let frees = |held: &Belief| held.owner == *owner || (open && held.owner == Owner::Anyone);
                    if !is_outlived && held.is_some_and(frees) {
                        freed.push(key);
                    }
                }
                let all = freed.len() == keys.len();
                prop_assert_eq!(
                    answer,
                    &Answer::Truth(all),
                    "release tells whether all keys were the owner's"
                );
                let freed: Vec<Arc<str>> = freed.into_iter().cloned().collect();
                self.release_where(|key, _| freed.contains(key));
            }
            Call::ReleaseAll(owner) => {
                self.release_where(|_, held| owner.as_ref().is_none_or(|owner| held.owner == *owner));
            }
            Call::Cancel(ticket) => {
                if self.state(*ticket) == Some(State::Waiting) {
                    self.set(*ticket, State::Over);
                }
                self.end_job(*ticket);
                self.release_where(|_, held| held.takers == [*ticket]);
            }
            Call::LeaveQueues(client) => {
                let left = self.leave_queues(*client);
                prop_assert_eq!(answer, &Answer::Tickets(left), "leave_queues tells who waited");
            }
            Call::Leave(client) => {
                self.leave_queues(*client);
                for ticket in self.of_client(*client) {
                    self.end_job(ticket);
                }
            }
            Call::Tick => {
                let mut held = std::mem::take(&mut self.held);
                held.retain(|key, held| !self.lapses(now, key, held));
                self.held = held;
            }
            Call::Nothing => {}
        }
        self.note_effects(now, effects)
    }

    /// These locks are released: nobody believes in them, and nobody can come too late for them.
    fn release_where(&mut self, goes: impl Fn(&Arc<str>, &Belief) -> bool) {
        let outlived = &mut self.outlived;
        self.held.retain(|key, held| {
            let stays = !goes(key, held);
            if !stays {
                outlived.forget(key, held.takers[0]);
            }
            stays
        });
    }

    /// Whether a lock has lapsed by now.
    fn lapses(&mut self, now: Moment, key: &Arc<str>, held: &Belief) -> bool {
        let lapsed_at = held.expires_at.filter(|at| *at <= now);
        if let (Owner::Anyone, Ownerless::Exclusive, Some(at)) = (&held.owner, self.ownerless, lapsed_at) {
            self.outlived.note(key, held.takers[0], at);
        }
        lapsed_at.is_some()
    }

    fn note_request(&mut self, now: Moment, request: &Request, answer: &Answer) -> TestCaseResult {
        let ticket = request.ticket;
        self.entries.insert(
            ticket,
            Entry {
                request: request.clone(),
                state: State::Waiting,
            },
        );
        match answer {
            Answer::Verdict(Ok(Verdict::Queued)) => Ok(()),
            Answer::Verdict(Ok(Verdict::Granted)) => self.note_grant(now, ticket),
            Answer::Verdict(Ok(Verdict::Refused(key))) => {
                prop_assert!(
                    !self.may_have(request, key),
                    "{ticket:?} was refused for {key}, which it may have"
                );
                self.set(ticket, State::Over);
                Ok(())
            }
            _ => Err(TestCaseError::fail(format!("{ticket:?} was answered {answer:?}"))),
        }
    }

    fn note_effects(&mut self, now: Moment, effects: &[Effect]) -> TestCaseResult {
        // First the ends, then the grants: whoever was let through by somebody's end did not overtake him.
        let is_end = |effect: &&Effect| matches!(effect.change, Change::TimedOut(_));
        for Effect { ticket, .. } in effects.iter().filter(is_end) {
            prop_assert_eq!(
                self.state(*ticket),
                Some(State::Waiting),
                "{:?} timed out but did not wait",
                ticket
            );
            self.set(*ticket, State::Over);
        }
        for Effect {
            client,
            ticket,
            change,
        } in effects
        {
            let told = self.entries.get(ticket).map(|entry| entry.request.client);
            prop_assert_eq!(told, Some(*client), "{:?} was answered to a stranger", ticket);
            match change {
                Change::Granted => self.note_grant(now, *ticket)?,
                Change::TimedOut(_) => {}
                Change::Lost(_) => {
                    let runs = self.is_job(*ticket) && self.state(*ticket) == Some(State::Granted);
                    prop_assert!(runs, "{ticket:?} lost a key but did not run, or was told before");
                    self.set(*ticket, State::Lost);
                }
            }
        }
        Ok(())
    }

    /// The properties of a grant: nobody else holds the keys, nobody was overtaken, the tickets rise, it was wanted.
    fn note_grant(&mut self, now: Moment, ticket: Ticket) -> TestCaseResult {
        prop_assert_eq!(
            self.state(ticket),
            Some(State::Waiting),
            "{:?} was granted but did not wait",
            ticket
        );
        self.set(ticket, State::Granted);
        let request = self.entries[&ticket].request.clone();
        let (owner, expires_at) = match &request.claim {
            Claim::Job => (Owner::Job(ticket), None),
            Claim::Lock { owner, expire } => (owner.clone(), expire.map(|span| now.after(span))),
        };
        for key in &request.keys {
            let before = self.held.remove(key);
            let before = before.filter(|held| !self.lapses(now, key, held));
            let mut takers = Vec::new();
            if let Some(before) = before {
                let holder = &before.owner;
                let open = self.admits(holder, &request.claim);
                prop_assert!(open, "{ticket:?} was granted {key}, which {holder:?} holds");
                takers = before.takers;
            } else {
                let first = self.first_who_waits_for(key).unwrap_or(ticket);
                prop_assert!(first >= ticket, "{ticket:?} overtook {first:?} on {key}");
                let last = self.last_grants.insert(Arc::clone(key), ticket);
                prop_assert!(last < Some(ticket), "{ticket:?} was granted {key} after {last:?}");
            }
            takers.push(ticket);
            self.held.insert(
                Arc::clone(key),
                Belief {
                    owner: owner.clone(),
                    takers,
                    expires_at,
                },
            );
        }
        Ok(())
    }

    /// The properties of a table at rest: it shows what the callers believe, and whoever waits is kept waiting by
    /// somebody.
    pub fn check_at_rest(&self, now: Moment, table: &Table) -> TestCaseResult {
        let mut shown: Vec<_> = table
            .inspect_all(now)
            .into_iter()
            .map(|lock| (lock.key, lock.owner))
            .collect();
        shown.sort_by(|one, other| one.0.cmp(&other.0));
        let live = self
            .held
            .iter()
            .filter(|(_, held)| held.expires_at.is_none_or(|at| at > now));
        let believed: Vec<_> = live
            .map(|(key, held)| (key.to_string(), held.owner.clone()))
            .collect();
        prop_assert_eq!(shown, believed, "the table shows, the callers believe");

        for (ticket, Entry { request, state }) in &self.entries {
            let waits = *state == State::Waiting;
            prop_assert_eq!(table.is_waiting(*ticket), waits, "{:?} is {:?}", ticket, state);
            let left_behind = waits && request.keys.iter().all(|key| self.may_have(request, key));
            prop_assert!(!left_behind, "{ticket:?} waits for nobody");
        }
        Ok(())
    }

    /// The jobs that were granted and have not been finished, also those that lost a key.
    pub fn jobs(&self) -> Vec<Ticket> {
        let running = |entry: &&Entry| matches!(entry.state, State::Granted | State::Lost);
        let jobs = self
            .entries
            .values()
            .filter(running)
            .filter(|entry| entry.request.claim == Claim::Job);
        jobs.map(|entry| entry.request.ticket).collect()
    }

    /// Whether nobody stands between `request` and `key`.
    fn may_have(&self, request: &Request, key: &Arc<str>) -> bool {
        match self.held.get(key) {
            Some(held) => self.admits(&held.owner, &request.claim),
            None => self
                .first_who_waits_for(key)
                .is_none_or(|first| first >= request.ticket),
        }
    }

    /// The written exception: an owner takes again what its name holds, and an open lock is open to every `acquire`.
    fn admits(&self, holder: &Owner, claim: &Claim) -> bool {
        let Claim::Lock { owner, .. } = claim else {
            return false;
        };
        holder.is_same_named(owner) || (self.ownerless == Ownerless::Open && *holder == Owner::Anyone)
    }

    fn first_who_waits_for(&self, key: &Arc<str>) -> Option<Ticket> {
        let waits = |entry: &&Entry| {
            entry.state == State::Waiting && entry.request.keys.iter().any(|wanted| wanted == key)
        };
        self.entries
            .values()
            .find(waits)
            .map(|entry| entry.request.ticket)
    }

    fn state(&self, ticket: Ticket) -> Option<State> {
        self.entries.get(&ticket).map(|entry| entry.state)
    }

    fn set(&mut self, ticket: Ticket, state: State) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.state = state;
        }
    }

    fn is_job(&self, ticket: Ticket) -> bool {
        self.entries
            .get(&ticket)
            .is_some_and(|entry| entry.request.claim == Claim::Job)
    }

    fn of_client(&self, client: Client) -> Vec<Ticket> {
        let theirs = self
            .entries
            .values()
            .filter(|entry| entry.request.client == client);
        theirs.map(|entry| entry.request.ticket).collect()
    }

    fn leave_queues(&mut self, client: Client) -> Vec<Ticket> {
        let mut left = self.of_client(client);
        left.retain(|ticket| self.state(*ticket) == Some(State::Waiting));
        left.iter().for_each(|ticket| self.set(*ticket, State::Over));
        left
    }

    fn end_job(&mut self, ticket: Ticket) {
        let runs = matches!(self.state(ticket), Some(State::Granted | State::Lost));
        if runs && self.is_job(ticket) {
            self.held.retain(|_, held| held.owner != Owner::Job(ticket));
            self.set(ticket, State::Over);
        }
    }
}
