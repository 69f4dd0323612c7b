//! What the scripts reply, as answers. docs/PROTOCOL.md lists the replies.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::names::Names;
use super::resp::Reply;
use crate::core::fleet::{Answer, Command, Renewal, Reserved, Waiting};
use crate::core::key::KeySet;
use crate::core::outcome::Lock;
use crate::core::owner::OWNERLESS;
use crate::core::ticket::Ticket;

/// Characters of an unexpected reply that an error shows.
const SEEN_CHARS_MAX: usize = 80;

/// The server answered something that no script of ours answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub String);

impl Unexpected {
    /// What came in place of one reply for each of several commands.
    pub fn to_several(reply: &Reply) -> Self {
        unexpected_to("several commands", reply)
    }
}

/// What `reply`, which is no error, answers to `command`.
///
/// # Errors
/// No script of ours replies so: something between us and the server, or the server, is broken.
pub fn decode(names: &Names, command: &Command, reply: Reply) -> Result<Answer, Unexpected> {
    match (command, reply) {
        (Command::Acquire { .. }, Reply::Int(token)) => whole_number(token).map(Answer::Granted),
        (Command::Acquire { keys, wait, .. }, Reply::Array(busy)) => decode_busy(keys, &busy, wait.is_some()),
        (Command::Release { .. }, Reply::Int(all)) => Some(Answer::Released(all == 1)),
        (Command::Cancel { .. } | Command::Sweep { .. }, Reply::Int(_)) => Some(Answer::Released(true)),
        (Command::Renew { leases }, Reply::Array(lost)) => decode_renewed(leases, &lost),
        (Command::Keep { locks }, Reply::Array(kept)) if kept.len() == locks.len() => {
            decode_kept(&kept).map(Answer::Kept)
        }
        (Command::Reserve { keys, .. }, Reply::Int(number)) => decode_reserved(keys, number),
        (Command::Scan { .. }, Reply::Array(page)) => decode_page(names, page),
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

/// What one number that answers several commands is to the `place`-th of them, from 0, which is `command`: tokens follow one
/// another, each with those that are set aside behind it.
pub fn part_of(command: &Command, number: i64, place: usize) -> Reply {
    let Command::Acquire { reserve, .. } = command else {
        return Reply::Int(number);
    };
    let place = i64::try_from(place).unwrap_or(i64::MAX);
    let before = place.saturating_mul(i64::from(*reserve).saturating_add(1));
    Reply::Int(number.saturating_add(before))
}

/// A token or a ticket: what JavaScript counts to without gaps.
fn whole_number(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number <= Ticket::MAX)
}

fn decode_page(names: &Names, page: Vec<Reply>) -> Option<Answer> {
    let [Reply::Bulk(cursor), Reply::Array(found)] = <[Reply; 2]>::try_from(page).ok()? else {
        return None;
    };
    let cursor = std::str::from_utf8(&cursor).ok()?.parse().ok()?;
    let key_of = |name: &Reply| match name {
        Reply::Bulk(name) => names.key_of(std::str::from_utf8(name).ok()?).map(Arc::from),
        _ => None,
    };
    Some(Answer::Page(cursor, found.iter().filter_map(key_of).collect()))
}

/// `{i, ms}`: which lock is held, and for how long; with a ticket, whether it is held in silence, and since when, of one that waits.
fn decode_busy(keys: &KeySet, busy: &[Reply], may_wait: bool) -> Option<Answer> {
    let (index, ms, waiting) = match busy {
        [Reply::Int(index), Reply::Int(ms)] => (index, ms, None),
        [
            Reply::Int(index),
            Reply::Int(ms),
            Reply::Int(ticket),
            Reply::Int(silent),
            Reply::Int(held_ms),
        ] if may_wait => {
            let held_for = Duration::from_millis(u64::try_from(*held_ms).ok()?);
            (index, ms, Some((whole_number(*ticket)?, *silent == 1, held_for)))
        }
        _ => return None,
    };
    let key = usize::try_from(*index)
        .ok()?
        .checked_sub(1)
        .filter(|index| *index < keys.len())?;
    // -1: no expiry; -2: it is gone since.
    let lapses_in = match ms {
        -1 => None,
        ms => Some(Duration::from_millis(u64::try_from(*ms).unwrap_or(0))),
    };
    Some(match waiting {
        None => Answer::Busy(key, lapses_in),
        Some((ticket, silent, held_for)) => Answer::Waiting(Waiting {
            key,
            look_in: lapses_in,
            ticket,
            silent,
            held_for,
        }),
    })
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

fn decode_kept(kept: &[Reply]) -> Option<Vec<bool>> {
    let each = kept.iter().map(|kept| match kept {
        Reply::Int(1) => Some(true),
        Reply::Int(0) => Some(false),
        _ => None,
    });
    each.collect()
}

/// The first token; 0: others wait; -i: lock i is lost.
fn decode_reserved(keys: &KeySet, number: i64) -> Option<Answer> {
    let reserved = match number {
        0 => Reserved::OthersWait,
        1.. => Reserved::From(whole_number(number)?),
        _ => {
            let index = usize::try_from(number.unsigned_abs()).ok()?.checked_sub(1)?;
            Reserved::Lost((index < keys.len()).then_some(index)?)
        }
    };
    Some(Answer::Reserved(reserved))
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
        // 0: handed over, and not claimed yet.
        fencing_token: token
            .and_then(|token| token.parse().ok())
            .filter(|token| (1..=Ticket::MAX).contains(token)),
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
        Command::Keep { .. } => "keep",
        Command::Reserve { .. } => "reserve",
        Command::Scan { .. } => "scan",
        Command::Sweep { .. } => "sweep",
        Command::Inspect { .. } => "inspect",
    };
    unexpected_to(name, reply)
}

fn unexpected_to(name: &str, reply: &Reply) -> Unexpected {
    let mut seen = Start {
        text: String::new(),
        missing: SEEN_CHARS_MAX,
    };
    // Fails as soon as the start is full: the rest, which may be many megabytes, is not written out at all.
    let _ = write!(seen, "{reply:?}");
    Unexpected(format!("to {name}, which no script answers: {}", seen.text))
}

/// Keeps the first characters of what is written to it.
struct Start {
    text: String,
    missing: usize,
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.missing = self.missing.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}
