//! The scripts: how each command becomes one call.
//!
//! One Lua file per script, its arguments and replies in its header. All keys that a command names are in KEYS; handing
//! over also touches those that waiters named when they came. No Lua is made from data.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sha1_smol::Sha1;

use super::names::{Names, job_id, owner_id};
use super::resp::CommandWriter;
use crate::backend::job_owner_id;
use crate::core::fleet::{Command, Held, Renewal};
use crate::core::key::KeySet;
use crate::core::owner::{OWNERLESS, Owner};
use crate::core::ticket::Ticket;
use crate::faults;

/// How long a record lives whose lock does not expire. It serves a repeated attempt for minutes, and `inspect` after.
const RECORD_MS: u64 = 24 * 60 * 60 * 1000;

/// How many keys one page of a scan looks at.
const SCAN_COUNT: u64 = 1000;

/// A script and its name on the server.
struct Script {
    source: LazyLock<&'static str>,
    sha1: LazyLock<String>,
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        static $name: Script = Script {
            source: LazyLock::new(|| faults::script(concat!($(include_str!(concat!("lua/", $file))),+))),
            sha1: LazyLock::new(|| Sha1::from(*$name.source).digest().to_string()),
        };
    };
}

script!(ACQUIRE_JOB, "mint.lua", "queue.lua", "acquire_job.lua");
script!(
    ACQUIRE_LOCK,
    "mint.lua",
    "record.lua",
    "queue.lua",
    "acquire_lock.lua"
);
script!(CANCEL_JOB, "queue.lua", "cancel_job.lua");
script!(CANCEL_LOCK, "record.lua", "queue.lua", "cancel_lock.lua");
script!(RELEASE, "queue.lua", "release.lua");
script!(RENEW, "renew.lua");
script!(SWEEP, "queue.lua", "sweep.lua");
script!(INSPECT, "inspect.lua");

/// Which scripts a connection has sent with their source: the server knows these, unless it was told to forget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known(u8);

