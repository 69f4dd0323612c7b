//! The naive table: a list of those who wait, a map of what is held, and the rule applied to every one in turn.
//!
//! It has no queues, no indexes and no timers, so there is nothing in it that could be out of step. It is right if
//! [`Model::blocking`] says the rule and [`Model::settle`] applies it to whoever came first. Who was refused and comes back
//! stands where it stood: `returns` says when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use medusa_locking_native::core::error::RequestError;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::{
    Change, Claim, Client, Effect, Limits, LockView, Ownerless, Request, Verdict,
};
use medusa_locking_native::core::ticket::Ticket;

use super::history::{Answer, Call};
use super::outlived::Outlived;
use super::returns::{Left, Waiting};

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
            (News::Granted, Change::Granted(_)) => true,
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
    /// In the order of their places.
    pub(super) waiting: Vec<Waiting>,
    /// What callers left behind that were refused, the oldest first.
    pub(super) left: Vec<Left>,
    /// When each key was last taken or freed.
    changed_at: BTreeMap<Arc<str>, Moment>,
    held: BTreeMap<Arc<str>, Held>,
    jobs: BTreeMap<Ticket, Running>,
    told: Vec<Told>,
    /// The tokens that grants were told with that were waited for.
    pub tokens: BTreeMap<Ticket, Ticket>,
    outlived: Outlived,
}

impl Model {
    pub fn new(ownerless: Ownerless, limits: Limits) -> Self {
        let (waiting, left, changed_at, held, jobs, told, outlived) = Default::default();
        Model {
            ownerless,
            limits,
            waiting,
            left,
            changed_at,
            held,
            jobs,
            told,
            tokens: BTreeMap::new(),
            outlived,
        }
    }

    /// A request that is served at once has its own number for its token.
    fn token_of(&self, grant: Ticket) -> Ticket {
        self.tokens.get(&grant).copied().unwrap_or(grant)
    }

