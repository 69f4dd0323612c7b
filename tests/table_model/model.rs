//! The naive table: a list of those who wait, a map of what is held, and the rule applied to every one in turn.
//!
//! It has no queues, no indexes and no timers, so there is nothing in it that could be out of step. It is right if
//! [`Model::blocking`] says the rule and [`Model::settle`] applies it to whoever came first.

use std::collections::BTreeMap;
use std::sync::Arc;

use medusa_locking_native::core::error::RequestError;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::table::{
    Change, Claim, Client, Effect, Limits, LockView, Ownerless, Patience, Request, Verdict,
};
use medusa_locking_native::core::ticket::Ticket;

use super::history::{Answer, Call};
use super::outlived::Outlived;

/// A key that is held.
struct Held {
    owner: Owner,
    grant: Ticket,
    expires_at: Option<Moment>,
    /// Another request has taken the same lock since, so that it is no longer only the first one's to give back.
    taken_again: bool,
}

/// A job that runs.
struct Running {
    request: Request,
    lost: bool,
}

/// What somebody must be told.
#[derive(Clone, Debug)]
pub struct Told {
    pub client: Client,
    pub ticket: Ticket,
    pub news: News,
}

#[derive(Clone, Debug)]
pub enum News {
    Granted,
    TimedOut(Arc<str>),
    /// These keys at once; it does not matter which of them is named.
    Lost(Vec<Arc<str>>),
}

impl Told {
    /// Whether `effect` says this.
    pub fn is_said_by(&self, effect: &Effect) -> bool {
        let same_news = match (&self.news, &effect.change) {
            (News::Granted, Change::Granted) => true,
            (News::TimedOut(key), Change::TimedOut(named)) => key == named,
            (News::Lost(keys), Change::Lost(named)) => keys.contains(named),
            _ => false,
        };
        same_news && (self.client, self.ticket) == (effect.client, effect.ticket)
    }
}

pub struct Model {
    ownerless: Ownerless,
    limits: Limits,
    /// In the order of their arrival.
    waiting: Vec<Request>,
    held: BTreeMap<Arc<str>, Held>,
    jobs: BTreeMap<Ticket, Running>,
    told: Vec<Told>,
    outlived: Outlived,
}

impl Model {
    pub fn new(ownerless: Ownerless, limits: Limits) -> Self {
        let (waiting, held, jobs, told, outlived) = Default::default();
        Model {
            ownerless,
            limits,
            waiting,
            held,
            jobs,
            told,
            outlived,
        }
    }

    /// What the call answers and whom it tells what, in order.
    pub fn make(&mut self, now: Moment, call: &Call) -> (Answer, Vec<Told>) {
        if !matches!(call, Call::Nothing) {
            self.tick(now);
        }
        let answer = match call {
            Call::Request(request) => Answer::Verdict(self.request(now, request)),
            Call::Finish(ticket) => Answer::Truth(self.finish(*ticket)),
            Call::Release(keys, owner) => {
                let open = self.ownerless == Ownerless::Open;
                let theirs = self.keys_not_outlived(now, keys.as_slice(), owner);
                let freed = self.free(|key, held| {
                    theirs.iter().any(|named| **named == *key)
                        && (held.owner == *owner || (open && held.owner == Owner::Anyone))
                });
                Answer::Truth(freed == keys.len())
            }
            Call::ReleaseAll(owner) => {
                self.free(|_, held| owner.as_ref().is_none_or(|owner| held.owner == *owner));
                Answer::Nothing
            }
            Call::Cancel(ticket) => {
                self.waiting.retain(|request| request.ticket != *ticket);
                self.finish(*ticket);
                self.free(|_, held| held.grant == *ticket && !held.taken_again);
                Answer::Nothing
            }
            Call::LeaveQueues(client) => Answer::Tickets(self.leave_queues(*client)),
            Call::Leave(client) => {
                self.leave_queues(*client);
                for ticket in self.jobs_of(*client) {
                    self.finish(ticket);
                }
                Answer::Nothing
            }
            Call::Tick | Call::Nothing => Answer::Nothing,
        };
        if !matches!(call, Call::Nothing) {
            self.settle(now);
        }
        (answer, std::mem::take(&mut self.told))
    }

