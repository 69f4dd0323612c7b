//! The scripts: how each command becomes one call.
//!
//! One Lua file per script, its arguments and replies in its header. All keys that a command names are in KEYS; handing
//! over also touches those that waiters named when they came. No Lua is made from data.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sha1_smol::Sha1;

use super::names::{Names, attempt, name_of};
use super::resp::CommandWriter;
use crate::core::fleet::{Command, Held, Place, Renewal, Sent};
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
    /// Its bit in [`Known`].
    bit: u16,
}

// `script!(NAME, bit, files)`, the files one after the other; between semicolons a file that becomes the function `one` of
// KEYS and ARGV.
macro_rules! script {
    ($name:ident, $bit:literal, $($file:literal),+ $(; $one:literal; $($rest:literal),+)?) => {
        static $name: Script = Script {
            source: LazyLock::new(|| faults::script(concat!(
                $(include_str!(concat!("lua/", $file)),)+
                $("local function one(KEYS, ARGV)\n", include_str!(concat!("lua/", $one)), "end\n",
                $(include_str!(concat!("lua/", $rest)),)+)?
            ))),
            sha1: LazyLock::new(|| Sha1::from(*$name.source).digest().to_string()),
            bit: 1 << $bit,
        };
    };
}

script!(ACQUIRE_JOB, 0, "mint.lua", "queue.lua", "acquire_job.lua");
script!(ACQUIRE_JOBS, 1, "mint.lua", "queue.lua"; "acquire_job.lua"; "many.lua", "acquire_jobs.lua");
script!(
    ACQUIRE_LOCK,
    2,
    "mint.lua",
    "record.lua",
    "queue.lua",
    "acquire_lock.lua"
);
script!(ACQUIRE_LOCKS, 3, "mint.lua", "record.lua", "queue.lua"; "acquire_lock.lua"; "many.lua", "acquire_locks.lua");
script!(CANCEL_JOB, 4, "queue.lua", "cancel_job.lua");
script!(CANCEL_LOCK, 5, "record.lua", "queue.lua", "cancel_lock.lua");
script!(RELEASE, 6, "queue.lua", "release.lua");
script!(RELEASES, 7, "queue.lua"; "release.lua"; "many.lua", "releases.lua");
script!(RENEW, 8, "renew.lua");
script!(SWEEP, 9, "queue.lua", "sweep.lua");
script!(INSPECT, 10, "inspect.lua");
script!(RESERVE, 11, "mint.lua", "queue.lua", "reserve.lua");

/// Which scripts a connection has sent with their source: the server knows these, unless it was told to forget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known(u16);

