//! The queue of completions between locks and one JavaScript thread.
//!
//! Completions gather; the first one after the queue was last seen empty has its pusher ring the [`Bell`] once, and the
//! receiver then drains them all. When the receiver ends, everything that its residents waited for or ran is given back.
//! What rings and what drains is `src/node`; nothing here knows of JavaScript but the numbers that it reads.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Completion, Failure, Lock, Outcome, Sink};
use crate::clock;
use crate::core::key::Shown;
use crate::core::moment::Moment;
use crate::sync::Mutex;

/// How a receiver is called.
pub trait Bell: Send + Sync {
    /// Has it come to drain, on its own thread and in its own time. Where it is gone, nothing happens.
    fn ring(&self);
}

/// What a member of a mailbox does when the environment ends.
pub trait Resident: Send + Sync {
    /// The environment is gone: leaves every queue and ends every job.
    fn leave(&self);
    /// Afterwards: gives back what was granted and never seen. `unseen` was pushed and never drained, some of it for
    /// others.
    fn take_back(&self, unseen: &[Completion]);
}

/// The end of the queue that everybody shares.
pub struct Inbox<B> {
    queue: Mutex<Queue>,
    bell: B,
}

#[derive(Default)]
struct Queue {
    completions: VecDeque<Completion>,
    /// The words that go with drained completions, until the receiver takes them.
    details: HashMap<u64, Failure>,
    inspections: HashMap<u64, Vec<Lock>>,
    /// The bell has rung, or the receiver knows without, and it has not drained everything since.
    scheduled: bool,
    /// Since when the bell has rung and the receiver has not come to drain.
    called_at: Option<Moment>,
    /// The receiver is gone: nobody will drain again.
    closed: bool,
    residents: Vec<Weak<dyn Resident>>,
}

impl<B: Bell> Inbox<B> {
    /// An empty one, whose receiver is called by `bell`.
    pub fn new(bell: B) -> Self {
        Inbox {
            queue: Mutex::default(),
            bell,
        }
    }

    /// Adds somebody who is to be told when the receiver ends.
    pub fn admit(&self, resident: Weak<dyn Resident>) {
        let mut queue = self.queue.lock();
        queue.residents.retain(|resident| resident.strong_count() > 0);
        queue.residents.push(resident);
    }

    /// The receiver ends. What its residents held or waited for is given back.
    ///
    /// In two steps: until a resident has left its queues it may still be granted something, and what it is granted
    /// must be found here.
    pub fn close(&self) {
        let residents = std::mem::take(&mut self.queue.lock().residents);
        let residents: Vec<Arc<dyn Resident>> = residents.iter().filter_map(Weak::upgrade).collect();
        residents.iter().for_each(|resident| resident.leave());
        let mut queue = self.queue.lock();
        queue.closed = true;
        let unseen = Vec::from(std::mem::take(&mut queue.completions));
        drop(queue);
        residents.iter().for_each(|resident| resident.take_back(&unseen));
    }

    /// Moves up to a third as many completions as `records` has places, each as three numbers: ticket, outcome, value.
    /// Says how many. To be called again where these fill `records`: there may be more, for which the bell has rung
    /// already. Where they do not, nothing is left, and the bell rings for what comes next.
    pub fn drain(&self, records: &mut [f64]) -> u32 {
        let mut queue = self.queue.lock();
        queue.called_at = None;
        let mut moved = 0;
        for record in records.chunks_exact_mut(3) {
            let Some(completion) = queue.completions.pop_front() else {
                break;
            };
            queue.write(completion, record);
            moved += 1;
        }
        // Under the lock under which they were taken: whoever pushes from here on rings.
        if queue.completions.is_empty() {
            queue.scheduled = false;
        }
        moved
    }

    /// The words of a drained completion that refused, lost or failed; once.
    pub fn take_failure(&self, ticket: u64) -> Option<Failure> {
        self.queue.lock().details.remove(&ticket)
    }

    /// The locks of a drained inspection; once.
    pub fn take_inspection(&self, ticket: u64) -> Option<Vec<Lock>> {
        self.queue.lock().inspections.remove(&ticket)
    }
}

impl<B: Bell> Sink for Inbox<B> {
    fn push(&self, completion: Completion) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.completions.push_back(completion);
        !std::mem::replace(&mut queue.scheduled, true)
    }

    fn wake(&self) {
        self.queue.lock().called_at.get_or_insert_with(clock::now);
        self.bell.ring();
    }

    fn probe(&self, now: Moment) {
        let mut queue = self.queue.lock();
        if queue.closed || queue.called_at.is_some() {
            return;
        }
        queue.called_at = Some(now);
        drop(queue);
        self.bell.ring();
    }

    fn stalled(&self, now: Moment) -> Duration {
        self.queue
            .lock()
            .called_at
            .map_or(Duration::ZERO, |at| now.since(at))
    }
}

impl Queue {
    /// The numbers of the outcomes are known to `provider/completions.ts`.
    fn write(&mut self, completion: Completion, record: &mut [f64]) {
        let number = completion.ticket.number();
        let (outcome, value) = match completion.outcome {
            Outcome::Granted(token) | Outcome::Acquired { token, .. } => (1.0, to_f64(token)),
            Outcome::Refused(key) => (2.0, self.keep(number, blocked("LOCK_HELD", &key))),
            Outcome::TimedOut(key) => (3.0, self.keep(number, blocked("LOCK_TIMEOUT", &key))),
            Outcome::Lost(failure) => (4.0, self.keep(number, failure)),
            Outcome::Released(all) => (5.0, f64::from(u8::from(all))),
            Outcome::Failed(failure) => (6.0, self.keep(number, failure)),
            Outcome::Finished(held) => (7.0, f64::from(u8::from(held))),
            Outcome::Inspected(locks) => {
                self.inspections.insert(number, locks);
                (8.0, 0.0)
            }
            Outcome::Done => (9.0, 0.0),
            Outcome::Outlived(failure) => (10.0, self.keep(number, failure)),
        };
        record.copy_from_slice(&[to_f64(number), outcome, value]);
    }

    fn keep(&mut self, number: u64, failure: Failure) -> f64 {
        self.details.insert(number, failure);
        0.0
    }
}

fn blocked(code: &'static str, key: &str) -> Failure {
    let message = match code {
        "LOCK_HELD" => format!("Failed to acquire lock for key \"{}\"", Shown(key)),
        _ => "Timed-out acquiring lock.".to_owned(),
    };
    Failure {
        code,
        message,
        key: Some(key.to_owned()),
    }
}

/// Tickets, tokens and times stay below 2^53, where every integer is a JavaScript number.
#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^53 by construction, see Ticket::MAX"
)]
pub fn to_f64(number: u64) -> f64 {
    number as f64
}

/// The reverse of [`to_f64`]; what is not a ticket becomes one that nobody has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating; 0 is nobody's ticket"
)]
pub fn number_of(ticket: f64) -> u64 {
    ticket as u64
}
