//! Where completions gather, as in the mailbox of a JavaScript thread.

use std::collections::VecDeque;
use std::time::Duration;

use medusa_locking_native::backend::{Completion, Sink};
use medusa_locking_native::core::moment::Moment;
use parking_lot::{Condvar, Mutex};

/// See the module's description.
#[derive(Default)]
pub struct Mailbox {
    completions: Mutex<VecDeque<Completion>>,
    arrived: Condvar,
}

impl Mailbox {
    /// The next completion, if one is there.
    pub fn next(&self) -> Option<Completion> {
        self.completions.lock().pop_front()
    }

    /// The next completion, when it is there.
    pub fn wait(&self) -> Completion {
        let mut completions = self.completions.lock();
        loop {
            if let Some(completion) = completions.pop_front() {
                return completion;
            }
            self.arrived.wait(&mut completions);
        }
    }
}

impl Sink for Mailbox {
    fn push(&self, completion: Completion) -> bool {
        let mut completions = self.completions.lock();
        completions.push_back(completion);
        completions.len() == 1
    }

    fn wake(&self) {
        self.arrived.notify_one();
    }

    fn probe(&self, _now: Moment) {}

    fn stalled(&self, _now: Moment) -> Duration {
        Duration::ZERO
    }
}
