//! The scripts: how each command becomes one call.
//!
//! Each script has a Lua file of its own, or two of which the first is what nearly every call ends with; its arguments and
//! replies are in the header. All that a command is about is in KEYS: its locks, their records, the counter, and the list of
//! queues. Only where that is there do the scripts make the names of queues and waiters; handing over also touches those that
//! waiters named when they came. No Lua is made from data.

mod call;
mod sources;

use std::sync::Arc;
use std::time::Duration;

pub use self::sources::Known;

use self::call::{Call, Writer};
use self::sources::{
    ACQUIRE_JOB, ACQUIRE_JOBS, ACQUIRE_LOCK, ACQUIRE_LOCKS, CANCEL_JOB, CANCEL_LOCK, INSPECT, KEEP, RELEASE,
    RELEASES, RENEW, RESERVE, SWEEP,
};
use super::names::{Names, QUEUES, name_of};
use super::resp::CommandWriter;
use crate::core::fleet::{Command, Held, Keep, Renewal, Sent};
use crate::core::key::KeySet;
use crate::core::owner::{OWNERLESS, Owner};

/// How long a record lives whose lock does not expire. It serves a repeated attempt for minutes, and `inspect` after.
const RECORD_MS: u64 = 24 * 60 * 60 * 1000;

/// How many keys one page of a scan looks at.
const SCAN_COUNT: u64 = 1000;

/// Writes and reads the calls of one namespace.
#[derive(Clone, Debug)]
pub struct Scripts {
    names: Names,
    /// Locks without an owner are open to all.
    open: bool,
}

impl Scripts {
    /// The calls for locks with these names.
    pub fn new(names: Names, open: bool) -> Self {
        Scripts { names, open }
    }

    /// The names they use.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Appends the one call for `commands` to `out`, several of which are alike ([`super::batch`]): by the script's hash, or
    /// with its whole source where `known` lacks it. `inbox`: the channel on which the server can call us, if it can.
    pub fn encode(&self, out: &mut Vec<u8>, commands: &[Sent], known: &mut Known, inbox: Option<&str>) {
        let Some(first) = commands.first() else { return };
        let mut writer = Writer { out, known };
        match &first.command {
            Command::Acquire { .. } => self.encode_acquire(&mut writer, commands, inbox.unwrap_or_default()),
            Command::Release { .. } => self.encode_release(&mut writer, commands),
            Command::Cancel {
                ticket,
                keys,
                owner: Owner::Job(_),
            } => {
                let mut call = writer.call(&CANCEL_JOB, keys.len() + 1, 2);
                self.locks(&mut call, keys);
                call.text(QUEUES).attempt(*ticket);
                self.tags(&mut call, keys.len(), keys);
            }
            Command::Cancel { ticket, keys, owner } => {
                let mut call = writer.call(&CANCEL_LOCK, 2 * keys.len() + 1, 4);
                self.locks(&mut call, keys);
                call.text(QUEUES);
                self.records(&mut call, keys);
                call.attempt(*ticket).text(name_of(owner)).number(RECORD_MS);
                self.tags(&mut call, keys.len(), keys);
            }
            Command::Renew { leases } => self.encode_renew(&mut writer, leases),
            Command::Keep { locks } => self.encode_keep(&mut writer, locks),
            Command::Reserve {
                job,
                token,
                keys,
                count,
                ..
            } => {
                let mut call = writer.call(&RESERVE, keys.len() + 2, 3);
                self.locks(&mut call, keys);
                call.text(QUEUES)
                    .text(self.names.fence())
                    .job(*job, *token)
                    .number(u64::from(count.saturating_sub(1)));
                self.tags(&mut call, keys.len(), keys);
            }
            Command::Scan { cursor, .. } => {
                let mut call = CommandWriter::begin(writer.out, 6);
                call.arg(b"SCAN")
                    .arg_u64(*cursor)
                    .arg(b"MATCH")
                    .arg(self.names.pattern().as_bytes());
                call.arg(b"COUNT").arg_u64(SCAN_COUNT);
            }
            Command::Sweep { keys, owner_id, .. } => {
                let mut call = writer.call(&SWEEP, 2 * keys.len() + 1, 3);
                self.locks(&mut call, keys);
                call.text(QUEUES);
                self.records(&mut call, keys);
                call.flag(owner_id.is_none())
                    .text(owner_id.as_deref().unwrap_or_default());
                self.tags(&mut call, keys.len(), keys);
            }
            Command::Inspect { keys, .. } => {
                let mut call = writer.call(&INSPECT, 2 * keys.len(), 0);
                self.locks(&mut call, keys);
                self.records(&mut call, keys);
            }
        }
    }