    /// The rule: the first key that `request` cannot have, when `ahead` came before it and wait.
    fn blocking(&self, request: &Request, ahead: &[Request]) -> Option<Arc<str>> {
        let cannot_have = |key: &&Arc<str>| match self.held.get(*key) {
            Some(held) => !self.may_take_over(&held.owner, &request.claim),
            None => ahead
                .iter()
                .any(|earlier| earlier.keys.iter().any(|wanted| wanted == *key)),
        };
        request.keys.iter().find(cannot_have).cloned()
    }

    /// The exception to "held means held".
    fn may_take_over(&self, holder: &Owner, claim: &Claim) -> bool {
        match (holder, claim) {
            (
                Owner::Named(name),
                Claim::Lock {
                    owner: Owner::Named(other),
                    ..
                },
            ) => name == other,
            (Owner::Anyone, Claim::Lock { .. }) => self.ownerless == Ownerless::Open,
            _ => false,
        }
    }

    /// Grants the first who may be granted, and begins again, until nobody may.
    fn settle(&mut self, now: Moment) {
        let may = |model: &Model, at: &usize| {
            model
                .blocking(&model.waiting[*at], &model.waiting[..*at])
                .is_none()
        };
        while let Some(at) = (0..self.waiting.len()).find(|at| may(self, at)) {
            let request = self.waiting.remove(at);
            self.tell(request.client, request.ticket, News::Granted);
            self.hold(now, &request);
        }
    }

    /// Without those for which a release without an owner comes from whoever had a lock that has lapsed.
    fn keys_not_outlived(&mut self, now: Moment, keys: &[Arc<str>], owner: &Owner) -> Vec<Arc<str>> {
        let is_outlived = |key: &Arc<str>| {
            let holder = self.held.get(key).filter(|held| held.owner == Owner::Anyone);
            let holder = holder.map(|held| (held.grant, held.expires_at));
            *owner == Owner::Anyone && self.outlived.takes(now, key, holder)
        };
        let (_, theirs) = keys.iter().cloned().partition::<Vec<_>, _>(is_outlived);
        theirs
    }

    /// First the locks that have expired end, all at once; then the waits, one after the other.
    fn tick(&mut self, now: Moment) {
        let expired = |held: &Held| held.expires_at.is_some_and(|at| at <= now);
        while self.held.values().any(expired) {
            for (key, held) in self.held.iter().filter(|(_, held)| expired(held)) {
                if let (Owner::Anyone, Ownerless::Exclusive, Some(at)) =
                    (&held.owner, self.ownerless, held.expires_at)
                {
                    self.outlived.note(key, held.grant, at);
                }
            }
            self.held.retain(|_, held| !expired(held));
            self.settle(now);
        }
        let patience_of = |request: &Request| match request.patience {
            Patience::Until(moment) => moment,
            Patience::Refuse | Patience::Forever => Moment::NEVER,
        };
        let first = |model: &Model| {
            let order = |at: &usize| (patience_of(&model.waiting[*at]), *at);
            (0..model.waiting.len())
                .min_by_key(order)
                .filter(|at| order(at).0 <= now)
        };
        while let Some(at) = first(self) {
            let key = self.blocking(&self.waiting[at], &self.waiting[..at]);
            let request = self.waiting.remove(at);
            self.tell(
                request.client,
                request.ticket,
                News::TimedOut(key.unwrap_or_default()),
            );
            self.settle(now);
        }
    }

    fn request(&mut self, now: Moment, request: &Request) -> Result<Verdict, RequestError> {
        let Some(key) = self.blocking(request, &self.waiting) else {
            self.hold(now, request);
            return Ok(Verdict::Granted);
        };
        match request.patience {
            Patience::Refuse => return Ok(Verdict::Refused(key)),
            Patience::Until(moment) if moment <= now => return Ok(Verdict::Refused(key)),
            Patience::Until(_) | Patience::Forever => {}
        }
        let Limits {
            waiters_per_key_max,
            waiters_max,
        } = self.limits;
        if self.waiting.len() >= waiters_max {
            return Err(RequestError::Waiters { max: waiters_max });
        }
        if let Some(key) = request
            .keys
            .iter()
            .find(|key| self.waiters_of(key) >= waiters_per_key_max)
        {
            return Err(RequestError::WaitersPerKey {
                key: key.to_string(),
                max: waiters_per_key_max,
            });
        }
        self.waiting.push(request.clone());
        Ok(Verdict::Queued)
    }