    /// What the call answers and whom it tells what, in order.
    pub fn make(&mut self, now: Moment, call: &Call) -> (Answer, Vec<Told>) {
        if !matches!(call, Call::Nothing) {
            self.tick(now);
        }
        let answer = match call {
            Call::Request(request) => Answer::Verdict(self.request(now, request)),
            Call::Finish(ticket) => Answer::Truth(self.finish(now, *ticket)),
            Call::Release(keys, owner) => {
                let open = self.ownerless == Ownerless::Open;
                let theirs = self.keys_not_outlived(now, keys.as_slice(), owner);
                let freed = self.free(now, |key, held| {
                    theirs.iter().any(|named| **named == *key)
                        && (held.owner == *owner || (open && held.owner == Owner::Anyone))
                });
                Answer::Truth(freed == keys.len())
            }
            Call::ReleaseAll(owner) => {
                self.free(now, |_, held| {
                    owner.as_ref().is_none_or(|owner| held.owner == *owner)
                });
                Answer::Nothing
            }
            Call::Cancel(ticket) => {
                self.waiting
                    .retain(|waiting| waiting.is_away() || waiting.request.ticket != *ticket);
                self.finish(now, *ticket);
                self.free(now, |_, held| held.grant == *ticket && !held.taken_again);
                Answer::Nothing
            }
            Call::LeaveQueues(client) => Answer::Tickets(self.leave_queues(*client)),
            Call::Leave(client) => {
                self.leave_queues(*client);
                for ticket in self.jobs_of(*client) {
                    self.finish(now, ticket);
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

    /// The rule: the first key that a request cannot have that stands at `place`.
    fn blocking(&self, request: &Request, place: Ticket) -> Option<Arc<str>> {
        let cannot_have = |key: &&Arc<str>| self.is_kept_from(key, request, place);
        request.keys.iter().find(cannot_have).cloned()
    }

    fn is_kept_from(&self, key: &Arc<str>, request: &Request, place: Ticket) -> bool {
        match self.held.get(key) {
            Some(held) => !self.may_take_over(&held.owner, &request.claim),
            None => self.first_for(key).is_some_and(|first| first.place < place),
        }
    }

    fn first_for(&self, key: &Arc<str>) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.wants(key))
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
            let waiting = &model.waiting[*at];
            !waiting.is_away() && model.blocking(&waiting.request, waiting.place).is_none()
        };
        while let Some(at) = (0..self.waiting.len()).find(|at| may(self, at)) {
            let request = self.waiting.remove(at).request;
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
            self.let_go(now, |_, held| expired(held));
            self.settle(now);
        }
        let first = |model: &Model| {
            let order = |at: &usize| (model.waiting[*at].ends_at, *at);
            (0..model.waiting.len())
                .min_by_key(order)
                .filter(|at| order(at).0 <= now)
        };
        while let Some(at) = first(self) {
            self.time_out(now, at);
        }
    }

    /// The wait of one has come to its end: it goes on where what keeps it has moved.
    fn time_out(&mut self, now: Moment, at: usize) {
        if let Some(later) = self.goes_on_until(now, &self.waiting[at]) {
            self.waiting[at].ends_at = later;
            return;
        }
        let Waiting { request, place, .. } = &self.waiting[at];
        let key = self.blocking(request, *place);
        let waiting = self.waiting.remove(at);
        if !waiting.is_away() {
            let Request { client, ticket, .. } = waiting.request;
            self.tell(client, ticket, News::TimedOut(key.unwrap_or_default()));
            self.leave_behind(now, waiting);
        }
        self.settle(now);
    }

    /// A default wait goes on for as long as every lock that is held against it has changed hands within its span; of a
    /// free key, every lock that is held against whoever is first for it.
    fn goes_on_until(&self, now: Moment, waiting: &Waiting) -> Option<Moment> {
        let Patience::WhileMoving { span, last, .. } = waiting.request.patience else {
            return None;
        };
        if waiting.is_away() {
            return None;
        }
        let is_free = |key: &&Arc<str>| !self.held.contains_key(*key);
        let kept = self.kept_from(waiting);
        let heads = kept.iter().filter(is_free).filter_map(|key| self.first_for(key));
        let of_heads: BTreeSet<_> = heads.flat_map(|head| self.kept_from(head)).collect();
        let held = kept.union(&of_heads).filter(|key| !is_free(key));
        let still_since = held.map(|key| self.changed_at[key]).min();
        let later = still_since.unwrap_or(now).after(span).min(last);
        (later > now).then_some(later)
    }

    /// The keys that one cannot have yet.
    fn kept_from(&self, waiting: &Waiting) -> BTreeSet<Arc<str>> {
        let keys = waiting.request.keys.iter();
        let is_kept = |key: &&Arc<str>| self.is_kept_from(key, &waiting.request, waiting.place);
        keys.filter(is_kept).cloned().collect()
    }

    fn request(&mut self, now: Moment, request: &Request) -> Result<Verdict, RequestError> {
        let (place, caller) = self.come_back(now, request);
        let Some(key) = self.blocking(request, place) else {
            self.hold(now, request);
            return Ok(Verdict::Granted);
        };
        let waiting = Waiting {
            request: request.clone(),
            place,
            caller,
            ends_at: request.patience.ends_at().unwrap_or(Moment::NEVER),
        };
        if request.patience == Patience::Refuse || waiting.ends_at <= now {
            self.leave_behind(now, waiting);
            return Ok(Verdict::Refused(key));
        }
        self.check_room(request)?;
        self.enqueue(waiting);
        Ok(Verdict::Queued)
    }

    /// Whether one more may wait.
    pub(super) fn check_room(&self, request: &Request) -> Result<(), RequestError> {
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
        Ok(())
    }

    fn hold(&mut self, now: Moment, request: &Request) {
        let (owner, expires_at) = match &request.claim {
            Claim::Job => (Owner::Job(request.ticket), None),
            Claim::Lock { owner, expire } => (owner.clone(), expire.map(|span| now.after(span))),
        };
        for key in &request.keys {
            let before = self.held.get(key);
            if before.is_none_or(|held| held.owner != owner) {
                self.changed_at.insert(Arc::clone(key), now);
            }
            let before = before.map(|held| held.grant);
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
        let is_theirs = |waiting: &mut Waiting| waiting.request.client == client;
        let left = self.waiting.extract_if(.., is_theirs);
        let mut present: Vec<Ticket> = left
            .filter(|waiting| !waiting.is_away())
            .map(|waiting| waiting.request.ticket)
            .collect();
        present.sort_unstable();
        present
    }

    fn finish(&mut self, now: Moment, ticket: Ticket) -> bool {
        let job = self.jobs.remove(&ticket);
        self.let_go(now, |_, held| held.owner == Owner::Job(ticket));
        job.is_some_and(|job| !job.lost)
    }

    /// Frees the keys for which `condition` holds; says how many these were. The jobs among the holders are told.
    fn free(&mut self, now: Moment, condition: impl Fn(&str, &Held) -> bool) -> usize {
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
        self.let_go(now, condition);
        before - self.held.len()
    }

    fn let_go(&mut self, now: Moment, condition: impl Fn(&str, &Held) -> bool) {
        let changed_at = &mut self.changed_at;
        self.held.retain(|key, held| {
            let is_freed = condition(key, held);
            if is_freed {
                changed_at.insert(Arc::clone(key), now);
            }
            !is_freed
        });
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
            token: self.token_of(held.grant),
            expires_in: held.expires_at.map(|at| at.since(now)),
            waiting: self.waiters_of(key),
        })
        .collect()
    }

    pub fn waiters_of(&self, key: &str) -> usize {
        self.waiting.iter().filter(|waiting| waiting.wants(key)).count()
    }

    pub fn waiting(&self) -> Vec<Ticket> {
        let present = self.waiting.iter().filter(|waiting| !waiting.is_away());
        present.map(|waiting| waiting.request.ticket).collect()
    }

    /// How many wait or are expected back.
    pub fn waiters(&self) -> usize {
        self.waiting.len()
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
        let timeouts = self.waiting.iter().map(|waiting| waiting.ends_at);
        expiries.chain(timeouts).min().unwrap_or(Moment::NEVER)
    }

    fn jobs_of(&self, client: Client) -> Vec<Ticket> {
        let running = self.jobs.iter().filter(|(_, job)| job.request.client == client);
        running.map(|(ticket, _)| *ticket).collect()
    }
}
