//! What is made of what arrives. The talk with real servers is in `tests/redis_transport.rs`.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::names::new_inbox;
use super::*;
use crate::backend::redis::scene;
use crate::core::fleet::{Command, Held, Place, Waiting};
use crate::core::key::KeySet;
use crate::core::owner::Owner;
use crate::core::ticket::Ticket;

/// A conversation, and the other end of its connection.
async fn conversation(has_inbox: bool) -> (Conversation, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let shared = scene::shared(Arc::default());
    let stream = Stream::Tcp(ours.unwrap());
    (
        Conversation::new(shared, stream, Parser::new(), has_inbox.then(new_inbox)),
        theirs.unwrap().0,
    )
}

/// A command that was sent.
fn scan(number: u64) -> Sent {
    Sent {
        command: Command::Scan {
            ticket: Ticket::new(number),
            cursor: 0,
        },
        at: clock::now(),
    }
}

/// Its answer on the wire.
const LAST_PAGE: &str = "*2\r\n$1\r\n0\r\n*0\r\n";

fn message(channel: &str, text: &str) -> String {
    let (channel_bytes, text_bytes) = (channel.len(), text.len());
    format!(">3\r\n$7\r\nmessage\r\n${channel_bytes}\r\n{channel}\r\n${text_bytes}\r\n{text}\r\n")
}

fn granted(ticket: u64) -> Heard {
    Heard::Push(Push {
        ticket: Ticket::new(ticket),
        look_in: None,
    })
}

#[tokio::test]
async fn messages_are_heard_in_order_with_the_answers() {
    let (mut conversation, _peer) = conversation(true).await;
    let inbox = conversation.inbox.clone().unwrap();
    let (first, second) = (scan(1), scan(2));
    for sent in [first.clone(), second.clone()] {
        conversation.flights.push_back(Flight {
            commands: 1,
            tries: 1,
        });
        conversation.sent.push_back(sent);
    }
    let arrived = [
        LAST_PAGE,
        &message(&inbox, "granted 7"),
        &message("other", "granted 8"),
        &message(&inbox, "good morning"),
        LAST_PAGE,
        // Nothing is awaited any more.
        &message(&inbox, "look 9 250"),
    ];
    conversation.parser.feed(arrived.concat().as_bytes());
    assert!(conversation.read_replies().is_ok());
    assert_eq!(
        conversation.heard,
        [
            Heard::Answer(first, Answer::Page(0, Vec::new())),
            granted(7),
            Heard::Answer(second, Answer::Page(0, Vec::new())),
            Heard::Push(Push {
                ticket: Ticket::new(9),
                look_in: Some(Duration::from_millis(250)),
            }),
        ]
    );
    assert!(conversation.after_io().is_none());
    assert!(conversation.heard.is_empty());

    conversation.parser.feed(LAST_PAGE.as_bytes());
    let failure = conversation.read_replies().unwrap_err();
    assert!(
        failure.message.contains("a reply that nobody asked for"),
        "{failure:?}"
    );
}

/// A job's request that waits if it must.
fn acquire(number: u64, key: &str) -> Sent {
    let ticket = Ticket::new(number);
    let place = Place {
        ticket: 0,
        age: Duration::ZERO,
    };
    Sent {
        command: Command::Acquire {
            ticket,
            keys: KeySet::one(key).unwrap(),
            owner: Owner::Job(ticket),
            expire: Some(Duration::from_secs(15)),
            must_hold: false,
            reserve: 0,
            wait: Some(place),
            more: false,
        },
        at: clock::now(),
    }
}

