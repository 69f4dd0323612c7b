//! What is said, and what the answers mean. The talk with real servers is in `tests/redis_transport.rs`.

use super::*;
use crate::backend::redis::settings::RedisOverrides;

fn settings(url: &str) -> RedisSettings {
    RedisSettings::resolve(Some(url), RedisOverrides::default()).unwrap()
}

/// The commands that a handshake sends, as text.
fn commands(url: &str, previous: Option<&ServerSideId>) -> Vec<String> {
    let mut parser = Parser::new();
    parser.feed(&Introduction::write(&settings(url), previous).bytes);
    let mut commands = Vec::new();
    while let Some(Reply::Array(parts)) = parser.next().unwrap() {
        let text = |part: &Reply| match part {
            Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("not a bulk string: {other:?}"),
        };
        commands.push(parts.iter().map(text).collect::<Vec<_>>().join(" "));
    }
    commands
}

#[test]
fn the_least_that_is_said() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        commands("redis://h", None),
        [
            "CLIENT SETINFO LIB-NAME medusa-locking-native",
            &format!("CLIENT SETINFO LIB-VER {version}"),
            "CLIENT INFO",
            "PING"
        ]
    );
}

#[test]
fn the_previous_connection_is_closed_before_anything_else_is_done() {
    let previous = ServerSideId {
        id: 7,
        addr: "127.0.0.1:5".into(),
    };
    let said = commands("redis://me:secret@h/3?connectionName=store", Some(&previous));
    assert_eq!(
        said[..4],
        [
            "AUTH me secret",
            "CLIENT KILL ID 7 ADDR 127.0.0.1:5",
            "SELECT 3",
            "CLIENT SETNAME store"
        ]
    );
    assert_eq!(commands("redis://:secret@h", None)[0], "AUTH secret");
    assert_eq!(commands("redis://me@h", None)[0], "AUTH me ");
}

#[test]
fn errors_that_matter_are_told_from_those_that_do_not() {
    use ConnectErrorKind::{Auth, Loading, Refused};
    for (purpose, message, kind) in [
        (
            Purpose::Authenticate,
            "WRONGPASS invalid username-password pair or user is disabled.",
            Some(Auth),
        ),
        (Purpose::Authenticate, "ERR invalid password", Some(Auth)),
        (Purpose::Describe, "NOAUTH Authentication required.", Some(Auth)),
        (
            Purpose::Describe,
            "ERR max number of clients reached",
            Some(Refused),
        ),
        (
            Purpose::Describe,
            "DENIED Redis is running in protected mode",
            Some(Refused),
        ),
        (Purpose::Describe, "ERR unknown subcommand 'SETINFO'.", None),
        (
            Purpose::Fence,
            "NOPERM User x has no permissions to run the 'client|kill' command",
            None,
        ),
        (Purpose::LearnOwnId, "ERR unknown command 'CLIENT'", None),
        (
            Purpose::SelectDatabase,
            "ERR DB index is out of range",
            Some(Refused),
        ),
        (Purpose::SelectDatabase, "NOPERM no", Some(Refused)),
        (
            Purpose::CheckService,
            "LOADING Redis is loading the dataset in memory",
            Some(Loading),
        ),
        (
            Purpose::CheckService,
            "BUSY Redis is busy running a script.",
            Some(Refused),
        ),
        (
            Purpose::CheckService,
            "MASTERDOWN Link with MASTER is down",
            Some(Refused),
        ),
        (Purpose::CheckService, "NOPERM no", None),
        (Purpose::CheckService, "ERR unknown command 'PING'", None),
    ] {
        assert_eq!(fatal_kind(purpose, message), kind, "{message}");
    }
}

#[test]
fn the_server_cannot_make_an_error_show_the_password() {
    let message = "ERR unknown command 'AUTH', with args beginning with: 'me' 'hunter2' ";
    assert_eq!(fit_to_show(message), "ERR unknown command 'AUTH',");
    assert_eq!(
        fit_to_show(&"é".repeat(1000)).chars().count(),
        SERVER_MESSAGE_CHARS_MAX
    );
}

#[test]
fn the_servers_view_of_us_is_read() {
    let id = |id, addr: &str| {
        Some(ServerSideId {
            id,
            addr: addr.into(),
        })
    };
    let tcp = b"id=3 addr=127.0.0.1:6 laddr=127.0.0.1:6379 fd=8 name= age=0\n";
    assert_eq!(parse_info(tcp), id(3, "127.0.0.1:6"));
    assert_eq!(parse_info(b"id=3 addr=[::1]:6 fd=8"), id(3, "[::1]:6"));
    assert_eq!(
        parse_info(b"id=3 addr=/a b/s:0 laddr=/a b/s:0 fd=8"),
        id(3, "/a b/s:0")
    );
    for odd in [
        &b""[..],
        b"id=3",
        b"id=x addr=a fd=8",
        b"addr=a id=3 fd=8",
        b"id=3 addr=\xff fd=8",
    ] {
        assert_eq!(parse_info(odd), None);
    }
}
