//! What becomes of a member whose connection's task panics. Connections that break are in `tests/redis_transport.rs` and in
//! `__test__/every-byte.test.mjs`.

use std::future::ready;

use parking_lot::Mutex;
use tokio::time::timeout;

use super::*;
use crate::backend::redis::scene::{self, News};
use crate::core::fleet::{Command, Wish};
use crate::core::key::KeySet;
use crate::core::outcome::Outcome;
use crate::core::patience::Patience;
use crate::core::table::Claim;
use crate::core::ticket::Ticket;

const ASKED: Ticket = Ticket::new(7);

/// Somebody asks to have a lock at once, and its command is taken to be sent.
fn ask(shared: &Shared) {
    shared.turn(|fleet, now| {
        fleet.link_up(now, true, false);
        let wish = Wish {
            keys: KeySet::new(["k"]).unwrap(),
            claim: Claim::Job,
            lease: Duration::from_secs(15),
            patience: Patience::Until(now.after(Duration::from_secs(60))),
        };
        fleet.request(now, ASKED, wish).unwrap();
    });
    let mut sent = Vec::new();
    shared.take_outbox(&mut sent);
    assert_eq!(sent.len(), 1);
}

#[tokio::test]
async fn a_panic_ends_the_connection_and_not_the_member() {
    let news: Arc<News> = Arc::default();
    let shared = scene::shared(Arc::clone(&news));
    let lefts = Arc::new(Mutex::new(Vec::new()));
    let connect = |left: Left| {
        lefts.lock().push((left.previous.is_some(), left.unknown));
        let (is_first, shared) = (lefts.lock().len() == 1, Arc::clone(&shared));
        async move {
            if is_first {
                // It looks by itself, and will not any more.
                shared.attention.look();
                ask(&shared);
                panic!("as if the connection's code were wrong");
            }
            // A caller that comes between the two connections is heard by the second.
            shared.attention.call();
            timeout(Duration::from_secs(5), shared.attention.woken())
                .await
                .unwrap();
            shared.turn(|fleet, now| fleet.link_up(now, false, false));
            let mut sent = Vec::new();
            shared.take_outbox(&mut sent);
            // What was sent may have run, and cannot be kept from running: it is not asked for again at once.
            let asks = |sent: &crate::core::fleet::Sent| matches!(sent.command, Command::Acquire { .. });
            assert!(!sent.iter().any(asks));
            shared.turn(|fleet, now| fleet.cancel(now, ASKED));
            ready(()).await;
        }
    };
    keep_running(&shared, connect).await;
    assert_eq!(*lefts.lock(), [(false, false), (false, true)]);
    assert!(news.0.lock().is_empty(), "nobody was told anything that waits on");
}

#[tokio::test]
async fn who_cannot_wait_for_the_next_connection_is_told_of_the_panic() {
    let news: Arc<News> = Arc::default();
    let shared = scene::shared(Arc::clone(&news));
    let mut is_first = true;
    let connect = |_| {
        let panics = std::mem::take(&mut is_first);
        let shared = Arc::clone(&shared);
        async move {
            if panics {
                ask(&shared);
                panic!("as if the connection's code were wrong");
            }
            shared.turn(|fleet, now| fleet.tick(now.after(Duration::from_secs(61)), Duration::ZERO));
        }
    };
    keep_running(&shared, connect).await;
    let told = news.0.lock();
    let [completion] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(completion.ticket, ASKED);
    let Outcome::Failed(failure) = &completion.outcome else {
        panic!("{completion:?}");
    };
    assert_eq!(failure.code, "INTERNAL");
    assert!(failure.message.contains("panicked"), "{}", failure.message);
}
