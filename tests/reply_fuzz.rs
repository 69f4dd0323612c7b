//! What a hostile or broken server may say: any bytes for the parser, any reply to any command, any push.
//!
//! Whatever comes, nothing panics; every answer that is made of it stays within what its command asked for, so that nobody
//! behind it has to check again.
//!
//! `PROPTEST_CASES=100000 cargo test --test reply_fuzz` looks longer than the default.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "reply_fuzz/made_up.rs"]
mod made_up;

use made_up::{CHANNEL, command, encode, near_reply, reply, text};
use medusa_locking_native::backend::redis::inbox::{self, Notice};
use medusa_locking_native::backend::redis::names::Names;
use medusa_locking_native::backend::redis::replies::decode;
use medusa_locking_native::backend::redis::resp::{DEPTH_MAX, ELEMENTS_MAX, Parser, Reply};
use medusa_locking_native::backend::redis::server_error::explain;
use medusa_locking_native::core::fleet::{Answer, Command, Reserved};
use medusa_locking_native::core::key::KEY_BYTES_MAX;
use medusa_locking_native::core::ticket::Ticket;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngAlgorithm;

/// At least so many cases for each test; more if the environment says so.
const CASES: u32 = 4_000;
/// The most characters of a server's words that a message to a caller may hold, the rest of the message included.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// The longest name of a lock: a namespace of 256 characters and a key, in bytes.
const LOCK_BYTES_MAX: usize = 4 * 256 + KEY_BYTES_MAX;

fn config() -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    ProptestConfig {
        cases: from_environment.cases.max(CASES),
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..from_environment
    }
}

/// How many keys a command is about.
fn count_of(command: &Command) -> usize {
    match command {
        Command::Acquire { keys, .. }
        | Command::Release { keys, .. }
        | Command::Cancel { keys, .. }
        | Command::Reserve { keys, .. } => keys.len(),
        Command::Renew { leases } => leases.len(),
        Command::Keep { locks } => locks.len(),
        Command::Scan { .. } => 0,
        Command::Sweep { keys, .. } | Command::Inspect { keys, .. } => keys.len(),
    }
}

/// What must be true of an answer to `command`, whatever the server said.
fn is_within(command: &Command, answer: &Answer) -> bool {
    let is_key = |index: usize| index < count_of(command);
    let is_number = |number: u64| number <= Ticket::MAX;
    match (command, answer) {
        (Command::Acquire { .. }, Answer::Granted(token)) => is_number(*token),
        (Command::Acquire { .. }, Answer::Busy(index, _)) => is_key(*index),
        (Command::Acquire { wait, .. }, Answer::Waiting(waiting)) => {
            wait.is_some() && is_key(waiting.key) && is_number(waiting.ticket)
        }
        (Command::Release { .. } | Command::Cancel { .. } | Command::Sweep { .. }, Answer::Released(_)) => {
            true
        }
        (Command::Keep { locks }, Answer::Kept(kept)) => kept.len() == locks.len(),
        (Command::Renew { leases }, Answer::Renewed(lost)) => {
            lost.len() == leases.len()
                && leases
                    .iter()
                    .zip(lost)
                    .all(|(lease, lost)| lost.is_none_or(|index| index < lease.keys.len()))
        }
        (Command::Reserve { .. }, Answer::Reserved(reserved)) => match reserved {
            Reserved::From(token) => *token > 0 && is_number(*token),
            Reserved::OthersWait => true,
            Reserved::Lost(index) => is_key(*index),
        },
        (Command::Scan { .. }, Answer::Page(_, keys)) => keys.iter().all(|key| !key.is_empty()),
        (Command::Inspect { keys, .. }, Answer::Locks(locks)) => {
            locks.len() <= keys.len()
                && locks.iter().all(|lock| {
                    keys.iter().any(|key| **key == lock.key) && lock.fencing_token.is_none_or(is_number)
                })
        }
        _ => false,
    }
}

/// Takes what there is; false after an error, which must stay.
fn drain(parser: &mut Parser, replies: &mut Vec<Reply>) -> bool {
    loop {
        match parser.next() {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => return true,
            Err(error) => {
                assert!(
                    error.to_string().len() < MESSAGE_CHARS_MAX,
                    "{} bytes",
                    error.to_string().len()
                );
                parser.feed(b"+OK\r\n");
                assert_eq!(parser.next(), Err(error));
                return false;
            }
        }
    }
}

/// NaN is the only reply that differs from itself.
fn shown(replies: &[Reply]) -> String {
    format!("{replies:?}")
}

/// What the parser refuses by design: a push inside another reply, and too many levels.
fn is_readable(reply: &Reply, depth: usize) -> bool {
    let parts: Vec<&Reply> = match reply {
        Reply::Push(_) if depth > 0 => return false,
        Reply::Array(parts) | Reply::Push(parts) => parts.iter().collect(),
        Reply::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => return true,
    };
    depth < DEPTH_MAX && parts.into_iter().all(|part| is_readable(part, depth + 1))
}

