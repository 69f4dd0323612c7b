//! Where threads meet: the mailbox of completions, the lock table in memory, the thread for deadlines, and how the I/O task
//! is woken, under one order of the threads' steps after another.
//!
//! The code is the product's own. `src/sync.rs` gives it shuttle's locks, atomics and a clock that the test moves, so that
//! each test runs under thousands of schedules: at random, and with few switches at the worst places (PCT, Burckhardt and
//! others, ASPLOS 2010). A wake-up that is lost leaves a thread that waits for ever, which shuttle reports as a deadlock.
//! Each part also has a test in which somebody breaks a rule of it, and that must be found.
//!
//! Shuttle knows no weaker order than the sequential one. What rests on a weaker one says why where it stands.
//!
//! `cargo test --no-default-features --features redis,interleavings --test interleavings`; `INTERLEAVINGS=100000` before it
//! looks longer than the default.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "interleavings/attention.rs"]
mod attention;
#[path = "interleavings/deadlines.rs"]
mod deadlines;
#[path = "interleavings/mailbox.rs"]
mod mailbox;
#[path = "interleavings/receiver.rs"]
mod receiver;
#[path = "interleavings/table.rs"]
mod table;

use std::sync::Arc;

use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::sync::interleaved::set_now;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// How many schedules of each kind a test is run under; `INTERLEAVINGS` says otherwise.
const SCHEDULES: usize = 1_000;
/// The most switches that PCT makes at its chosen places.
const DEPTH: usize = 3;
/// More than any schedule here needs that ends.
const STEPS_MAX: usize = 20_000;

/// Runs `test` under many schedules.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("INTERLEAVINGS").map_or(SCHEDULES, |text| text.parse().unwrap());
    let test = Arc::new(move || {
        set_now(Moment::from_ms(1));
        test();
    });
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    let again = Arc::clone(&test);
    Runner::new(RandomScheduler::new(schedules), config.clone()).run(move || again());
    Runner::new(PctScheduler::new(DEPTH, schedules), config).run(move || test());
}