impl Known {
    /// Whether `script` is among them; from now on it is.
    fn meet(&mut self, script: &Script) -> bool {
        let was_known = self.0 & script.bit != 0;
        self.0 |= script.bit;
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
                let mut call = writer.call(&CANCEL_JOB, 2 * keys.len() + 1, 1);
                self.locks(&mut call, keys);
                self.queues(&mut call, keys);
                self.waiter(&mut call, keys, *ticket);
                call.attempt(*ticket);
            }
            Command::Cancel { ticket, keys, owner } => {
                let mut call = writer.call(&CANCEL_LOCK, 3 * keys.len() + 1, 3);
                self.locks(&mut call, keys);
                self.queues(&mut call, keys);
                self.waiter(&mut call, keys, *ticket);
                self.records(&mut call, keys);
                call.attempt(*ticket).text(name_of(owner)).number(RECORD_MS);
            }
            Command::Renew { leases } => self.encode_renew(&mut writer, leases),
            Command::Reserve {
                job,
                token,
                keys,
                count,
                ..
            } => {
                let mut call = writer.call(&RESERVE, 2 * keys.len() + 1, 2);
                self.locks(&mut call, keys);
                self.queues(&mut call, keys);
                call.text(self.names.fence())
                    .job(*job, *token)
                    .number(u64::from(count.saturating_sub(1)));
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
                let mut call = writer.call(&SWEEP, 3 * keys.len(), 2);
                self.locks(&mut call, keys);
                self.queues(&mut call, keys);
                self.records(&mut call, keys);
                call.flag(owner_id.is_none())
                    .text(owner_id.as_deref().unwrap_or_default());
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
        let mut call = match (is_job, is_alone) {
            (true, true) => writer.call(&ACQUIRE_JOB, 2 * locks + 2, 7),
            (true, false) => writer.call(&ACQUIRE_JOBS, 2 * locks + 1, 7 + count),
            (false, true) => writer.call(&ACQUIRE_LOCK, 3 * locks + 2, 10),
            (false, false) => writer.call(&ACQUIRE_LOCKS, 3 * locks + 1, 8 + 2 * count),
        };
        self.lines(&mut call, commands, !is_job);
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
        match (is_alone, is_job) {
            (true, _) => {}
            (false, true) => call.attempts(commands),
            (false, false) => call.attempts_and_owners(commands),
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
        let has_records = matches!(held, Held::ByOwner(_));
        let key_count = if has_records { 3 } else { 2 } * locks;
        let mut call = if is_alone {
            writer.call(&RELEASE, key_count, 4)
        } else {
            writer.call(&RELEASES, key_count, 2 + count)
        };
        each_key_set(commands).for_each(|keys| self.locks(&mut call, keys));
        each_key_set(commands).for_each(|keys| self.queues(&mut call, keys));
        if has_records {
            each_key_set(commands).for_each(|keys| self.records(&mut call, keys));
        }
        let open = self.open && has_records;
        call.number(keys.len() as u64);
        if is_alone {
            call.held(commands).flag(open).flag(*more);
        } else {
            call.flag(open).held(commands);
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

    /// All locks, then all queues, the waiter of a request that is alone, and all records if wanted.
    fn lines(&self, call: &mut Call<'_>, commands: &[Sent], with_records: bool) {
        each_key_set(commands).for_each(|keys| self.locks(call, keys));
        each_key_set(commands).for_each(|keys| self.queues(call, keys));
        if let [
            Sent {
                command: Command::Acquire { ticket, keys, .. },
                ..
            },
        ] = commands
        {
            self.waiter(call, keys, *ticket);
        }
        if with_records {
            each_key_set(commands).for_each(|keys| self.records(call, keys));
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

    /// The waiter of `ticket`.
    fn waiter(&self, call: &mut Call<'_>, keys: &KeySet, ticket: Ticket) {
        let first = keys.iter().next().map_or("", |key| key);
        let mut digits = itoa::Buffer::new();
        let attempt = attempt(ticket, &mut digits);
        call.joined(&self.names.beside(first).waiter(attempt));
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

/// The keys of each of these requests.
fn each_key_set(commands: &[Sent]) -> impl Iterator<Item = &KeySet> {
    commands.iter().filter_map(|sent| match &sent.command {
        Command::Acquire { keys, .. } | Command::Release { keys, .. } => Some(keys),
        _ => None,
    })
}

/// Where calls are written.
struct Writer<'out> {
    out: &'out mut Vec<u8>,
    known: &'out mut Known,
}

impl Writer<'_> {
    /// Begins a call of `script` with so many KEYS and ARGV.
    fn call(&mut self, script: &Script, keys: usize, args: usize) -> Call<'_> {
        let is_known = self.known.meet(script);
        let mut call = CommandWriter::begin(self.out, 3 + keys + args);
        if is_known {
            call.arg(b"EVALSHA").arg(script.sha1.as_bytes());
        } else {
            call.arg(b"EVAL").arg(script.source.as_bytes());
        }
        call.arg_u64(keys as u64);
        Call(call)
    }
}

/// One script call being written.
struct Call<'out>(CommandWriter<'out>);

impl Call<'_> {
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

    /// Whether a request waits, and where.
    fn place(&mut self, place: Option<&Place>) -> &mut Self {
        match place {
            None => self.text("").text("0"),
            Some(place) => self
                .number(place.ticket)
                .number(u64::try_from(place.age.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    /// The attempt of a ticket.
    fn attempt(&mut self, ticket: Ticket) -> &mut Self {
        self.joined(&attempt(ticket, &mut itoa::Buffer::new()))
    }

    /// The owner id of a job's lock.
    fn job(&mut self, job: Ticket, token: u64) -> &mut Self {
        let (mut digits, mut token_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let [prefix, number] = attempt(job, &mut digits);
        self.joined(&[prefix, number, "#", token_digits.format(token)])
    }

    /// The attempt of each of these requests.
    fn attempts(&mut self, commands: &[Sent]) {
        for sent in commands {
            if let Command::Acquire { ticket, .. } = &sent.command {
                self.attempt(*ticket);
            }
        }
    }

    /// The same, each with its owner behind it.
    fn attempts_and_owners(&mut self, commands: &[Sent]) {
        for sent in commands {
            if let Command::Acquire { ticket, owner, .. } = &sent.command {
                self.attempt(*ticket).text(name_of(owner));
            }
        }
    }

    /// Whose the locks are that each of these releases.
    fn held(&mut self, commands: &[Sent]) -> &mut Self {
        for sent in commands {
            match &sent.command {
                Command::Release {
                    held: Held::ByJob { job, token },
                    ..
                } => self.job(*job, *token),
                Command::Release {
                    held: Held::ByOwner(owner_id),
                    ..
                } => self.text(owner_id.as_deref().unwrap_or(OWNERLESS)),
                _ => self,
            };
        }
        self
    }
}
