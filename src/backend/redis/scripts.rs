//! The scripts: how each command becomes one call, and each reply an answer.
//!
//! One Lua file per script, its arguments and replies in its header. All keys are in KEYS, and no Lua is made from
//! data.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sha1_smol::Sha1;

use super::names::{Names, job_id, owner_id};
use super::resp::{CommandWriter, Reply};
use crate::backend::job_owner_id;
use crate::core::fleet::{Answer, Command, Held, Renewal};
use crate::core::key::KeySet;
use crate::core::outcome::Lock;
use crate::core::owner::{OWNERLESS, Owner};
use crate::core::ticket::Ticket;

/// How long a record lives whose lock does not expire. It serves a repeated attempt for minutes, and `inspect` after.
const RECORD_MS: u64 = 24 * 60 * 60 * 1000;

/// How many keys one page of a scan looks at.
const SCAN_COUNT: u64 = 1000;

/// A script and its name on the server.
struct Script {
    source: &'static str,
    sha1: LazyLock<String>,
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        static $name: Script = Script {
            source: concat!($(include_str!(concat!("lua/", $file))),+),
            sha1: LazyLock::new(|| Sha1::from(concat!($(include_str!(concat!("lua/", $file))),+)).digest().to_string()),
        };
    };
}

script!(ACQUIRE_JOB, "mint.lua", "acquire_job.lua");
script!(ACQUIRE_LOCK, "mint.lua", "record.lua", "acquire_lock.lua");
script!(CANCEL_JOB, "cancel_job.lua");
script!(CANCEL_LOCK, "record.lua", "cancel_lock.lua");
script!(RELEASE, "release.lua");
script!(RENEW, "renew.lua");
script!(SWEEP, "sweep.lua");
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

/// The server answered something that no script of ours answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub String);

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
    pub fn encode(&self, out: &mut Vec<u8>, command: &Command, known: &mut Known) {
        let source = !known.is_known(command);
        match command {
            Command::Acquire {
                ticket,
                keys,
                owner: Owner::Job(_),
                expire,
                reserve,
                ..
            } => {
                let mut call = Call::new(out, &ACQUIRE_JOB, source, keys.len() + 1, 3);
                self.locks(&mut call, keys);
                call.text(self.names.fence())
                    .text(&job_id(*ticket))
                    .number(ms(*expire))
                    .number(u64::from(*reserve));
            }
            Command::Acquire {
                ticket,
                keys,
                owner,
                expire,
                must_hold,
                reserve: _,
            } => {
                let mut call = Call::new(out, &ACQUIRE_LOCK, source, 2 * keys.len() + 1, 6);
                self.locks(&mut call, keys);
                self.records(&mut call, keys);
                call.text(self.names.fence())
                    .text(&owner_id(owner))
                    .number(ms(*expire));
                call.text(&job_id(*ticket))
                    .text(
                        &must_hold
                            .iter()
                            .flatten()
                            .map(|must| if *must { '1' } else { '0' })
                            .collect::<String>(),
                    )
                    .flag(self.open)
                    .number(RECORD_MS);
            }
            Command::Release {
                ticket: _,
                keys,
                held,
            } => self.encode_release(out, keys, held, source),
            Command::Cancel {
                ticket,
                keys,
                owner: Owner::Job(_),
            } => {
                let mut call = Call::new(out, &CANCEL_JOB, source, keys.len(), 1);
                self.locks(&mut call, keys);
                call.text(&job_id(*ticket));
            }
            Command::Cancel { ticket, keys, owner } => {
                let mut call = Call::new(out, &CANCEL_LOCK, source, 2 * keys.len(), 3);
                self.locks(&mut call, keys);
                self.records(&mut call, keys);
                call.text(&owner_id(owner))
                    .text(&job_id(*ticket))
                    .number(RECORD_MS);
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
                let mut call = Call::new(out, &SWEEP, source, 2 * keys.len(), 2);
                self.locks(&mut call, keys);
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

    fn encode_release(&self, out: &mut Vec<u8>, keys: &KeySet, held: &Held, source: bool) {
        let owner_id = match held {
            Held::ByJob { job, token } => job_owner_id(*job, *token),
            Held::ByOwner(owner_id) => owner_id.as_deref().unwrap_or(OWNERLESS).to_owned(),
        };
        let has_records = matches!(held, Held::ByOwner(_));
        let key_count = if has_records { 2 * keys.len() } else { keys.len() };
        let mut call = Call::new(out, &RELEASE, source, key_count, 3);
        self.locks(&mut call, keys);
        if has_records {
            self.records(&mut call, keys);
        }
        call.number(keys.len() as u64)
            .text(&owner_id)
            .flag(self.open && has_records);
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
            call.text(&self.names.lock(key));
        }
    }

    fn records<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.text(&self.names.record(key));
        }
    }

    /// What `reply`, which is no error, answers to `command`.
    ///
    /// # Errors
    /// No script of ours replies so: something between us and the server, or the server, is broken.
    pub fn decode(&self, command: &Command, reply: Reply) -> Result<Answer, Unexpected> {
        match (command, reply) {
            (Command::Acquire { .. }, Reply::Int(token)) => u64::try_from(token)
                .ok()
                .filter(|token| *token <= Ticket::MAX)
                .map(Answer::Granted),
            (Command::Acquire { keys, .. }, Reply::Array(busy)) => decode_busy(keys, &busy),
            (Command::Release { .. }, Reply::Int(all)) => Some(Answer::Released(all == 1)),
            (Command::Cancel { .. } | Command::Sweep { .. }, Reply::Int(_)) => Some(Answer::Released(true)),
            (Command::Renew { leases }, Reply::Array(lost)) => decode_renewed(leases, &lost),
            (Command::Scan { .. }, Reply::Array(page)) => self.decode_page(page),
            (Command::Inspect { keys, .. }, Reply::Array(locks)) if locks.len() == keys.len() => {
                let found = keys.iter().zip(locks).map(|(key, lock)| decode_lock(key, lock));
                found
                    .collect::<Option<Vec<Option<Lock>>>>()
                    .map(|locks| Answer::Locks(locks.into_iter().flatten().collect()))
            }
            (command, reply) => return Err(unexpected(command, &reply)),
        }
        .ok_or_else(|| Unexpected("a reply with the wrong parts".to_owned()))
    }

    fn decode_page(&self, page: Vec<Reply>) -> Option<Answer> {
        let [Reply::Bulk(cursor), Reply::Array(names)] = <[Reply; 2]>::try_from(page).ok()? else {
            return None;
        };
        let cursor = std::str::from_utf8(&cursor).ok()?.parse().ok()?;
        let key_of = |name: &Reply| match name {
            Reply::Bulk(name) => self.names.key_of(std::str::from_utf8(name).ok()?).map(Arc::from),
            _ => None,
        };
        Some(Answer::Page(cursor, names.iter().filter_map(key_of).collect()))
    }
}

