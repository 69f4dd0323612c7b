//! Callers queue commands and call the I/O task, which looks by itself for a while and then sleeps.

use std::sync::{Arc, Mutex};

use medusa_locking_native::backend::redis::attention::Attention;
use shuttle::{future, thread};

use super::explore;

const CALLERS: usize = 3;
const EACH: usize = 2;

#[derive(Default)]
struct Line {
    attention: Attention,
    /// As the fleet's outbox, behind a mutex of its own.
    outbox: Mutex<Vec<usize>>,
}

fn start_callers(line: &Arc<Line>) {
    for caller in 0..CALLERS {
        let line = Arc::clone(line);
        thread::spawn(move || {
            for _ in 0..EACH {
                line.outbox.lock().unwrap().push(caller);
                line.attention.call();
            }
        });
    }
}

/// The task of `conversation.rs`: it looks, turns to its connection, and sleeps when there is nothing to do.
async fn serve(line: &Line) {
    let mut sent = 0;
    while sent < CALLERS * EACH {
        if line.attention.look() {
            sent += line.outbox.lock().unwrap().drain(..).count();
        } else {
            line.attention.called().await;
        }
    }
}

#[test]
fn no_call_is_lost_whether_the_task_looks_sleeps_or_is_about_to() {
    explore(|| {
        let line: Arc<Line> = Arc::default();
        start_callers(&line);
        future::block_on(serve(&line));
        assert!(line.outbox.lock().unwrap().is_empty());
    });
}

/// As between two connections: nobody looks until one is made, and what was called for meanwhile is not forgotten.
#[test]
fn a_call_that_came_while_nobody_looked_is_there_when_somebody_does() {
    explore(|| {
        let line: Arc<Line> = Arc::default();
        line.attention.look();
        line.attention.end();
        start_callers(&line);
        future::block_on(line.attention.woken());
        future::block_on(serve_again(&line));
    });
}

/// The first look of a new connection, for which everything is due that has not been sent.
async fn serve_again(line: &Line) {
    let mut sent = line.outbox.lock().unwrap().drain(..).count();
    while sent < CALLERS * EACH {
        line.attention.look();
        sent += line.outbox.lock().unwrap().drain(..).count();
        if sent < CALLERS * EACH {
            line.attention.called().await;
        }
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_task_that_sleeps_without_saying_so_first_misses_a_call_and_that_is_found() {
    explore(|| {
        let line: Arc<Line> = Arc::default();
        start_callers(&line);
        future::block_on(async {
            let mut sent = 0;
            while sent < CALLERS * EACH {
                if line.attention.look() {
                    sent += line.outbox.lock().unwrap().drain(..).count();
                } else {
                    line.attention.woken().await;
                }
            }
        });
    });
}