/// Who hears of a grant before the answer that it waits takes it for one that the answer knows of, and does not claim it.
#[tokio::test]
async fn what_a_call_for_several_hands_to_one_of_them_is_heard_after_its_answer() {
    let (mut conversation, _peer) = conversation(true).await;
    let inbox = conversation.inbox.clone().unwrap();
    let (first, second) = (acquire(1, "a"), acquire(2, "b"));
    conversation.sent.extend([first.clone(), second.clone()]);
    conversation.flights.push_back(Flight {
        commands: 2,
        tries: 1,
    });
    let arrived = [
        &message(&inbox, "granted 1"),
        &message(&inbox, "granted 7"),
        "*2\r\n*5\r\n:1\r\n:-1\r\n:50\r\n:0\r\n:3\r\n:60\r\n",
    ];
    conversation.parser.feed(arrived.concat().as_bytes());
    assert!(conversation.read_replies().is_ok());
    let waits = Answer::Waiting(Waiting {
        key: 0,
        look_in: None,
        ticket: 50,
        silent: false,
        held_for: Duration::from_millis(3),
    });
    assert_eq!(
        conversation.heard,
        [
            granted(7),
            Heard::Answer(first, waits),
            Heard::Answer(second, Answer::Granted(60)),
            granted(1),
        ]
    );
}

#[tokio::test]
async fn one_number_answers_several_alike_each_with_a_token_of_its_own() {
    let (mut conversation, _peer) = conversation(true).await;
    let jobs = [1, 2, 3].map(|number| {
        let mut sent = acquire(number, "k");
        if let Command::Acquire { reserve, .. } = &mut sent.command {
            *reserve = 16;
        }
        sent
    });
    let release = |number| Sent {
        command: Command::Release {
            ticket: Ticket::new(number),
            keys: KeySet::one("k").unwrap(),
            held: Held::ByOwner(None),
            more: false,
        },
        at: clock::now(),
    };
    let releases = [release(4), release(5)];
    for several in [&jobs[..], &releases[..]] {
        conversation.sent.extend(several.iter().cloned());
        conversation.flights.push_back(Flight {
            commands: several.len(),
            tries: 1,
        });
    }
    conversation.parser.feed(b":1000\r\n:1\r\n");
    assert!(conversation.read_replies().is_ok());
    let answers: Vec<&Answer> = conversation
        .heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Answer(_, answer) => Some(answer),
            Heard::Push(_) => None,
        })
        .collect();
    let granted = [1000, 1017, 1034].map(Answer::Granted);
    let released = [Answer::Released(true), Answer::Released(true)];
    assert!(answers.into_iter().eq(granted.iter().chain(&released)));

    // A token that JavaScript could not count to is none.
    conversation.sent.extend(jobs);
    conversation.flights.push_back(Flight {
        commands: 3,
        tries: 1,
    });
    conversation.parser.feed(format!(":{}\r\n", i64::MAX).as_bytes());
    assert!(conversation.read_replies().is_err());
}

#[tokio::test]
async fn without_an_inbox_there_are_no_messages() {
    let (mut conversation, _peer) = conversation(false).await;
    let inbox = new_inbox();
    conversation.parser.feed(message(&inbox, "granted 7").as_bytes());
    conversation.parser.feed(message("", "granted 7").as_bytes());
    assert!(conversation.read_replies().is_ok());
    assert!(conversation.heard.is_empty());
    assert_eq!(conversation.inbox, None);
}

#[tokio::test]
async fn a_message_wakes_who_awaits_nothing() {
    let (mut conversation, mut peer) = conversation(true).await;
    let message = message(conversation.inbox.as_deref().unwrap(), "granted 7");
    let started = Instant::now();
    let (ended, ()) = tokio::join!(conversation.sleep(), async {
        sleep(Duration::from_millis(20)).await;
        peer.write_all(message.as_bytes()).await.unwrap();
    });
    assert!(ended.is_none());
    assert!(started.elapsed() < IDLE / 100);
    assert!(!conversation.was_answered);
}

#[tokio::test]
async fn what_came_with_the_handshake_is_heard_at_once() {
    let (mut conversation, _peer) = conversation(true).await;
    let message = message(conversation.inbox.as_deref().unwrap(), "granted 7");
    conversation.parser.feed(message.as_bytes());
    let talk = timeout(Duration::from_millis(20), conversation.talk());
    assert!(talk.await.is_err(), "it goes on");
    assert_eq!(conversation.parser.next(), Ok(None));
    assert!(conversation.heard.is_empty());
}

#[tokio::test]
async fn connections_have_inboxes_of_their_own() {
    let (one, _peer) = conversation(true).await;
    let (other, _peer) = conversation(true).await;
    assert!(one.inbox.is_some());
    assert_ne!(one.inbox, other.inbox);
}
