//! The scripts: how each command becomes one call.
//!
//! One Lua file per script, its arguments and replies in its header. All that a command is about is in KEYS: its locks, their
//! records, the counter, and the list of queues. Only where that is there do the scripts make the names of queues and waiters;
//! handing over also touches those that waiters named when they came. No Lua is made from data.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sha1_smol::Sha1;

use super::names::{Names, QUEUES, attempt, name_of};
use super::resp::CommandWriter;
use super::slot::{TAG_CHARS_MAX, padded_tag};
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

script!(
    ACQUIRE_JOB,
    0,
    "names.lua",
    "mint.lua",
    "queue.lua",
    "acquire_job.lua"
);
script!(ACQUIRE_JOBS, 1, "names.lua", "mint.lua", "queue.lua"; "acquire_job.lua"; "many.lua", "acquire_jobs.lua");
script!(
    ACQUIRE_LOCK,
    2,
    "names.lua",
    "mint.lua",
    "record.lua",
    "queue.lua",
    "acquire_lock.lua"
);
script!(ACQUIRE_LOCKS, 3, "names.lua", "mint.lua", "record.lua", "queue.lua"; "acquire_lock.lua"; "many.lua", "acquire_locks.lua");
script!(
    CANCEL_JOB,
    4,
    "names.lua",
    "queue.lua",
    "leave.lua",
    "cancel_job.lua"
);
script!(
    CANCEL_LOCK,
    5,
    "names.lua",
    "record.lua",
    "queue.lua",
    "leave.lua",
    "cancel_lock.lua"
);
script!(RELEASE, 6, "names.lua", "queue.lua", "release.lua");
script!(RELEASES, 7, "names.lua", "queue.lua"; "release.lua"; "many.lua", "releases.lua");
script!(RENEW, 8, "renew.lua");
script!(SWEEP, 9, "names.lua", "queue.lua", "sweep.lua");
script!(INSPECT, 10, "inspect.lua");
script!(RESERVE, 11, "names.lua", "mint.lua", "queue.lua", "reserve.lua");

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
        let shared_owner = shared(commands, acquiring_owner);
        let mut call = match (is_job, is_alone) {
            (true, true) => writer.call(&ACQUIRE_JOB, locks + 2, 8),
            (true, false) => writer.call(&ACQUIRE_JOBS, locks + 2, 8 + count),
            (false, true) => writer.call(&ACQUIRE_LOCK, 2 * locks + 2, 11),
            (false, false) => {
                let owners = if shared_owner.is_some() { 1 } else { count };
                writer.call(&ACQUIRE_LOCKS, 2 * locks + 2, 9 + count + owners)
            }
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
        match (is_alone, is_job, shared_owner) {
            (true, ..) => {}
            (false, true, _) => call.attempts(commands),
            (false, false, Some(owner)) => {
                call.attempts(commands);
                call.text(owner);
            }
            (false, false, None) => {
                call.attempts(commands);
                commands.iter().filter_map(acquiring_owner).for_each(|owner| {
                    call.text(owner);
                });
            }
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
        let key_count = if has_records { 2 } else { 1 } * locks + 1;
        let shared_owner = if is_alone {
            None
        } else {
            shared(commands, releasing_owner)
        };
        let mut call = match (is_alone, shared_owner) {
            (true, _) => writer.call(&RELEASE, key_count, 5),
            (false, Some(_)) => writer.call(&RELEASES, key_count, 4),
            (false, None) => writer.call(&RELEASES, key_count, 3 + count),
        };
        each_key_set(commands).for_each(|keys| self.locks(&mut call, keys));
        call.text(QUEUES);
        if has_records {
            each_key_set(commands).for_each(|keys| self.records(&mut call, keys));
        }
        let open = self.open && has_records;
        call.number(keys.len() as u64);
        if is_alone {
            call.held(commands);
        }
        call.flag(open);
        if is_alone {
            call.flag(*more);
        }
        self.tags(&mut call, locks, each_key_set(commands).flatten());
        match (is_alone, shared_owner) {
            (true, _) => {}
            (false, Some(owner)) => {
                call.text(owner);
            }
            (false, None) => {
                call.held(commands);
            }
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

    fn locks<'k>(&self, call: &mut Call<'_>, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        for key in keys {
            call.joined(&self.names.lock_pieces(key));
        }
    }

    /// The tags of so many locks, as `lua/names.lua` takes them.
    fn tags<'k>(&self, call: &mut Call<'_>, count: usize, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        // Tags lie far apart in memory. Looked up right after each other they are waited for at the same time.
        let mut slots = [0; 32];
        let mut keys = keys.into_iter();
        call.0.arg_with(count * TAG_CHARS_MAX, |out| {
            loop {
                let known = slots
                    .iter_mut()
                    .zip(&mut keys)
                    .map(|(slot, key)| *slot = self.names.slot(key))
                    .count();
                if known == 0 {
                    break;
                }
                slots[..known]
                    .iter()
                    .for_each(|slot| out.extend_from_slice(padded_tag(*slot)));
            }
        });
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

/// What `owner_of` says of all of these commands alike, if it does.
fn shared<'c>(commands: &'c [Sent], owner_of: impl Fn(&'c Sent) -> Option<&'c str>) -> Option<&'c str> {
    let (first, rest) = commands.split_first()?;
    let owner = owner_of(first)?;
    rest.iter()
        .all(|sent| owner_of(sent) == Some(owner))
        .then_some(owner)
}

/// The owner id that an acquire leaves in Redis; None: that of a job holds what is the attempt's own.
fn acquiring_owner(sent: &Sent) -> Option<&str> {
    match &sent.command {
        Command::Acquire { owner, .. } if !matches!(owner, Owner::Job(_)) => Some(name_of(owner)),
        _ => None,
    }
}

/// The owner id by which a release knows what an acquire took; None: it is a job's.
fn releasing_owner(sent: &Sent) -> Option<&str> {
    match &sent.command {
        Command::Release {
            held: Held::ByOwner(owner_id),
            ..
        } => Some(owner_id.as_deref().unwrap_or(OWNERLESS)),
        _ => None,
    }
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
