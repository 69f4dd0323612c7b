//! Keeping a connection: made, used, broken, made again, for as long as the member lives.
//!
//! What is known to be answered, and what is not, is the point of this file: every command that was taken to be sent
//! is either answered to the fleet or handed back as unanswered when the connection ends. A new connection has the
//! old one closed by the server before anything else is said (see [`super::handshake`]), so that commands that the
//! server had not read yet can never run after what the new connection sends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::conversation::{Broken, Conversation};
use super::handshake::{Established, ServerSideId, handshake};
use super::member::Shared;
use super::names::new_inbox;
use super::resp::Parser;
use super::stream::{ConnectError, ConnectErrorKind, Stream, connect};
use crate::clock;
use crate::core::backoff::Backoff;
use crate::core::outcome::Failure;

/// The pauses between tries to connect. Without end: the store lives on when Redis is back.
const RECONNECT: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
    factor: 2.0,
};

/// Runs until the member closes. A panic ends the connection and not the member.
pub async fn keep(shared: Arc<Shared>) {
    let connect = |left| connections(Arc::clone(&shared), left);
    keep_running(&shared, connect).await;
}

async fn keep_running<T>(shared: &Shared, mut connections: impl FnMut(Left) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut left = Left::default();
    while tokio::spawn(connections(left)).await.is_err() {
        // What it had sent may still run.
        left = Left {
            previous: None,
            unknown: true,
        };
        shared.attention.end();
        let message = format!(
            "Redis at {}: the connection's task panicked",
            shared.settings.endpoint()
        );
        shared.turn(|fleet, _| {
            fleet.link_down(
                [],
                Failure {
                    code: "INTERNAL",
                    message,
                    key: None,
                },
            )
        });
        sleep(RECONNECT.longest).await;
    }
    shared.ended();
}

/// One connection after the other.
async fn connections(shared: Arc<Shared>, mut left: Left) {
    let mut failures: u32 = 0;
    while !shared.may_end() {
        let inbox = new_inbox();
        let made = tokio::select! {
            made = establish(&shared, left.previous.as_ref(), &inbox) => made,
            () = until_may_end(&shared) => break,
        };
        match made {
            Ok((stream, parser, established)) => {
                let fenced = established.fenced_previous && !left.unknown;
                let has_inbox = established.has_inbox;
                shared.turn(|fleet, now| {
                    fleet.link_up(now, fenced, has_inbox);
                    for push in established.early {
                        fleet.pushed(now, push);
                    }
                });
                let conversation =
                    Conversation::new(Arc::clone(&shared), stream, parser, has_inbox.then_some(inbox));
                let broken = conversation.run().await;
                failures = if broken.was_useful {
                    0
                } else {
                    failures.saturating_add(1)
                };
                left = Left::behind(&broken, established.own);
                shared.turn(|fleet, _| fleet.link_down(broken.unanswered, broken.why));
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                shared.turn(|fleet, _| fleet.link_down([], failure(&error)));
            }
        }
        if failures > 0 {
            tokio::select! {
                () = sleep(RECONNECT.pause(failures - 1, fastrand::f64())) => {}
                () = until_may_end(&shared) => {}
            }
        }
    }
}

/// What a connection left behind on the server.
#[derive(Default)]
struct Left {
    /// It may still read commands of this connection.
    previous: Option<ServerSideId>,
    /// It may, and we do not know what it calls the connection.
    unknown: bool,
}

impl Left {
    fn behind(broken: &Broken, own: Option<ServerSideId>) -> Self {
        let has_unanswered = !broken.unanswered.is_empty();
        Left {
            unknown: has_unanswered && own.is_none(),
            previous: own.filter(|_| has_unanswered),
        }
    }
}

async fn establish(
    shared: &Shared,
    previous: Option<&ServerSideId>,
    inbox: &str,
) -> Result<(Stream, Parser, Established), ConnectError> {
    let mut stream = connect(&shared.settings).await?;
    let mut parser = Parser::new();
    let established = handshake(&mut stream, &mut parser, &shared.settings, previous, Some(inbox)).await?;
    Ok((stream, parser, established))
}

async fn until_may_end(shared: &Shared) {
    while !shared.may_end() {
        match shared.end_by() {
            None => shared.attention.woken().await,
            Some(by) => {
                tokio::select! {
                    () = shared.attention.woken() => {}
                    () = sleep(by.since(clock::now())) => {}
                }
            }
        }
    }
}

fn failure(error: &ConnectError) -> Failure {
    let code = match error.kind {
        ConnectErrorKind::Auth | ConnectErrorKind::Refused => "REDIS_ERROR",
        _ => "REDIS_UNREACHABLE",
    };
    Failure {
        code,
        message: error.to_string(),
        key: None,
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