    /// One request, or several that differ in nothing but their attempts, owners and keys.
    fn encode_acquire(&self, writer: &mut Writer<'_>, commands: &[Sent], inbox: &str) {
        let Some(Command::Acquire {
            keys,
            owner,
            expire,
            must_hold,
            reserve,
            wait,
            more,
            ..
        }) = commands.first().map(|sent| &sent.command)
        else {
            return;
        };
        let (count, locks) = (commands.len(), commands.len() * keys.len());
        let is_job = matches!(owner, Owner::Job(_));
        let is_alone = count == 1;
        let owners = owners(commands, acquiring_owner);
        let mut call = match (is_job, is_alone) {
            (true, true) => writer.call(&ACQUIRE_JOB, locks + 2, 8),
            (true, false) => writer.call(&ACQUIRE_JOBS, locks + 2, 8 + count),
            (false, true) => writer.call(&ACQUIRE_LOCK, 2 * locks + 2, 11),
            (false, false) => writer.call(&ACQUIRE_LOCKS, 2 * locks + 2, 9 + count + owners),
        };
        each_key_set(commands).for_each(|keys| self.locks(&mut call, keys));
        call.text(QUEUES);
        if !is_job {
            each_key_set(commands).for_each(|keys| self.records(&mut call, keys));
        }
        call.text(self.names.fence());
        // What is a request's own comes where its script has it; of several, behind what they share.
        if is_alone {
            call.attempts(commands);
        } else {
            call.number(keys.len() as u64);
        }
        call.number(ms(*expire));
        if is_job {
            call.number(u64::from(*reserve));
        } else if is_alone {
            call.text(name_of(owner));
        }
        call.place(wait.as_ref()).text(inbox).flag(*more);
        if !is_job && is_alone {
            call.flag(*must_hold);
        }
        if !is_job {
            call.flag(self.open).number(RECORD_MS);
        }
        self.tags(&mut call, locks, each_key_set(commands).flatten());
        if !is_alone {
            call.attempts(commands);
            let owner_ids = commands.iter().filter_map(acquiring_owner);
            owner_ids.take(owners).for_each(|owner_id| {
                call.text(owner_id);
            });
        }
    }

    /// One release, or several that differ in nothing but their owners and keys.
    fn encode_release(&self, writer: &mut Writer<'_>, commands: &[Sent]) {
        let Some(Command::Release { keys, held, more, .. }) = commands.first().map(|sent| &sent.command)
        else {
            return;
        };
        let (count, locks) = (commands.len(), commands.len() * keys.len());
        let is_alone = count == 1;
        let has_records = !matches!(held, Held::ByJob { .. });
        let key_count = if has_records { 2 } else { 1 } * locks + 1;
        let owners = owners(commands, releasing_owner);
        let mut call = if is_alone {
            writer.call(&RELEASE, key_count, 5)
        } else {
            writer.call(&RELEASES, key_count, 3 + owners)
        };
        each_key_set(commands).for_each(|keys| self.locks(&mut call, keys));
        call.text(QUEUES);
        if has_records {
            each_key_set(commands).for_each(|keys| self.records(&mut call, keys));
        }
        let whose = match held {
            Held::ByGrants(_) => "2",
            Held::ByOwner(_) if self.open => "1",
            Held::ByOwner(_) | Held::ByJob { .. } => "0",
        };
        call.number(keys.len() as u64);
        if is_alone {
            call.held(commands);
        }
        call.text(whose);
        if is_alone {
            call.flag(*more);
        }
        self.tags(&mut call, locks, each_key_set(commands).flatten());
        if !is_alone {
            call.held(&commands[..owners]);
        }
    }

    fn encode_renew(&self, writer: &mut Writer<'_>, leases: &[Renewal]) {
        let locks = leases.iter().map(|lease| lease.keys.len()).sum();
        let mut call = writer.call(&RENEW, locks, 3 * leases.len());
        for lease in leases {
            self.locks(&mut call, &lease.keys);
        }
        for lease in leases {
            call.job(lease.job, lease.token)
                .number(ms(Some(lease.lease)))
                .number(lease.keys.len() as u64);
        }
    }

    fn encode_keep(&self, writer: &mut Writer<'_>, locks: &[Keep]) {
        let mut call = writer.call(&KEEP, 2 * locks.len(), 3 * locks.len());
        for lock in locks {
            self.locks(&mut call, [&lock.key]);
            self.records(&mut call, [&lock.key]);
        }
        for lock in locks {
            call.text(name_of(&lock.owner))
                .attempt(lock.attempt)
                .number(ms(Some(lock.expire)));
        }
    }

    fn locks<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.lock_pieces(key));
        }
    }

    /// The tags of so many locks, as `lua/names.lua` takes them.
    fn tags<'k>(&self, call: &mut Call<'_>, count: usize, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        call.tags(count, keys.into_iter().map(|key| self.names.slot(key)));
    }

    fn records<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.record_pieces(key));
        }
    }
}

/// Milliseconds, at least one where there is an expiry at all; 0 where there is none.
fn ms(expire: Option<Duration>) -> u64 {
    expire.map_or(0, |span| {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}

/// The keys of each of these requests.
fn each_key_set(commands: &[Sent]) -> impl Iterator<Item = &KeySet> {
    commands.iter().filter_map(|sent| match &sent.command {
        Command::Acquire { keys, .. } | Command::Release { keys, .. } => Some(keys),
        _ => None,
    })
}

/// How many owner ids go with these commands: one where `owner_of` says the same of all, else one for each.
fn owners<'c>(commands: &'c [Sent], owner_of: impl Fn(&'c Sent) -> Option<&'c str>) -> usize {
    let Some(first) = commands.first().and_then(&owner_of) else {
        return commands.len();
    };
    let is_shared = commands.iter().all(|sent| owner_of(sent) == Some(first));
    if is_shared { 1 } else { commands.len() }
}

/// The owner id that an acquire leaves in Redis; None: that of a job holds what is the attempt's own.
fn acquiring_owner(sent: &Sent) -> Option<&str> {
    match &sent.command {
        Command::Acquire { owner, .. } if !matches!(owner, Owner::Job(_)) => Some(name_of(owner)),
        _ => None,
    }
}

/// The owner id by which a release knows what an acquire took; None: it is known by what is its own.
fn releasing_owner(sent: &Sent) -> Option<&str> {
    match &sent.command {
        Command::Release {
            held: Held::ByOwner(owner_id),
            ..
        } => Some(owner_id.as_deref().unwrap_or(OWNERLESS)),
        _ => None,
    }
}
