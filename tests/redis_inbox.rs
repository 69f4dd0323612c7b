//! The inbox of a connection to a real server, and the cluster's slots as a server sees them.

#![cfg(feature = "redis")]

mod support;

use medusa_locking_native::backend::redis::inbox::{Notice, read};
use medusa_locking_native::backend::redis::resp::Reply;
use medusa_locking_native::backend::redis::slot::{slot, tag};
use medusa_locking_native::core::ticket::Ticket;
use support::RedisServer;
use support::connection::Connection;

/// What a reply says of the channel `inbox`: a message's ticket; None: it is no message.
fn message(reply: &Reply) -> Option<Ticket> {
    match reply {
        Reply::Push(parts) => match read(parts, "inbox") {
            Notice::Message(push) => Some(push.ticket),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test]
async fn messages_come_beside_the_replies() {
    let server = RedisServer::start();
    let mut connection = Connection::open_with(&server.url(), None, Some("inbox"))
        .await
        .unwrap();
    assert!(connection.established.is_resp3 && connection.established.has_inbox);
    assert_eq!(connection.established.early, []);
    // The server's words on us come as a verbatim string now.
    assert!(connection.id().id > 0);

    // To one who sleeps.
    let mut other = Connection::open(&server.url()).await.unwrap();
    let publish = |text| ["PUBLISH", "inbox", text];
    assert_eq!(other.command(&publish("granted 1")).await, Reply::Int(1));
    let heard = connection.reply().await.unwrap();
    assert_eq!(message(&heard), Some(Ticket::new(1)));

    // In the order of what happened: the message of another one stands between what was done before and after.
    assert_eq!(
        connection.command(&["SET", "key", "1"]).await,
        Reply::Simple("OK".into())
    );
    let script = "redis.call('PUBLISH', 'inbox', 'granted 2') redis.call('SET', 'key', '2') return redis.call('GET', 'none')";
    assert_eq!(other.command(&["EVAL", script, "0"]).await, Reply::Nil);
    connection.say(&[&["GET", "key"], &["PING"]]).await;
    let heard = connection.reply().await.unwrap();
    assert_eq!(message(&heard), Some(Ticket::new(2)));
    assert_eq!(connection.reply().await, Some(Reply::Bulk(b"2".to_vec())));
    assert_eq!(connection.reply().await, Some(Reply::Simple("PONG".into())));
}

#[tokio::test]
async fn a_message_to_oneself_comes_just_before_or_just_after_the_reply() {
    let server = RedisServer::start();
    let mut connection = Connection::open_with(&server.url(), None, Some("inbox"))
        .await
        .unwrap();
    let script = "return redis.call('PUBLISH', 'inbox', 'granted 3')";
    connection.say(&[&["EVAL", script, "0"], &["PING"]]).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(connection.reply().await.unwrap());
    }
    // Before in older servers, after in newer ones.
    let at = heard
        .iter()
        .position(|reply| message(reply) == Some(Ticket::new(3)));
    assert!(at.is_some_and(|at| at < 2), "{heard:?}");
    heard.retain(|reply| message(reply).is_none());
    assert_eq!(heard, [Reply::Int(1), Reply::Simple("PONG".into())]);
}

#[tokio::test]
async fn a_user_without_the_channel_has_no_inbox() {
    let server = RedisServer::start_with(&["--user", "app", "on", ">pass", "~*", "resetchannels", "+@all"]);
    let url = format!("redis://app:pass@127.0.0.1:{}", server.port());
    let mut connection = Connection::open_with(&url, None, Some("inbox")).await.unwrap();
    assert!(connection.established.is_resp3 && !connection.established.has_inbox);
    assert_eq!(connection.command(&["INCR", "n"]).await, Reply::Int(1));
    assert_eq!(server.command(&["PUBLISH", "inbox", "granted 1"]), Reply::Int(0));
}

#[tokio::test]
async fn a_server_without_hello_is_a_server_without_an_inbox() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let mut connection = Connection::open_with(&server.url(), None, Some("inbox"))
        .await
        .unwrap();
    assert!(!connection.established.is_resp3 && !connection.established.has_inbox);
    assert!(connection.established.own.is_some());
    assert_eq!(connection.command(&["GET", "key"]).await, Reply::Nil);
}

#[tokio::test]
async fn a_broken_connection_leaves_no_inbox_behind() {
    let server = RedisServer::start();
    let old = Connection::open_with(&server.url(), None, Some("inbox"))
        .await
        .unwrap();
    let previous = old.id().clone();
    let mut new = Connection::open_with(&server.url(), Some(&previous), Some("inbox"))
        .await
        .unwrap();
    assert!(new.established.fenced_previous && new.established.has_inbox);
    // The old one is closed and no longer counts.
    assert_eq!(server.command(&["PUBLISH", "inbox", "granted 1"]), Reply::Int(1));
    assert_eq!(message(&new.reply().await.unwrap()), Some(Ticket::new(1)));
}

#[tokio::test]
async fn slots_are_those_of_the_server() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut connection = Connection::open(&server.url()).await.unwrap();
    for name in [
        "",
        "medusa_lock:cart_1",
        "a{b}c",
        "a{}{b}",
        "a{b",
        "}{",
        "{{a}}",
        "schlüssel",
    ] {
        let said = connection.command(&["CLUSTER", "KEYSLOT", name]).await;
        assert_eq!(said, Reply::Int(slot(name).into()), "{name:?}");
    }
    for expected in [0, 1, 8191, 16383] {
        let name = format!("locking-native:{{{}}}:queue:a{{b}}", tag(expected));
        let said = connection.command(&["CLUSTER", "KEYSLOT", &name]).await;
        assert_eq!(said, Reply::Int(expected.into()), "{name:?}");
    }
}
