//! Nodes that know no queue: they poll for a lock, take it when they find it free, and tell nobody when they release it.

use std::sync::Arc;

use medusa_locking_native::core::ticket::Ticket;

use super::claims::Check;
use super::server::{Attempt, Holder, OLD_NODE};
use super::world::World;

/// The first and the longest pause between two polls, in ms.
const FIRST_PAUSE: u64 = 20;
const LONGEST_PAUSE: u64 = 1_000;

/// One job of such a node.
#[derive(Debug)]
pub struct Old {
    pub id: Attempt,
    key: Arc<str>,
    holder: Holder,
    runs_for: u64,
    expire: Option<u64>,
    gives_up_at: u64,
    pause: u64,
    /// When it does something next.
    pub at: u64,
    holds: bool,
    /// Everything was released, or lost: what it holds it may not have.
    pub is_void: bool,
    until: Option<u64>,
}

impl World {
    pub fn old_job(&mut self, key: &str, anyone: bool, runs_for: u64, expire: Option<u64>, patience: u64) {
        let number = self.next_ticket().number();
        let name = format!("old {number}");
        self.olds.push(Old {
            id: Attempt {
                member: OLD_NODE,
                ticket: Ticket::new(number),
            },
            key: key.into(),
            holder: if anyone && !self.plan.open {
                Holder::Anyone
            } else {
                Holder::Named(name.into())
            },
            runs_for,
            expire,
            gives_up_at: self.now + patience,
            pause: FIRST_PAUSE,
            at: self.now,
            holds: false,
            is_void: false,
            until: None,
        });
    }

    /// Polls, or releases and is done.
    pub fn old_acts(&mut self, index: usize) {
        let (now, is_serving) = (self.now, self.is_serving());
        let old = &mut self.olds[index];
        if old.holds && is_serving {
            self.server.old_releases(&old.key, old.id);
            self.olds.remove(index);
            return;
        }
        if !old.holds && is_serving && self.server.old_takes(&old.key, old.id, &old.holder, old.expire) {
            (old.holds, old.at) = (true, now + old.runs_for);
            old.until = old.expire.map(|span| now + span - span / 50 - 1);
            self.ledger.see("an old node took a lock");
            let line = format!("{old:?}");
            self.note(|| line);
            return;
        }
        if !old.holds && now >= old.gives_up_at {
            self.olds.remove(index);
            return;
        }
        old.at = now + old.pause;
        old.pause = (old.pause * 2).min(LONGEST_PAUSE);
    }

    /// Property 1: what an old node holds is nobody else's.
    pub fn check_old_nodes(&self) -> Check {
        for old in self.olds.iter().filter(|old| old.holds && !old.is_void) {
            let is_good = old.until.is_none_or(|until| until > self.now);
            let has_it = self
                .server
                .lock(&old.key)
                .is_some_and(|lock| lock.holder == old.holder);
            if is_good && !has_it {
                return Err(format!(
                    "property 1: {old:?} believes to hold {:?}",
                    self.server.lock(&old.key)
                ));
            }
        }
        Ok(())
    }
}