    fn hold(&mut self, now: Moment, request: &Request) {
        let (owner, expires_at) = match &request.claim {
            Claim::Job => (Owner::Job(request.ticket), None),
            Claim::Lock { owner, expire } => (owner.clone(), expire.map(|span| now.after(span))),
        };
        for key in &request.keys {
            let before = self.held.get(key).map(|held| held.grant);
            let grant = before.unwrap_or(request.ticket);
            let held = Held {
                owner: owner.clone(),
                grant,
                expires_at,
                taken_again: before.is_some(),
            };
            self.held.insert(Arc::clone(key), held);
        }
        if request.claim == Claim::Job {
            self.jobs.insert(
                request.ticket,
                Running {
                    request: request.clone(),
                    lost: false,
                },
            );
        }
    }

    fn leave_queues(&mut self, client: Client) -> Vec<Ticket> {
        let left = self.waiting.extract_if(.., |request| request.client == client);
        left.map(|request| request.ticket).collect()
    }

    fn finish(&mut self, ticket: Ticket) -> bool {
        let job = self.jobs.remove(&ticket);
        self.held.retain(|_, held| held.owner != Owner::Job(ticket));
        job.is_some_and(|job| !job.lost)
    }

    /// Frees the keys for which `condition` holds; says how many these were. The jobs among the holders are told.
    fn free(&mut self, condition: impl Fn(&str, &Held) -> bool) -> usize {
        let before = self.held.len();
        for (ticket, job) in &mut self.jobs {
            let lost =
                |(key, held): &(&Arc<str>, &Held)| held.owner == Owner::Job(*ticket) && condition(key, held);
            let keys: Vec<Arc<str>> = self
                .held
                .iter()
                .filter(lost)
                .map(|(key, _)| Arc::clone(key))
                .collect();
            if !keys.is_empty() && !job.lost {
                job.lost = true;
                let (client, news) = (job.request.client, News::Lost(keys));
                self.told.push(Told {
                    client,
                    ticket: *ticket,
                    news,
                });
            }
        }
        for (key, held) in self.held.iter().filter(|(key, held)| condition(key, held)) {
            self.outlived.forget(key, held.grant);
        }
        self.held.retain(|key, held| !condition(key, held));
        before - self.held.len()
    }

    fn tell(&mut self, client: Client, ticket: Ticket, news: News) {
        self.told.push(Told { client, ticket, news });
    }
}

/// What can be seen of it.
impl Model {
    pub fn inspect_all(&self, now: Moment) -> Vec<LockView> {
        let live = self
            .held
            .iter()
            .filter(|(_, held)| held.expires_at.is_none_or(|at| at > now));
        live.map(|(key, held)| LockView {
            key: key.to_string(),
            owner: held.owner.clone(),
            grant: held.grant,
            expires_in: held.expires_at.map(|at| at.since(now)),
            waiting: self.waiters_of(key),
        })
        .collect()
    }

    pub fn waiters_of(&self, key: &str) -> usize {
        self.waiting
            .iter()
            .filter(|request| request.keys.iter().any(|wanted| **wanted == *key))
            .count()
    }

    pub fn waiting(&self) -> Vec<Ticket> {
        self.waiting.iter().map(|request| request.ticket).collect()
    }

    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// How many of `keys` are held or waited for.
    pub fn in_use(&self, keys: &[&str]) -> usize {
        keys.iter()
            .filter(|key| self.held.contains_key(**key) || self.waiters_of(key) > 0)
            .count()
    }

    pub fn next_deadline(&self) -> Moment {
        let expiries = self.held.values().filter_map(|held| held.expires_at);
        let timeouts = self.waiting.iter().filter_map(|request| match request.patience {
            Patience::Until(moment) => Some(moment),
            Patience::Refuse | Patience::Forever => None,
        });
        expiries.chain(timeouts).min().unwrap_or(Moment::NEVER)
    }

    fn jobs_of(&self, client: Client) -> Vec<Ticket> {
        let running = self.jobs.iter().filter(|(_, job)| job.request.client == client);
        running.map(|(ticket, _)| *ticket).collect()
    }
}
