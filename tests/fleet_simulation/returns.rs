//! Callers that were refused an `acquire` and come back for it: what they leave behind, as far as their books can know.
//!
//! Who asks for the same thing as the same owner at the same member cannot be told apart, so the books know the earliest place
//! that a request may stand at, and no more.

use medusa_locking_native::core::ticket::Ticket;

use super::claims::{Check, Claim, Stand};
use super::ledger::Ledger;
use super::server::Attempt;

/// Who comes back within this time takes the place that it left, in ms.
pub const COMES_BACK_WITHIN: u64 = 1_000;

/// The place of a caller that was refused.
#[derive(Clone, Debug)]
pub struct LeftPlace {
    at: u64,
    of: Attempt,
    place: Ticket,
    /// It may have been in no local queue.
    beside: bool,
}

impl Ledger {
    /// A new request stands where an earlier one of its caller stood, if it may be that.
    pub fn find_place(&self, claim: &mut Claim) {
        for left in &self.left {
            let is_in_time = claim.asked_at <= left.at + COMES_BACK_WITHIN;
            if is_in_time && self.claim(left.of).is_some_and(|earlier| earlier.is_like(claim)) {
                claim.place = claim.place.min(left.place);
                claim.may_be_beside |= left.beside;
            }
        }
    }

    /// A caller was refused.
    pub fn leave_place(&mut self, now: u64, claim: &Claim) {
        while self
            .left
            .front()
            .is_some_and(|left| left.at + COMES_BACK_WITHIN < now)
        {
            self.left.pop_front();
        }
        if claim.owner().is_some() {
            self.left.push_back(LeftPlace {
                at: now,
                of: claim.id,
                place: claim.place,
                beside: claim.may_be_beside || !claim.queues(),
            });
        }
    }

    /// A lock was got by the request `attempt`: by the one that is told so, or by one that its caller made before.
    pub fn takes_up(&mut self, claim: &mut Claim, attempt: Attempt) -> Check {
        if attempt == claim.id {
            return Ok(());
        }
        self.see("a caller came back to its request");
        let Some(earlier) = self.claim(attempt).filter(|earlier| earlier.is_like(claim)) else {
            return Err(format!("{:?} was told of a lock of {attempt:?}", claim.id));
        };
        if earlier.stand != Stand::No {
            return Err(format!("{:?} was told of a lock of {earlier:?}", claim.id));
        }
        (claim.under, claim.is_void) = (attempt, earlier.is_void);
        if let Some(entry) = self.claim_mut(claim.id) {
            entry.clone_from(claim);
        }
        Ok(())
    }

    /// For how long at most the request of `claim`, which was refused, is kept for its caller, and since when that has been
    /// away; [`u64::MAX`]: it may be back.
    pub fn is_kept_for(&self, claim: &Claim) -> (u64, u64) {
        if claim.owner().is_none() {
            return (0, claim.since);
        }
        let (mut kept, mut refused_at) = (COMES_BACK_WITHIN, claim.since);
        for like in self.claims.iter().filter(|other| other.is_like(claim)) {
            match like.stand {
                Stand::Asks => kept = u64::MAX,
                Stand::No => refused_at = refused_at.max(like.since),
                _ => {}
            }
        }
        (kept, refused_at)
    }
}