/// A parsed element takes many times the room that it had on the wire, so it is elements that have to be counted.
#[test]
fn a_reply_has_no_more_elements_in_all_than_one_aggregate_may_have() {
    for element in ["_\r\n", "+a\r\n", "*0\r\n", "*1\r\n_\r\n", "%1\r\n+a\r\n_\r\n"] {
        let mut parser = Parser::new();
        parser.feed(format!("*{ELEMENTS_MAX}\r\n").as_bytes());
        let inner = format!("*1000\r\n{}", element.repeat(1_000));
        let fed = (0..2 * ELEMENTS_MAX / 1_000).take_while(|_| {
            parser.feed(inner.as_bytes());
            parser.next() == Ok(None)
        });
        let most = ELEMENTS_MAX / 1_000;
        assert!(fed.count() <= most, "{element:?} was read without end");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_reply_to_any_command_panics_or_leads_out_of_bounds(
        command in command(),
        reply in prop_oneof![3 => near_reply(), 1 => reply()],
    ) {
        let names = Names::new("medusa_lock:").unwrap();
        match decode(&names, &command, reply.clone()) {
            Ok(answer) => prop_assert!(is_within(&command, &answer), "{:?} became {:?}", reply, answer),
            Err(unexpected) => prop_assert!(unexpected.0.chars().count() < MESSAGE_CHARS_MAX),
        }
    }

    #[test]
    fn no_push_panics_and_only_messages_to_the_channel_are_heard(
        parts in prop_oneof![
            2 => proptest::collection::vec(reply(), 0..5),
            3 => (select(vec!["message", "subscribe", "pmessage"]), text(), reply())
                .prop_map(|(kind, of, what)| vec![Reply::Bulk(kind.into()), Reply::Bulk(of), what]),
            3 => text().prop_map(|text| {
                vec![Reply::Bulk(b"message".to_vec()), Reply::Bulk(CHANNEL.into()), Reply::Bulk(text)]
            }),
        ],
    ) {
        let is_ours = parts.len() == 3 && parts[1] == Reply::Bulk(CHANNEL.into());
        match inbox::read(&parts, CHANNEL) {
            Notice::Other => {}
            Notice::Subscribed => prop_assert!(is_ours && parts[0] == Reply::Bulk(b"subscribe".to_vec())),
            Notice::Message(_) => prop_assert!(is_ours && parts[0] == Reply::Bulk(b"message".to_vec())),
        }
    }

    #[test]
    fn replies_are_read_however_they_are_cut_and_up_to_where_they_end(
        replies in proptest::collection::vec(reply(), 1..4),
        at in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let readable: Vec<Reply> = replies.into_iter().filter(|reply| is_readable(reply, 0)).collect();
        let mut wire = Vec::new();
        readable.iter().for_each(|reply| encode(&mut wire, reply));
        let mut cuts: Vec<usize> = at.iter().map(|at| at.index(wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let (mut parser, mut heard) = (Parser::new(), Vec::new());
        for piece in cuts.windows(2) {
            parser.feed(&wire[piece[0]..piece[1]]);
            prop_assert!(drain(&mut parser, &mut heard));
        }
        prop_assert_eq!(shown(&heard), shown(&readable));

        // Cut off anywhere, it is waited for, and what came before is there.
        for end in 0..wire.len().min(200) {
            let (mut parser, mut heard) = (Parser::new(), Vec::new());
            parser.feed(&wire[..end]);
            prop_assert!(drain(&mut parser, &mut heard));
            prop_assert_eq!(shown(&heard), shown(&readable[..heard.len()]));
        }
    }

    #[test]
    fn no_bytes_panic(
        replies in proptest::collection::vec(reply(), 0..3),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        huge in select(vec!["", "*1048577\r\n", "*1048576\r\n*1048576\r\n", "$67108864\r\n", "$-2\r\n", "%524289\r\n", ">1\r\n>1\r\n",
            ":9223372036854775808\r\n", "|1\r\n+a\r\n+b\r\n", "*?\r\n", "=3\r\nabc\r\n", ",nan\r\n", ",1e999\r\n", "(\r\n", "$18446744073709551615\r\n"]),
    ) {
        let mut wire = Vec::new();
        replies.iter().for_each(|reply| encode(&mut wire, reply));
        for (at, byte, how) in changes {
            let at = at.index(wire.len() + 1);
            match how {
                0 if at < wire.len() => wire[at] = byte,
                1 if at < wire.len() => drop(wire.remove(at)),
                _ => drop(wire.splice(at..at, huge.bytes().chain([byte]))),
            }
        }
        let mut heard = Vec::new();
        let mut whole = Parser::new();
        whole.feed(&wire);
        let held = drain(&mut whole, &mut heard);

        // One byte at a time, it is read the same.
        let (mut slow, mut heard_slowly) = (Parser::new(), Vec::new());
        let held_slowly = wire.iter().all(|byte| {
            slow.feed(&[*byte]);
            drain(&mut slow, &mut heard_slowly)
        });
        prop_assert_eq!(held, held_slowly);
        prop_assert_eq!(shown(&heard), shown(&heard_slowly));
    }

    #[test]
    fn an_error_is_explained_in_few_words(
        code in select(vec!["ERR", "WRONGTYPE", "NOAUTH", "LOADING", ""]),
        rest in prop_oneof![".{0,30}", Just("x".repeat(1_000_000)), Just("\u{1f512}".repeat(100_000))],
    ) {
        let explained = explain(&format!("{code} {rest}"), "localhost:6379");
        prop_assert!(explained.failure.message.chars().count() < MESSAGE_CHARS_MAX);
        prop_assert!(explained.failure.key.is_none_or(|key| key.len() <= LOCK_BYTES_MAX));
    }
}
