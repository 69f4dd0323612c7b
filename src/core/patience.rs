//! How long a request is ready to wait.

use std::time::Duration;

use crate::core::moment::Moment;

/// How long a request is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    Refuse,
    /// Until this moment.
    Until(Moment),
    /// Until `first`, and on for as long as what keeps it has changed hands within the last `span`, until `last` at the
    /// most. A default wait is there to give up on a lock that is stuck, and a line that moves is not.
    WhileMoving {
        /// When it ends where nothing moves.
        first: Moment,
        /// For how long a lock may stay with one holder.
        span: Duration,
        /// When it ends in any case; not before `first`.
        last: Moment,
    },
    /// For as long as it takes.
    Forever,
}

impl Patience {
    /// Of a request that is made now and waits for `span`, and on while the line moves for up to `most` in all.
    pub fn while_moving(now: Moment, span: Duration, most: Duration) -> Self {
        if most <= span {
            return Patience::Until(now.after(span));
        }
        Patience::WhileMoving {
            first: now.after(span),
            span,
            last: now.after(most),
        }
    }

    /// When it ends if nothing moves; None: never.
    pub fn ends_at(self) -> Option<Moment> {
        match self {
            Patience::Refuse | Patience::Forever => None,
            Patience::Until(moment) | Patience::WhileMoving { first: moment, .. } => Some(moment),
        }
    }

    /// Whether there is anything left of it.
    pub fn waits_at(self, now: Moment) -> bool {
        self != Patience::Refuse && self.ends_at().is_none_or(|end| end > now)
    }

    /// When it ends where the lock last changed hands at `changed_at`; None: that makes no difference to it.
    pub fn prolonged(self, changed_at: Moment) -> Option<Moment> {
        match self {
            Patience::WhileMoving { span, last, .. } => Some(changed_at.after(span).min(last)),
            Patience::Refuse | Patience::Until(_) | Patience::Forever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_ms(seconds * 1_000)
    }

    #[test]
    fn it_begins_anew_with_each_change_of_hands_up_to_its_last_moment() {
        let patience = Patience::while_moving(at(10), 5 * SECOND, 30 * SECOND);
        assert_eq!(patience.ends_at(), Some(at(15)));
        assert_eq!(patience.prolonged(at(14)), Some(at(19)));
        assert_eq!(patience.prolonged(at(39)), Some(at(40)));
    }

    #[test]
    fn a_wait_that_is_longer_than_the_most_is_a_plain_one() {
        for most in [Duration::ZERO, 5 * SECOND] {
            let patience = Patience::while_moving(at(10), 5 * SECOND, most);
            assert_eq!(patience, Patience::Until(at(15)));
        }
    }

    #[test]
    fn what_is_over_waits_no_more() {
        assert!(!Patience::Refuse.waits_at(at(1)));
        assert!(!Patience::Until(at(1)).waits_at(at(1)));
        assert!(Patience::while_moving(at(0), SECOND, 2 * SECOND).waits_at(at(0)));
        assert!(Patience::Forever.waits_at(at(1)));
    }
}
