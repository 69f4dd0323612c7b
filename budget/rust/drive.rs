//! Drives the backends through their Rust API, as the addon does, in the shapes of `budget/scenarios.mjs`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::backend::memory::{Asked, Member as MemoryMember, Space};
use medusa_locking_native::backend::redis::member::Member as FleetMember;
use medusa_locking_native::backend::redis::names::Names;
use medusa_locking_native::backend::redis::scripts::Scripts;
use medusa_locking_native::backend::redis::settings::{RedisOverrides, RedisSettings};
use medusa_locking_native::backend::{Completion, Outcome, Sink, Wait};
use medusa_locking_native::core::backoff::Backoff;
use medusa_locking_native::core::fleet::Config;
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::table::{Claim, Limits, Ownerless};
use medusa_locking_native::core::ticket::Ticket;

use crate::mailbox::Mailbox;

/// Why a run came to nothing.
pub type Failed = Box<dyn Error>;

/// How many key sets there are for each operation that may be under way.
const SETS_PER_LANE: usize = 16;
/// Longer than any run.
const PATIENCE: Wait = Wait::For(Duration::from_secs(600));
/// Of a lock.
const EXPIRE: Duration = Duration::from_secs(10);
/// The option's default.
const LEASE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Execute,
    AcquireRelease,
    /// `execute`, all of a width for one key.
    HotKey,
}

enum Backend {
    Memory(MemoryMember),
    Redis(FleetMember),
}

/// One kind of work, with what it works on.
pub struct Drive {
    backend: Backend,
    mailbox: Arc<Mailbox>,
    operation: Operation,
    /// How many operations are under way at once.
    width: usize,
    key_sets: Vec<Vec<String>>,
    /// How many operations were begun.
    begun: usize,
    /// Reused, so that nothing is counted but what is driven.
    asked: Vec<Asked>,
}

impl Drive {
    /// From `<memory|redis url> <execute|acquire-release|hot-key> <width> <keys per call>`.
    ///
    /// # Errors
    /// They are not like that.
    pub fn from_args(args: &mut impl Iterator<Item = String>) -> Result<Self, Failed> {
        let mut next = || args.next().ok_or("an argument is missing");
        let (backend, operation) = (next()?, next()?);
        let (width, keys_per_call) = (next()?.parse::<usize>()?, next()?.parse::<usize>()?);
        let (operation, sets) = match operation.as_str() {
            "execute" => (Operation::Execute, width * SETS_PER_LANE),
            "acquire-release" => (Operation::AcquireRelease, width * SETS_PER_LANE),
            "hot-key" => (Operation::HotKey, 1),
            other => return Err(format!("no operation: {other}").into()),
        };
        let mailbox = Arc::new(Mailbox::default());
        let sink = Arc::clone(&mailbox) as Arc<dyn Sink>;
        let backend = match backend.as_str() {
            "memory" => Backend::Memory(Space::new(Ownerless::Exclusive, Limits::default()).join(sink)),
            url => Backend::Redis(join_fleet(url, sink)?),
        };
        Ok(Drive {
            backend,
            mailbox,
            operation,
            width,
            key_sets: (0..sets).map(|set| key_set(set, keys_per_call)).collect(),
            begun: 0,
            asked: Vec::with_capacity(width),
        })
    }

    /// Does `count` operations, to their end.
    ///
    /// # Errors
    /// One of them was not granted, or not held to its end.
    pub fn work(&mut self, count: usize) -> Result<(), Failed> {
        let until = self.begun + count;
        while self.begun < until {
            let width = self.width.min(until - self.begun);
            match (&self.backend, self.operation) {
                (Backend::Memory(_), _) => self.together(width)?,
                (Backend::Redis(_), Operation::HotKey) => self.on_fleet(width, self.begun + width)?,
                (Backend::Redis(_), _) => self.on_fleet(width, until)?,
            }
        }
        Ok(())
    }