impl Known {
    /// Whether the script of `command` is among them; from now on it is.
    fn is_known(&mut self, command: &Command) -> bool {
        let bit = match command {
            Command::Acquire {
                owner: Owner::Job(_), ..
            } => 1,
            Command::Acquire { .. } => 2,
            Command::Cancel {
                owner: Owner::Job(_), ..
            } => 4,
            Command::Cancel { .. } => 8,
            Command::Release { .. } => 16,
            Command::Renew { .. } => 32,
            Command::Sweep { .. } => 64,
            Command::Inspect { .. } => 128,
            Command::Scan { .. } => return true,
        };
        let was_known = self.0 & bit != 0;
        self.0 |= bit;
        was_known
    }
}

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

    /// Appends the call for `command` to `out`: by the script's hash, or with its whole source where `known` lacks it.
    /// `inbox`: the channel on which the server can call us, if it can.
    pub fn encode(&self, out: &mut Vec<u8>, command: &Command, known: &mut Known, inbox: Option<&str>) {
        let source = !known.is_known(command);
        match command {
            Command::Acquire { .. } => self.encode_acquire(out, command, source, inbox.unwrap_or_default()),
            Command::Release { keys, held, more, .. } => {
                self.encode_release(out, keys, held, *more, source);
            }
            Command::Cancel {
                ticket,
                keys,
                owner: Owner::Job(_),
            } => {
                let mut call = Call::new(out, &CANCEL_JOB, source, 2 * keys.len() + 1, 1);
                let attempt = self.lines(&mut call, keys, *ticket);
                call.text(&attempt);
            }
            Command::Cancel { ticket, keys, owner } => {
                let mut call = Call::new(out, &CANCEL_LOCK, source, 3 * keys.len() + 1, 3);
                let attempt = self.lines(&mut call, keys, *ticket);
                self.records(&mut call, keys);
                call.text(&attempt).text(&owner_id(owner)).number(RECORD_MS);
            }
            Command::Renew { leases } => self.encode_renew(out, leases, source),
            Command::Scan { cursor, .. } => {
                let mut call = CommandWriter::begin(out, 6);
                call.arg(b"SCAN")
                    .arg_u64(*cursor)
                    .arg(b"MATCH")
                    .arg(self.names.pattern().as_bytes());
                call.arg(b"COUNT").arg_u64(SCAN_COUNT);
            }
            Command::Sweep { keys, owner_id, .. } => {
                let mut call = Call::new(out, &SWEEP, source, 3 * keys.len(), 2);
                self.locks(&mut call, keys);
                self.queues(&mut call, keys);
                self.records(&mut call, keys);
                call.flag(owner_id.is_none())
                    .text(owner_id.as_deref().unwrap_or_default());
            }
            Command::Inspect { keys, .. } => {
                let mut call = Call::new(out, &INSPECT, source, 2 * keys.len(), 0);
                self.locks(&mut call, keys);
                self.records(&mut call, keys);
            }
        }
    }

    fn encode_acquire(&self, out: &mut Vec<u8>, command: &Command, source: bool, inbox: &str) {
        let Command::Acquire {
            ticket,
            keys,
            owner,
            expire,
            must_hold,
            reserve,
            wait,
            more,
        } = command
        else {
            return;
        };
        let is_job = matches!(owner, Owner::Job(_));
        let mut call = if is_job {
            Call::new(out, &ACQUIRE_JOB, source, 2 * keys.len() + 2, 7)
        } else {
            Call::new(out, &ACQUIRE_LOCK, source, 3 * keys.len() + 2, 10)
        };
        let attempt = self.lines(&mut call, keys, *ticket);
        if !is_job {
            self.records(&mut call, keys);
        }
        call.text(self.names.fence()).text(&attempt).number(ms(*expire));
        if is_job {
            call.number(u64::from(*reserve));
        } else {
            call.text(&owner_id(owner));
        }
        match wait {
            None => call.text("").text("0"),
            Some(place) => call
                .number(place.ticket)
                .number(u64::try_from(place.age.as_micros()).unwrap_or(u64::MAX)),
        };
        call.text(inbox).flag(*more);
        if !is_job {
            call.flag(*must_hold).flag(self.open).number(RECORD_MS);
        }
    }

    fn encode_release(&self, out: &mut Vec<u8>, keys: &KeySet, held: &Held, more: bool, source: bool) {
        let owner_id = match held {
            Held::ByJob { job, token } => job_owner_id(*job, *token),
            Held::ByOwner(owner_id) => owner_id.as_deref().unwrap_or(OWNERLESS).to_owned(),
        };
        let has_records = matches!(held, Held::ByOwner(_));
        let key_count = if has_records { 3 } else { 2 } * keys.len();
        let mut call = Call::new(out, &RELEASE, source, key_count, 4);
        self.locks(&mut call, keys);
        self.queues(&mut call, keys);
        if has_records {
            self.records(&mut call, keys);
        }
        call.number(keys.len() as u64)
            .text(&owner_id)
            .flag(self.open && has_records)
            .flag(more);
    }

    fn encode_renew(&self, out: &mut Vec<u8>, leases: &[Renewal], source: bool) {
        let locks = leases.iter().map(|lease| lease.keys.len()).sum();
        let mut call = Call::new(out, &RENEW, source, locks, 3 * leases.len());
        for lease in leases {
            self.locks(&mut call, &lease.keys);
        }
        for lease in leases {
            call.text(&job_owner_id(lease.job, lease.token))
                .number(ms(Some(lease.lease)));
            call.number(lease.keys.len() as u64);
        }
    }

    fn locks<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.lock_pieces(key));
        }
    }

    fn queues<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.beside(key).queue());
        }
    }

    /// The locks, their queues and the waiter of `ticket`, whose attempt it returns.
    fn lines(&self, call: &mut Call<'_>, keys: &KeySet, ticket: Ticket) -> String {
        let attempt = job_id(ticket);
        self.locks(call, keys);
        self.queues(call, keys);
        let first = keys.iter().next().map_or("", |key| key);
        call.joined(&self.names.beside(first).waiter(&attempt));
        attempt
    }

    fn records<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.beside(key).record());
        }
    }
}

/// Milliseconds, at least one where there is an expiry at all; 0 where there is none.
fn ms(expire: Option<Duration>) -> u64 {
    expire.map_or(0, |span| {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}

/// One script call being written.
struct Call<'out>(CommandWriter<'out>);

impl<'out> Call<'out> {
    fn new(out: &'out mut Vec<u8>, script: &Script, source: bool, keys: usize, args: usize) -> Self {
        let mut call = CommandWriter::begin(out, 3 + keys + args);
        if source {
            call.arg(b"EVAL").arg(script.source.as_bytes());
        } else {
            call.arg(b"EVALSHA").arg(script.sha1.as_bytes());
        }
        call.arg_u64(keys as u64);
        Call(call)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.arg(text.as_bytes());
        self
    }

    fn joined(&mut self, pieces: &[&str]) -> &mut Self {
        self.0.arg_joined(pieces);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.arg_u64(number);
        self
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.text(if flag { "1" } else { "0" })
    }
}
