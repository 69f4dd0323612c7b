//! Connecting to real servers and introducing ourselves: plain, by unix socket, with users, and every way to be told no.
//! TLS is in `redis_tls.rs`.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use medusa_locking_native::backend::redis::handshake::{Established, ServerSideId};
use medusa_locking_native::backend::redis::resp::Reply;
use medusa_locking_native::backend::redis::stream::{ConnectError, ConnectErrorKind};
use support::RedisServer;
use support::connection::Connection;
use tokio::io::AsyncWriteExt;

async fn refused(url: &str) -> ConnectError {
    let error = Connection::open(url).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("not a bulk string: {other:?}"),
    }
}

#[tokio::test]
async fn a_plain_connection_serves() {
    let server = RedisServer::start();
    let mut connection = Connection::open(&server.url()).await.unwrap();
    assert!(connection.established.fenced_previous);
    assert!(!connection.established.password_unneeded);
    let info = text(connection.command(&["CLIENT", "INFO"]).await);
    let ServerSideId { id, addr } = connection.id();
    assert!(info.starts_with(&format!("id={id} addr={addr} ")), "{info}");
    let value = "x".repeat(1_000_000);
    assert_eq!(
        connection.command(&["SET", "key", &value]).await,
        Reply::Simple("OK".into())
    );
    assert_eq!(
        connection.command(&["GET", "key"]).await,
        Reply::Bulk(value.into_bytes())
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves() {
    let server = RedisServer::start_with(&["--unixsocket", "{dir}/a b.sock"]);
    let path = server.dir().join("a b.sock");
    let mut connection = Connection::open(path.to_str().unwrap()).await.unwrap();
    assert_eq!(connection.id().addr, format!("{}:0", path.display()));
    assert_eq!(connection.command(&["INCR", "n"]).await, Reply::Int(1));

    let previous = connection.id().clone();
    let next = Connection::open_after(path.to_str().unwrap(), Some(&previous))
        .await
        .unwrap();
    assert!(next.established.fenced_previous);
    assert_eq!(connection.reply().await, None);
}

#[tokio::test]
async fn the_database_and_the_name_are_set() {
    let server = RedisServer::start();
    let url = format!("{}/3?connectionName=store-1", server.url());
    let mut connection = Connection::open(&url).await.unwrap();
    let info = text(connection.command(&["CLIENT", "INFO"]).await);
    assert!(
        info.contains(" name=store-1 ") && info.contains(" db=3 "),
        "{info}"
    );

    // A name that the server does not take is done without.
    assert!(
        Connection::open(&format!("{}?connectionName=a%20b", server.url()))
            .await
            .is_ok()
    );

    let error = refused(&format!("{}/99", server.url())).await;
    assert_eq!(error.kind, ConnectErrorKind::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "Redis at 127.0.0.1:{}: ERR DB index is out of range",
            server.port()
        )
    );
}

#[tokio::test]
async fn passwords_are_checked() {
    let server = RedisServer::start_with(&["--requirepass", "hunter2"]);
    let port = server.port();
    let connection = Connection::open(&format!("redis://:hunter2@127.0.0.1:{port}"))
        .await
        .unwrap();
    assert!(!connection.established.password_unneeded);
    assert!(
        Connection::open(&format!("redis://default:hunter2@127.0.0.1:{port}"))
            .await
            .is_ok()
    );
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}/1"),
        format!("redis://:hunter22@127.0.0.1:{port}"),
        format!("redis://nobody:hunter2@127.0.0.1:{port}"),
        format!("redis://nobody@127.0.0.1:{port}"),
    ] {
        assert_eq!(refused(&url).await.kind, ConnectErrorKind::Auth, "{url}");
    }
}

#[tokio::test]
async fn a_password_that_the_server_does_not_want_is_no_reason_to_fail() {
    let server = RedisServer::start();
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    let mut connection = Connection::open(&url).await.unwrap();
    assert!(connection.established.password_unneeded);
    assert_eq!(connection.command(&["PING"]).await, Reply::Simple("PONG".into()));
}

#[tokio::test]
async fn a_password_is_not_shown_by_a_server_that_does_not_know_auth() {
    let server = RedisServer::start_with(&["--rename-command", "AUTH", "LOGIN"]);
    let error = refused(&format!("redis://me:hunter2@127.0.0.1:{}", server.port())).await;
    assert_eq!(error.kind, ConnectErrorKind::Auth);
    assert!(error.problem.contains("unknown command"), "{error}");
}

#[tokio::test]
async fn a_user_who_may_do_little_may_still_lock() {
    let server =
        RedisServer::start_with(&["--user", "app", "on", ">pass", "~*", "&*", "+@scripting", "+get"]);
    let url = format!("redis://app:pass@127.0.0.1:{}", server.port());
    let someone = Connection::open(&server.url()).await.unwrap();
    let mut connection = Connection::open_with(&url, Some(someone.id()), Some("inbox"))
        .await
        .unwrap();
    let expected = Established {
        own: None,
        fenced_previous: false,
        password_unneeded: false,
        is_resp3: true,
        has_inbox: false,
        early: Vec::new(),
    };
    assert_eq!(connection.established, expected);
    assert_eq!(
        connection.command(&["EVAL", "return 7", "0"]).await,
        Reply::Int(7)
    );

    let error = refused(&format!("{url}/1")).await;
    assert_eq!(error.kind, ConnectErrorKind::Refused);
    assert!(error.problem.starts_with("NOPERM"), "{error}");
}

