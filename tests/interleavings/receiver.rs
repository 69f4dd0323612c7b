//! What a JavaScript thread is to the locks: somebody who drains a mailbox when its bell has rung.

use std::collections::HashMap;
use std::sync::Arc;

use medusa_locking_native::backend::mailbox::{Bell, Inbox};
use shuttle::sync::{Condvar, Mutex};

/// A bell that counts how often it has rung.
#[derive(Default)]
pub struct Rings {
    count: Mutex<u64>,
    changed: Condvar,
}

/// The rope of a bell.
pub struct Rope(Arc<Rings>);

impl Bell for Rope {
    fn ring(&self) {
        *self.0.count.lock().unwrap() += 1;
        self.0.changed.notify_one();
    }
}

/// A thread that receives completions, and what it was told so far.
pub struct Receiver {
    rings: Arc<Rings>,
    heard: u64,
    pub inbox: Arc<Inbox<Rope>>,
    /// By ticket: the numbers of the outcomes, in order.
    pub told: HashMap<u64, Vec<u8>>,
}

/// How many completions are drained at once.
const BATCH: u32 = 2;

/// The numbers of some outcomes, as JavaScript knows them.
pub const GRANTED: u8 = 1;
pub const TIMED_OUT: u8 = 3;
pub const RELEASED: u8 = 5;

impl Receiver {
    pub fn new() -> Self {
        let rings = Arc::new(Rings::default());
        Receiver {
            inbox: Arc::new(Inbox::new(Rope(Arc::clone(&rings)))),
            rings,
            heard: 0,
            told: HashMap::new(),
        }
    }

    /// Waits until the bell has rung since it last did.
    pub fn hear(&mut self) {
        let mut count = self.rings.count.lock().unwrap();
        while *count == self.heard {
            count = self.rings.changed.wait(count).unwrap();
        }
        self.heard = *count;
    }

    /// Drains one batch and says how many there were.
    pub fn fetch(&mut self) -> u32 {
        let mut records = [0.0; 3 * BATCH as usize];
        let moved = self.inbox.drain(&mut records);
        for record in records.chunks_exact(3).take(moved as usize) {
            self.told
                .entry(record[0] as u64)
                .or_default()
                .push(record[1] as u8);
        }
        moved
    }

    /// Drains everything, as `provider/completions.ts` does.
    pub fn drain(&mut self) {
        while self.fetch() == BATCH {}
    }

    /// The first outcome of `ticket`, waited for.
    pub fn outcome_of(&mut self, ticket: u64) -> u8 {
        loop {
            if let Some(outcomes) = self.told.get(&ticket) {
                return outcomes[0];
            }
            self.hear();
            self.drain();
        }
    }
}
