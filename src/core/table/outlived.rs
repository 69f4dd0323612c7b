//! Holders without an owner that come to release after their lock has lapsed. See [`crate::core::grants`].

use std::sync::Arc;
use std::time::Duration;

use super::slot::Holder;
use super::{Ownerless, Table};
use crate::core::grants::Grant;
use crate::core::moment::Moment;
use crate::core::owner::Owner;

/// What came of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// All keys were the owner's, and are free.
    All,
    /// Not all; those that were, are free.
    Less,
    /// The same, because whoever was given this key came so long after its lock had lapsed.
    Outlived(Arc<str>, Duration),
}

impl Released {
    pub(super) fn or_less(self) -> Self {
        match self {
            Released::All => Released::Less,
            other => other,
        }
    }

    /// The first of several is the one to tell of.
    pub(super) fn or_outlived(self, key: &Arc<str>, late: Duration) -> Self {
        match self {
            Released::Outlived(..) => self,
            Released::All | Released::Less => Released::Outlived(Arc::clone(key), late),
        }
    }
}

impl Table {
    /// The lock of `holder` has lapsed. Whoever was given it may still come to release it.
    pub(super) fn note_lapsed(&mut self, now: Moment, key: &Arc<str>, holder: &Holder) {
        if holder.owner == Owner::Anyone && self.ownerless == Ownerless::Exclusive {
            let grant = Grant::new(now, holder.grant, holder.expires_at);
            self.lapsed.add(now, key, grant);
        }
    }

    /// Whether a release of `key` without an owner belongs to a grant that has lapsed, and for how long it has. It is over with
    /// that. Where somebody holds the key by now, its own release may be the one that came.
    pub(super) fn outlived(&mut self, now: Moment, key: &Arc<str>, owner: &Owner) -> Option<Duration> {
        if self.lapsed.is_empty() || *owner != Owner::Anyone {
            return None;
        }
        let late = self.lapsed.oldest(now, key)?;
        let holder = self.slots.get(key).and_then(|slot| slot.holder.as_ref());
        if let Some(holder) = holder.filter(|holder| holder.owner == Owner::Anyone) {
            if holder.grant == late.attempt {
                return None;
            }
            self.lapsed
                .add(now, key, Grant::new(now, holder.grant, holder.expires_at));
        }
        self.lapsed.settle(key, late.attempt, true);
        late.outlived_by(now)
    }

    /// The lock of `holder` has been released, by its owner or by force.
    pub(super) fn forget_grant(&mut self, key: &str, holder: &Holder) {
        if !self.lapsed.is_empty() {
            self.lapsed.settle(key, holder.grant, false);
        }
    }
}