#[tokio::test]
async fn what_the_previous_connection_still_sends_never_runs() {
    let server = RedisServer::start();
    let mut old = Connection::open(&server.url()).await.unwrap();
    let previous = old.id().clone();
    // The server has read half of a command, as it may have when the connection seems broken here.
    old.stream
        .write_all(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$")
        .await
        .unwrap();

    let mut new = Connection::open_after(&server.url(), Some(&previous))
        .await
        .unwrap();
    assert!(new.established.fenced_previous);
    // The rest finds nobody, whether or not the socket still takes it.
    let _ = old.stream.write_all(b"3\r\nold\r\n").await;
    assert_eq!(old.reply().await, None);
    assert_eq!(new.command(&["GET", "key"]).await, Reply::Nil);
}

#[tokio::test]
async fn a_previous_connection_that_is_gone_counts_as_fenced() {
    let server = RedisServer::start();
    let previous = Connection::open(&server.url()).await.unwrap().id().clone();
    let mut new = Connection::open_after(&server.url(), Some(&previous))
        .await
        .unwrap();
    assert!(new.established.fenced_previous);
    assert_eq!(new.command(&["PING"]).await, Reply::Simple("PONG".into()));
}

#[tokio::test]
async fn the_fence_hits_nobody_else() {
    let server = RedisServer::start();
    let mut other = Connection::open(&server.url()).await.unwrap();
    // After a restart of the server another connection may bear the id, but from another port.
    let previous = ServerSideId {
        id: other.id().id,
        addr: "127.0.0.1:1".to_owned(),
    };
    assert!(
        Connection::open_after(&server.url(), Some(&previous))
            .await
            .unwrap()
            .established
            .fenced_previous
    );
    assert_eq!(other.command(&["PING"]).await, Reply::Simple("PONG".into()));
}

#[tokio::test]
async fn a_server_that_is_loading_says_so() {
    let mut server = RedisServer::start_with(&[
        "--key-load-delay",
        "20000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let script = "for i = 1, 2000 do redis.call('SET', 'key:' .. i, string.rep('x', 100)) end";
    assert_eq!(server.command(&["EVAL", script, "0"]), Reply::Nil);
    assert_eq!(server.command(&["SAVE"]), Reply::Simple("OK".into()));
    server.restart();
    let error = refused(&server.url()).await;
    assert_eq!(error.kind, ConnectErrorKind::Loading);
    assert!(error.problem.starts_with("LOADING"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let server = RedisServer::start_with(&["--maxclients", "1"]);
    // The connection that waited for the start may not be closed yet.
    let until = Instant::now() + Duration::from_secs(5);
    let _holder = loop {
        match Connection::open(&server.url()).await {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    for _ in 0..20 {
        let error = refused(&server.url()).await;
        assert_eq!(error.kind, ConnectErrorKind::Refused, "{error}");
        assert!(error.problem.contains("max number of clients"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_command_timeout() {
    let server = RedisServer::start();
    server.pause();
    let error = refused(&format!("{}?commandTimeout=100", server.url())).await;
    server.resume();
    assert_eq!(error.kind, ConnectErrorKind::Timeout);
    assert!(error.problem.contains("no answer within 100 ms"), "{error}");
}

/// Takes one connection, reads what comes first, and answers with what `answer` makes of it, then closes.
fn impostor(answer: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).unwrap();
        heard.truncate(count);
        stream.write_all(&answer(heard)).unwrap();
    });
    format!("redis://me:hunter2@{address}")
}

#[tokio::test]
async fn what_is_no_redis_server_is_found_out() {
    let error = refused(&impostor(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    assert_eq!(error.kind, ConnectErrorKind::Protocol);
    assert!(error.problem.contains("HTTP"), "{error}");

    let error = refused(&impostor(|heard| heard)).await;
    assert_eq!(error.kind, ConnectErrorKind::Protocol);

    let error = refused(&impostor(|_| Vec::new())).await;
    assert_eq!(error.kind, ConnectErrorKind::Io);
    assert!(error.problem.contains("broke during the handshake"), "{error}");

    let error = refused(&impostor(|_| {
        b"-DENIED Redis is running in protected mode\r\n".to_vec()
    }))
    .await;
    assert_eq!(error.kind, ConnectErrorKind::Refused);
}

#[tokio::test]
async fn a_restarted_server_is_a_server() {
    let mut server = RedisServer::start();
    let mut connection = Connection::open(&server.url()).await.unwrap();
    server.restart();
    assert_eq!(connection.reply().await, None);
    let previous = connection.id().clone();
    let mut next = Connection::open_after(&server.url(), Some(&previous))
        .await
        .unwrap();
    assert!(next.established.fenced_previous);
    assert_eq!(next.command(&["PING"]).await, Reply::Simple("PONG".into()));
}