    /// In memory: `width` ask, and then each gives back.
    fn together(&mut self, width: usize) -> Result<(), Failed> {
        let Backend::Memory(member) = &self.backend else {
            return Ok(());
        };
        let first = self.begun;
        let mut asked = std::mem::take(&mut self.asked);
        for operation in first..first + width {
            asked.push(member.request(self.keys(operation)?, self.claim(), PATIENCE)?);
        }
        for (operation, asked) in (first..).zip(asked.drain(..)) {
            let ticket = match asked {
                Asked::Granted(ticket) => ticket,
                Asked::Pending(ticket) if is_grant(self.mailbox.next(), ticket) => ticket,
                other => return Err(format!("{other:?}").into()),
            };
            let given = match self.operation {
                Operation::AcquireRelease => member.release(&self.keys(operation)?, Owner::Anyone),
                Operation::Execute | Operation::HotKey => member.finish(ticket),
            };
            if !given.held {
                return Err("was not held".into());
            }
        }
        self.begun += width;
        self.asked = asked;
        Ok(())
    }

    /// On Redis: `width` at once, each starting the next operation when its last has ended.
    fn on_fleet(&mut self, width: usize, until: usize) -> Result<(), Failed> {
        let Backend::Redis(member) = &self.backend else {
            return Ok(());
        };
        let mut begun = self.begun;
        let begin = |operation| -> Result<Ticket, Failed> {
            Ok(member.request(self.keys(operation)?, self.claim(), LEASE, |now| {
                PATIENCE.from(now)
            })?)
        };
        for _ in 0..width {
            begin(begun)?;
            begun += 1;
        }
        let mut under_way = width;
        while under_way > 0 {
            let Completion { ticket, outcome } = self.mailbox.wait();
            let is_over = match outcome {
                Outcome::Granted(_) => match member.finish(ticket) {
                    Some(given) if !given.held => return Err("was not held".into()),
                    given => given.is_some(),
                },
                Outcome::Acquired { keys, .. } => {
                    member.release(keys, None)?;
                    false
                }
                Outcome::Finished(true) | Outcome::Released(true) => true,
                other => return Err(format!("{other:?}").into()),
            };
            if is_over && begun < until {
                begin(begun)?;
                begun += 1;
            } else if is_over {
                under_way -= 1;
            }
        }
        self.begun = begun;
        Ok(())
    }

    /// Made from text each time, as the addon has to.
    fn keys(&self, operation: usize) -> Result<KeySet, Failed> {
        let set = &self.key_sets[operation % self.key_sets.len()];
        Ok(match set.as_slice() {
            [key] => KeySet::one(key)?,
            keys => KeySet::new(keys.iter().map(String::as_str))?,
        })
    }

    fn claim(&self) -> Claim {
        match self.operation {
            Operation::Execute | Operation::HotKey => Claim::Job,
            Operation::AcquireRelease => Claim::Lock {
                owner: Owner::Anyone,
                expire: Some(EXPIRE),
            },
        }
    }
}

/// Whether this is the grant of `ticket`.
fn is_grant(completion: Option<Completion>, ticket: Ticket) -> bool {
    completion.is_some_and(|told| told.ticket == ticket && matches!(told.outcome, Outcome::Granted(_)))
}

/// With the options' defaults.
fn join_fleet(url: &str, sink: Arc<dyn Sink>) -> Result<FleetMember, Failed> {
    let settings = RedisSettings::resolve(Some(url), RedisOverrides::default())
        .map_err(|error| format!("{}: {}", error.option, error.problem))?;
    let config = Config {
        endpoint: settings.endpoint(),
        backoff: Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(200),
            factor: 1.5,
        },
        command_timeout: settings.command_timeout,
        max_stall: Duration::from_secs(300),
        acquire_renew: Duration::ZERO,
        local_handoffs: 16,
        ownerless_open: false,
        limits: Limits::default(),
    };
    let scripts = Scripts::new(Names::new("medusa_lock:")?, false);
    Ok(FleetMember::new(settings, scripts, config, sink))
}

/// Keys as long as the ids of Medusa's inventory items.
fn key_set(set: usize, keys_per_call: usize) -> Vec<String> {
    (0..keys_per_call)
        .map(|key| format!("iitem_01K{:0>23}", set * keys_per_call + key))
        .collect()
}
