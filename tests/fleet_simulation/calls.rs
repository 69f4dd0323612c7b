//! What the callers do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::core::fleet::{ErrandKind, Held, Wish};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::patience::Patience;
use medusa_locking_native::core::table::Claim as TableClaim;

use super::claims::{Check, Claim, Errand, ErrandOf, Stand, What};
use super::plan::{Age, Deed, Wait};
use super::server::{Attempt, Holder, OLD_NODE};
use super::world::World;

/// How often what is held is given back in the end, in ms.
const CLEAN_EVERY: u64 = 100;

impl World {
    pub fn member_at(&self, seat: usize) -> usize {
        self.seats[seat % self.seats.len()]
    }

    pub fn make_call(&mut self, call: Deed) -> Check {
        let now = self.now;
        match call {
            Deed::Execute {
                callers,
                seat,
                keys,
                lease,
                runs_for,
                heeds,
                wait,
            } => {
                for _ in 0..callers {
                    let what = What::Job {
                        lease,
                        runs_for,
                        heeds,
                    };
                    self.ask(self.member_at(seat), key_set(&keys), what, wait);
                }
            }
            Deed::Acquire {
                seat,
                keys,
                owner,
                expire,
                wait,
            } => {
                let what = What::Lock { owner, expire };
                self.ask(self.member_at(seat), key_set(&keys), what, wait);
            }
            Deed::Poll(poll) => self.begin_to_poll(poll),
            Deed::Release { seat, of } => {
                let claim = self.claim_of_age(of).cloned();
                match claim.as_ref().map(|claim| (claim, claim.owner())) {
                    Some((claim, Some(owner))) if claim.stand != Stand::Asks => {
                        self.release(seat, claim.keys.clone(), owner);
                    }
                    Some((claim, None)) if claim.stand == Stand::Runs => self.release_own(claim),
                    _ => {}
                }
            }
            Deed::ReleaseAll { seat, owner } => {
                let owner_id = owner.as_ref().map(|owner| owner_id(owner).unwrap_or("*".into()));
                let kind = ErrandKind::ReleaseAll { owner_id, cursor: 0 };
                self.run_errand(seat, ErrandOf::ReleaseAll { owner }, kind);
            }
            Deed::Cancel(age) => return self.cancel(age),
            Deed::Unseen(age) => self.take_back(age),
            Deed::Stop(seat) => {
                let member = self.member_at(seat);
                if self.can_call(member) {
                    self.members[member].fleet.stop(Moment::from_ms(now));
                    self.members[member].is_closed = true;
                    self.ledger.forget_places(|of| of == member);
                    self.succeed(seat);
                }
            }
            Deed::Leave(seat) => {
                let member = self.member_at(seat);
                if self.can_call(member) {
                    self.leave(member);
                    self.succeed(seat);
                }
            }
            Deed::Die { seat, unnoticed } => {
                let member = self.member_at(seat);
                if !self.members[member].is_closed {
                    self.die(member, unnoticed);
                    self.succeed(seat);
                }
            }
            Deed::Old {
                key,
                anyone,
                runs_for,
                expire,
                patience,
            } => self.old_job(key, anyone, runs_for, expire, patience),
            _ => {}
        }
        Ok(())
    }

    /// The process ends at once. What its owners hold stays theirs.
    fn die(&mut self, member: usize, unnoticed: u64) {
        self.cut(member, 1, unnoticed);
        let dead = &mut self.members[member];
        (dead.is_dead, dead.is_closed) = (true, true);
        let now = self.now;
        for claim in &mut self.ledger.claims {
            if claim.id.member == member {
                match claim.stand {
                    Stand::Asks => claim.stands(now, Stand::Gone),
                    Stand::Runs | Stand::Lost | Stand::Finishing => claim.stands(now, Stand::Over),
                    _ => {}
                }
            }
        }
        self.ledger.errands.retain(|id, _| id.member != member);
    }

    fn can_call(&self, member: usize) -> bool {
        self.members[member].takes_calls(self.now)
    }

    fn claim_of_age(&self, age: Age) -> Option<&Claim> {
        let index = self.ledger.claims.len().checked_sub(age + 1)?;
        self.ledger.claims.get(index)
    }

