//! What is said, and what the answers mean. The talk with real servers is in `tests/redis_transport.rs`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::*;
use crate::backend::redis::settings::RedisOverrides;
use crate::backend::redis::stream::connect;
use crate::core::ticket::Ticket;

fn settings(url: &str) -> RedisSettings {
    RedisSettings::resolve(Some(url), RedisOverrides::default()).unwrap()
}

/// The commands that a handshake sends, as text.
fn commands(url: &str, previous: Option<&ServerSideId>) -> Vec<String> {
    texts(&Introduction::write(&settings(url), previous).bytes)
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let mut parser = Parser::new();
    parser.feed(bytes);
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
            "HELLO 3",
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
        said[..5],
        [
            "AUTH me secret",
            "HELLO 3",
            "CLIENT KILL ID 7 ADDR 127.0.0.1:5",
            "SELECT 3",
            "CLIENT SETNAME store"
        ]
    );
    assert_eq!(commands("redis://:secret@h", None)[0], "AUTH secret");
    assert_eq!(commands("redis://me@h", None)[0], "AUTH me ");
}

/// A server that answers each step of a handshake with the next of `answers`.
struct Scripted {
    /// What it heard, step by step.
    heard: thread::JoinHandle<Vec<Vec<String>>>,
    outcome: Result<Established, ConnectError>,
    parser: Parser,
}

async fn scripted(inbox: Option<&str>, answers: &'static [&'static str]) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        for answer in answers {
            let mut step = Vec::new();
            let mut buffer = [0; 1024];
            while !step.ends_with(b"PING\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "the client left");
                step.extend_from_slice(&buffer[..count]);
            }
            heard.push(texts(&step));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        heard
    });
    let settings = settings(&url);
    let mut stream = connect(&settings).await.unwrap();
    let mut parser = Parser::new();
    let outcome = handshake(&mut stream, &mut parser, &settings, None, inbox).await;
    Scripted {
        heard,
        outcome,
        parser,
    }
}

const RESP3: &str = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n\
                     +OK\r\n+OK\r\n=18\r\ntxt:id=3 addr=a fd\r\n+PONG\r\n";

#[tokio::test]
async fn a_server_without_resp3_serves_without_an_inbox() {
    for answers in [
        &[
            "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n+OK\r\n+OK\r\n-ERR no\r\n+PONG\r\n",
        ],
        &["-NOPROTO sorry this protocol version is not supported\r\n+OK\r\n+OK\r\n-ERR no\r\n+PONG\r\n"],
        // As to HELLO 2.
        &["*2\r\n$5\r\nproto\r\n:2\r\n+OK\r\n+OK\r\n-ERR no\r\n+PONG\r\n"],
        &["%1\r\n+proto\r\n:2\r\n+OK\r\n+OK\r\n-ERR no\r\n+PONG\r\n"],
    ] {
        let talk = scripted(Some("inbox"), answers).await;
        assert_eq!(talk.outcome.unwrap(), Established::new(true), "{answers:?}");
        let heard = talk.heard.join().unwrap();
        assert_eq!((heard.len(), heard[0][0].as_str()), (1, "HELLO 3"));
    }
}

#[tokio::test]
async fn who_wants_no_inbox_subscribes_to_none() {
    let talk = scripted(None, &[RESP3]).await;
    let established = talk.outcome.unwrap();
    assert!(established.is_resp3 && !established.has_inbox);
    assert_eq!(established.own.unwrap().id, 3);
    assert_eq!(talk.heard.join().unwrap().len(), 1);
}

#[tokio::test]
async fn an_inbox_is_opened_and_nothing_that_comes_to_it_is_lost() {
    let answers = &[
        RESP3,
        ">3\r\n$9\r\nsubscribe\r\n$5\r\ninbox\r\n:1\r\n\
         >3\r\n$7\r\nmessage\r\n$5\r\ninbox\r\n$9\r\ngranted 7\r\n\
         >3\r\n$7\r\nmessage\r\n$5\r\ninbox\r\n$8\r\nlook 8 5\r\n\
         +PONG\r\n>3\r\n$7\r\nmessage\r\n$5\r\ninbox\r\n$9\r\ngranted 9\r\n",
    ];
    let mut talk = scripted(Some("inbox"), answers).await;
    assert_eq!(talk.heard.join().unwrap()[1], ["SUBSCRIBE inbox", "PING"]);
    let established = talk.outcome.unwrap();
    assert!(established.is_resp3 && established.has_inbox);
    let push = |ticket, look_in| Push {
        ticket: Ticket::new(ticket),
        look_in,
    };
    assert_eq!(
        established.early,
        [push(7, None), push(8, Some(Duration::from_millis(5)))]
    );
    // It came in the same packet as the last reply, or comes later: whoever reads on finds it.
    if let Some(reply) = talk.parser.next().unwrap() {
        assert!(matches!(reply, Reply::Push(_)), "{reply:?}");
    }
}

#[tokio::test]
async fn a_channel_that_is_denied_is_done_without() {
    let talk = scripted(Some("inbox"), &[RESP3, "-NOPERM no such channel\r\n+PONG\r\n"]).await;
    let established = talk.outcome.unwrap();
    assert!(established.is_resp3 && !established.has_inbox);

    // Nor may this user say PING.
    let talk = scripted(Some("inbox"), &[RESP3, "-NOPERM no\r\n-NOPERM no\r\n"]).await;
    assert!(!talk.outcome.unwrap().has_inbox);
}

#[tokio::test]
async fn a_server_that_cannot_subscribe_us_now_is_asked_again_later() {
    let talk = scripted(Some("inbox"), &[RESP3, "-BUSY a script\r\n+PONG\r\n"]).await;
    assert_eq!(talk.outcome.unwrap_err().kind, ConnectErrorKind::Refused);
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
            Purpose::SpeakResp3,
            "NOAUTH HELLO must be called with the client already authenticated",
            None,
        ),
        (Purpose::SpeakResp3, "NOPROTO unsupported protocol version", None),
        (
            Purpose::SpeakResp3,
            "ERR max number of clients reached",
            Some(Refused),
        ),
        (
            Purpose::Subscribe,
            "NOPERM this user has no permissions to access one of the channels used as arguments",
            None,
        ),
        (Purpose::Subscribe, "ERR unknown command 'SUBSCRIBE'", None),
        (
            Purpose::Subscribe,
            "BUSY Redis is busy running a script.",
            Some(Refused),
        ),
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
