//! Made-up commands and replies: right, nearly right, or nothing that any server says.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use medusa_locking_native::backend::redis::resp::Reply;
use medusa_locking_native::core::fleet::{Command, Held, Keep, Place, Renewal};
use medusa_locking_native::core::key::KeySet;
use medusa_locking_native::core::owner::Owner;
use medusa_locking_native::core::ticket::Ticket;
use proptest::prelude::*;
use proptest::sample::select;

/// The inbox that pushes are read for.
pub const CHANNEL: &str = "locking-native:inbox:host:1:00ff:1";

/// Numbers at the edges of what anything is counted in.
fn number() -> impl Strategy<Value = i64> {
    let max = i64::try_from(Ticket::MAX).unwrap();
    let edges = vec![
        -2,
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        1_000,
        max - 1,
        max,
        max + 1,
        i64::MIN,
        i64::MAX,
    ];
    prop_oneof![4 => select(edges), 1 => any::<i64>()]
}

/// Bytes as they stand in replies of ours, nearly so, or not at all.
pub fn text() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "",
        "0",
        "7",
        "-1",
        "18446744073709551615",
        "18446744073709551616",
        "medusa_lock:a",
        "medusa_lock:",
        "other:a",
        "locking-native:fence:medusa_lock:",
        "*",
        "me",
        "execute:host:1:00ff:7#9",
        "execute:host:1:00ff:7#",
        "execute:host:1:00ff:7#9007199254740992",
        "execute:#0",
        "me 12",
        "me 9007199254740993",
        "me -1 2",
        "me  ",
        "message",
        "subscribe",
        CHANNEL,
        "granted 7",
        "granted 18446744073709551615",
        "look 7 18446744073709551615",
        "look 7",
        "granted 7 7",
    ];
    prop_oneof![
        6 => select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn words() -> impl Strategy<Value = String> {
    let codes = [
        "",
        "ERR",
        "NOSCRIPT",
        "WRONGTYPE",
        "WRONGTYPE ",
        "LOADING",
        "READONLY",
        "NOAUTH",
        "OOM x",
        "BUSY",
    ];
    (select(codes.to_vec()), "[^\r\n]{0,30}").prop_map(|(code, rest)| format!("{code} {rest}"))
}

/// Any reply, of which most have nothing to do with what was asked.
pub fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        4 => number().prop_map(Reply::Int),
        3 => text().prop_map(Reply::Bulk),
        1 => Just(Reply::Nil),
        1 => words().prop_map(|text| Reply::Simple(text.into())),
        1 => words().prop_map(Reply::Error),
        1 => any::<bool>().prop_map(Reply::Bool),
        1 => any::<f64>().prop_map(Reply::Double),
        1 => "-?[0-9]{1,60}".prop_map(Reply::BigNumber),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            4 => several.clone().prop_map(Reply::Array),
            1 => several.prop_map(Reply::Push),
            1 => proptest::collection::vec((inner.clone(), inner), 0..3).prop_map(Reply::Map),
        ]
    })
}

/// A reply of the right shape with wrong parts: what gets furthest.
pub fn near_reply() -> impl Strategy<Value = Reply> {
    let ints = |count| proptest::collection::vec(number().prop_map(Reply::Int), count).prop_map(Reply::Array);
    let record = prop_oneof![
        text().prop_map(Reply::Bulk),
        Just(Reply::Nil),
        number().prop_map(Reply::Int)
    ];
    let lock = (text(), number(), record)
        .prop_map(|(owner, ms, record)| Reply::Array(vec![Reply::Bulk(owner), Reply::Int(ms), record]));
    let held = prop_oneof![3 => lock, 1 => Just(Reply::Nil)];
    let page = (
        text(),
        proptest::collection::vec(text().prop_map(Reply::Bulk), 0..6),
    )
        .prop_map(|(cursor, found)| Reply::Array(vec![Reply::Bulk(cursor), Reply::Array(found)]));
    prop_oneof![
        number().prop_map(Reply::Int),
        ints(0..6),
        ints(2..3),
        ints(4..5),
        proptest::collection::vec(held, 0..5).prop_map(Reply::Array),
        page,
    ]
}