    /// Makes a request, if it is taken.
    pub fn ask(&mut self, member: usize, keys: KeySet, what: What, wait: Wait) -> Option<Attempt> {
        if !self.can_call(member) {
            return None;
        }
        let (ticket, now) = (self.next_ticket(), Moment::from_ms(self.now));
        let ms = Duration::from_millis;
        let (claim, lease) = match &what {
            What::Job { lease, .. } => (TableClaim::Job, ms(*lease)),
            What::Lock { owner, expire } => {
                let (owner, expire) = (owner.clone(), expire.map(ms));
                (TableClaim::Lock { owner, expire }, Duration::ZERO)
            }
        };
        let patience = match wait {
            Wait::Not => Patience::Refuse,
            Wait::Ms(span) => Patience::Until(now.after(ms(span))),
            Wait::Moving { span, most } => Patience::while_moving(now, ms(span), ms(most)),
            Wait::Forever => Patience::Forever,
        };
        let wish = Wish {
            keys: keys.clone(),
            claim,
            lease,
            patience,
        };
        let asked = self.members[member].fleet.request(now, ticket, wish);
        self.note(|| format!("member {member}: request {ticket:?}: {asked:?}"));
        // Too many wait already: it is as if it had never asked.
        asked.ok()?;
        let id = Attempt { member, ticket };
        self.ledger.add(Claim::new(id, keys, what, wait, self.now));
        Some(id)
    }

    /// The caller has gone. Where it is too late for that, it gives back what it got.
    fn cancel(&mut self, age: Age) -> Check {
        let Some(claim) = self.claim_of_age(age).cloned() else {
            return Ok(());
        };
        let member = claim.id.member;
        if self.members[member].is_dead || self.now < self.members[member].stalled_until() {
            return Ok(());
        }
        let was_waiting = self.members[member]
            .fleet
            .cancel(Moment::from_ms(self.now), claim.id.ticket);
        if was_waiting != (claim.stand == Stand::Asks) {
            return Err(format!("cancelled: {was_waiting}, but it was {claim:?}"));
        }
        let now = self.now;
        if let Some(claim) = self.ledger.claim_mut(claim.id) {
            match claim.stand {
                Stand::Asks => claim.stands(now, Stand::Gone),
                Stand::Runs | Stand::Lost => claim.ends_at = Some(now),
                _ => {}
            }
        }
        Ok(())
    }

    /// The news of a lock is never read: its caller has gone.
    fn take_back(&mut self, age: Age) {
        let Some(claim) = self.claim_of_age(age).cloned() else {
            return;
        };
        let (Stand::Holds { .. }, Some(owner)) = (claim.stand, claim.owner()) else {
            return;
        };
        let member = &self.members[claim.id.member];
        if member.is_dead || self.now < member.frozen_until {
            return;
        }
        let now = self.now;
        let fleet = &mut self.members[claim.id.member].fleet;
        fleet.take_back(
            Moment::from_ms(now),
            claim.under.ticket,
            claim.keys.clone(),
            owner.clone(),
        );
        if let Some(claim) = self.ledger.claim_mut(claim.id) {
            claim.stands(now, Stand::Gone);
        }
    }

    fn leave(&mut self, member: usize) {
        let now = self.now;
        self.members[member].fleet.leave(Moment::from_ms(now));
        self.members[member].is_closed = true;
        self.ledger.forget_places(|of| of == member);
        for claim in self
            .ledger
            .claims
            .iter_mut()
            .filter(|claim| claim.id.member == member)
        {
            if matches!(claim.stand, Stand::Runs | Stand::Lost) {
                claim.stands(now, Stand::Over);
            }
        }
    }

    /// The job of claim number `index` has ended.
    pub fn finish(&mut self, index: usize) {
        let now = self.now;
        let claim = &mut self.ledger.claims[index];
        claim.stands(now, Stand::Finishing);
        let id = claim.id;
        self.note(|| format!("member {}: finish {:?}", id.member, id.ticket));
        self.members[id.member]
            .fleet
            .finish(Moment::from_ms(now), id.ticket);
    }

    pub fn release(&mut self, seat: usize, keys: KeySet, owner: &Owner) {
        if !self.can_call(self.member_at(seat)) {
            return;
        }
        // Whoever believes in one of these locks is told by its owner not to.
        for claim in &mut self.ledger.claims {
            let is_owners = claim.owner() == Some(owner) && claim.shares_a_key_with(&keys);
            if is_owners && matches!(claim.stand, Stand::Holds { .. }) {
                claim.stands(self.now, Stand::Over);
            }
        }
        if *owner == Owner::Anyone && !self.plan.open {
            return self.release_ownerless(seat, keys);
        }
        let held = Held::ByOwner(owner_id(owner));
        let kind = ErrandKind::Release {
            keys: keys.clone(),
            held,
        };
        let owner = owner.clone();
        self.run_errand(seat, ErrandOf::Release { keys, owner }, kind);
    }

