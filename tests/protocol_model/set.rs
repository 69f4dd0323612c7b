//! Sets of small numbers: of keys, attempts or processes.

use std::fmt;

/// One bit for each member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Set(u8);

impl Set {
    pub const EMPTY: Set = Set(0);

    pub fn of(members: &[usize]) -> Set {
        members.iter().fold(Set::EMPTY, |set, member| set.with(*member))
    }

    pub fn with(self, member: usize) -> Set {
        Set(self.0 | 1 << member)
    }

    pub fn without(self, member: usize) -> Set {
        Set(self.0 & !(1 << member))
    }

    pub fn or(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    pub fn both(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    pub fn minus(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    pub fn has(self, member: usize) -> bool {
        self.0 & 1 << member != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The smallest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |member| self.has(*member))
    }

    /// Takes the smallest out.
    pub fn pop(&mut self) -> Option<usize> {
        let first = self.iter().next()?;
        *self = self.without(first);
        Some(first)
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