/// Every kind of command, with one to four keys.
pub fn command() -> impl Strategy<Value = Command> {
    (0..11, 1..5usize).prop_map(|(kind, count)| {
        let names: Vec<Arc<str>> = ["a", "b", "c", "d"][..count]
            .iter()
            .map(|key| Arc::from(*key))
            .collect();
        let keys = KeySet::new(names.iter().map(|key| &**key)).unwrap();
        let ticket = Ticket::new(7);
        let acquire = |owner, wait| Command::Acquire {
            ticket,
            keys: keys.clone(),
            owner,
            expire: Some(Duration::from_secs(1)),
            must_hold: false,
            reserve: 16,
            wait,
            more: true,
        };
        let place = Place {
            ticket: 0,
            age: Duration::ZERO,
        };
        let renewal = |job| Renewal {
            job: Ticket::new(job),
            token: 9,
            keys: keys.clone(),
            lease: Duration::from_secs(1),
        };
        let kept = |key: &Arc<str>| Keep {
            key: Arc::clone(key),
            attempt: ticket,
            owner: Owner::Anyone,
            expire: Duration::from_secs(1),
        };
        match kind {
            0 => acquire(Owner::Job(ticket), None),
            1 => acquire(Owner::Job(ticket), Some(place)),
            2 => acquire(Owner::Named("me".into()), Some(place)),
            3 => Command::Release {
                ticket,
                keys,
                held: Held::ByOwner(None),
                more: false,
            },
            4 => Command::Cancel {
                ticket,
                keys,
                owner: Owner::Anyone,
            },
            5 => Command::Renew {
                leases: (1..=count as u64).map(renewal).collect(),
            },
            6 => Command::Scan { ticket, cursor: 0 },
            7 => Command::Reserve {
                job: ticket,
                token: 9,
                keys,
                count: 16,
                passes: 0,
            },
            8 => Command::Sweep {
                ticket,
                keys: names,
                owner_id: None,
            },
            9 => Command::Keep {
                locks: names.iter().map(kept).collect(),
            },
            _ => Command::Inspect { ticket, keys: names },
        }
    })
}

/// A reply as a server writes it.
pub fn encode(out: &mut Vec<u8>, reply: &Reply) {
    let mut line = String::new();
    let several =
        |out: &mut Vec<u8>, sign: char, count: usize| out.extend(format!("{sign}{count}\r\n").bytes());
    match reply {
        Reply::Nil => line.push('_'),
        Reply::Int(number) => write!(line, ":{number}").unwrap(),
        Reply::Simple(text) => write!(line, "+{}", text.replace(['\r', '\n'], " ")).unwrap(),
        Reply::Double(number) => write!(line, ",{number}").unwrap(),
        Reply::Bool(is_true) => line.push_str(if *is_true { "#t" } else { "#f" }),
        Reply::BigNumber(digits) => write!(line, "({digits}").unwrap(),
        Reply::Bulk(_) | Reply::Error(_) => {
            let (sign, bytes) = match reply {
                Reply::Bulk(bytes) => ('$', bytes.as_slice()),
                Reply::Error(text) => ('!', text.as_bytes()),
                _ => unreachable!("matched above"),
            };
            several(out, sign, bytes.len());
            out.extend(bytes);
        }
        Reply::Array(parts) | Reply::Push(parts) => {
            several(
                out,
                if matches!(reply, Reply::Push(_)) { '>' } else { '*' },
                parts.len(),
            );
            return parts.iter().for_each(|part| encode(out, part));
        }
        Reply::Map(entries) => {
            several(out, '%', entries.len());
            return entries.iter().for_each(|(key, value)| {
                encode(out, key);
                encode(out, value);
            });
        }
    }
    out.extend(line.bytes());
    out.extend(b"\r\n");
}