    fn release_ownerless(&mut self, seat: usize, keys: KeySet) {
        let member = self.member_at(seat);
        let ticket = self.next_ticket();
        self.note(|| format!("member {member}: run {ticket:?}, a release without an owner"));
        let (now, asked) = (Moment::from_ms(self.now), keys.clone());
        self.members[member].fleet.release_ownerless(now, ticket, asked);
        let owner = Owner::Anyone;
        let errand = Errand::new(ErrandOf::Release { keys, owner }, self.now);
        self.ledger.errands.insert(Attempt { member, ticket }, errand);
    }

    /// A job releases its own lock, by the id that it was told.
    fn release_own(&mut self, job: &Claim) {
        let member = job.id.member;
        if self.can_call(member) {
            let ticket = self.next_ticket();
            self.note(|| format!("member {member}: run {ticket:?}, the release of {:?}", job.id));
            let (now, keys) = (Moment::from_ms(self.now), job.keys.clone());
            self.members[member]
                .fleet
                .release_job(now, ticket, keys, job.id.ticket, "its own id");
            let errand = Errand::new(ErrandOf::ReleaseOwn { grant: job.under }, self.now);
            self.ledger.errands.insert(Attempt { member, ticket }, errand);
        }
    }

    fn run_errand(&mut self, seat: usize, errand: ErrandOf, kind: ErrandKind) {
        let member = self.member_at(seat);
        if self.can_call(member) {
            let ticket = self.next_ticket();
            self.note(|| format!("member {member}: run {ticket:?}"));
            self.members[member]
                .fleet
                .run(Moment::from_ms(self.now), ticket, kind);
            let errand = Errand::new(errand, self.now);
            self.ledger.errands.insert(Attempt { member, ticket }, errand);
        }
    }

    /// The plan is over: nothing goes wrong any more, and everybody gives back what he has.
    pub fn begin_the_end(&mut self) {
        self.ending_since = Some(self.now);
        self.clean_at = self.now;
    }

    /// Ends the jobs, and releases each lock that somebody was told of and nobody is releasing.
    pub fn clean(&mut self) {
        self.clean_at = self.now + CLEAN_EVERY;
        self.clear_up();
        for claim in &mut self.ledger.claims {
            claim.ends_at = claim.ends_at.map(|at| at.min(self.now));
        }
        let mut due: BTreeSet<(Arc<str>, Option<Box<str>>)> = BTreeSet::new();
        for (key, lock) in self.server.locks() {
            let was_told = lock.attempts.iter().filter(|id| id.member != OLD_NODE).any(|id| {
                let mut takers = self.ledger.under(*id);
                takers.any(|claim| matches!(claim.stand, Stand::Holds { .. } | Stand::Over))
                    || self.members[id.member].is_dead
                    || (self.plan.open && self.ledger.owner_of(*id) != self.ledger.owner_of(lock.attempts[0]))
            });
            let is_told = was_told && !self.server.is_unclaimed(key, lock);
            let is_on_its_way = self.ledger.errands.values().any(|errand| {
                errand.is_pending()
                    && matches!(errand.kind, ErrandOf::Release { .. })
                    && errand.concerns(key, lock)
            });
            match &lock.holder {
                Holder::Named(name) if is_told && !is_on_its_way => {
                    due.insert((Arc::clone(key), Some(name.clone())))
                }
                Holder::Anyone if is_told && !is_on_its_way => due.insert((Arc::clone(key), None)),
                _ => false,
            };
        }
        for (key, name) in due {
            let owner = name.map_or(Owner::Anyone, Owner::Named);
            self.release(0, key_set(&[&*key]), &owner);
        }
    }
}

fn owner_id(owner: &Owner) -> Option<Box<str>> {
    match owner {
        Owner::Named(name) => Some(name.clone()),
        Owner::Anyone | Owner::Job(_) => None,
    }
}

/// The set of these keys, which are within the bounds.
pub fn key_set(keys: &[&str]) -> KeySet {
    KeySet::new(keys.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
}