/// `{i, ms}`: which lock is held, and for how long.
fn decode_busy(keys: &KeySet, busy: &[Reply]) -> Option<Answer> {
    let [Reply::Int(index), Reply::Int(lapses_in_ms)] = busy else {
        return None;
    };
    let index = usize::try_from(*index)
        .ok()?
        .checked_sub(1)
        .filter(|index| *index < keys.len())?;
    // -1: no expiry; -2: it is gone since.
    let lapses_in = match lapses_in_ms {
        -1 => None,
        ms => Some(Duration::from_millis(u64::try_from(*ms).unwrap_or(0))),
    };
    Some(Answer::Busy(index, lapses_in))
}

fn decode_renewed(leases: &[Renewal], lost: &[Reply]) -> Option<Answer> {
    if lost.len() != leases.len() {
        return None;
    }
    let each = leases.iter().zip(lost).map(|(lease, lost)| match lost {
        Reply::Int(0) => Some(None),
        Reply::Int(index) => {
            let index = usize::try_from(*index).ok()?.checked_sub(1)?;
            (index < lease.keys.len()).then_some(Some(index))
        }
        _ => None,
    });
    each.collect::<Option<Vec<_>>>().map(Answer::Renewed)
}

/// The outer `None`: not a reply of ours; the inner one: not held.
fn decode_lock(key: &Arc<str>, lock: Reply) -> Option<Option<Lock>> {
    let parts = match lock {
        Reply::Nil => return Some(None),
        Reply::Array(parts) => parts,
        _ => return None,
    };
    let [Reply::Bulk(owner), Reply::Int(expires_in_ms), record] = <[Reply; 3]>::try_from(parts).ok()? else {
        return None;
    };
    let owner = String::from_utf8_lossy(&owner).into_owned();
    let record = match &record {
        Reply::Bulk(record) => std::str::from_utf8(record)
            .ok()
            .and_then(|text| text.split(' ').nth(1)),
        _ => None,
    };
    let token = match owner
        .strip_prefix("execute:")
        .and_then(|job| job.rsplit_once('#'))
    {
        Some((_, token)) => Some(token),
        None => record,
    };
    Some(Some(Lock {
        key: key.to_string(),
        fencing_token: token.and_then(|token| token.parse().ok()),
        owner_id: (owner != OWNERLESS).then_some(owner),
        expires_in_ms: u64::try_from(expires_in_ms).ok(),
        waiting: 0,
    }))
}

fn unexpected(command: &Command, reply: &Reply) -> Unexpected {
    let name = match command {
        Command::Acquire { .. } => "acquire",
        Command::Release { .. } => "release",
        Command::Cancel { .. } => "cancel",
        Command::Renew { .. } => "renew",
        Command::Scan { .. } => "scan",
        Command::Sweep { .. } => "sweep",
        Command::Inspect { .. } => "inspect",
    };
    let mut seen = format!("{reply:?}");
    if let Some((end, _)) = seen.char_indices().nth(80) {
        seen.truncate(end);
    }
    Unexpected(format!("to {name}, which no script answers: {seen}"))
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

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.arg_u64(number);
        self
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.text(if flag { "1" } else { "0" })
    }
}
