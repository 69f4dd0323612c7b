//! Shuttle's mutex and condition variable with the faces of `parking_lot`'s, and a clock that stands still until the test
//! moves it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicU64, Ordering};

use crate::core::moment::Moment;

thread_local! {
    /// All threads of an execution under shuttle are coroutines of one thread of the system.
    static NOW: Cell<Moment> = const { Cell::new(Moment::from_ms(1)) };
}

/// The moment it is in this test.
pub fn now() -> Moment {
    NOW.get()
}

/// Moves the clock of this test. Whoever waits for as long as until then may go on.
pub fn set_now(moment: Moment) {
    NOW.set(moment);
}

/// A mutex without poison.
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// One that is not locked.
    pub fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    /// Waits for it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            guard: Some(self.lock_inner()),
        }
    }

    fn lock_inner(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A locked mutex.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// None only while a condition variable has it.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

const TAKEN: &str = "a guard is taken only within a call that has it";

#[expect(clippy::expect_used, reason = "code of tests")]
impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect(TAKEN)
    }
}

#[expect(clippy::expect_used, reason = "code of tests")]
impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect(TAKEN)
    }
}

/// A condition variable.
#[derive(Debug, Default)]
pub struct Condvar {
    inner: shuttle::sync::Condvar,
    /// How often it was notified: shuttle's own waits with a timeout never time out.
    notified: AtomicU64,
}

impl Condvar {
    /// Has one that waits go on.
    pub fn notify_one(&self) {
        self.notified.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_one();
    }

    /// Waits to be notified. A test in which that never happens fails.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(inner) = guard.guard.take() {
            let inner = self.inner.wait(inner).unwrap_or_else(PoisonError::into_inner);
            guard.guard = Some(inner);
        }
    }

    /// The same, or until so much time has passed.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) {
        // First: other threads may move the clock at each step that shuttle knows of.
        let until = now().after(timeout);
        let notified = self.notified.load(Ordering::SeqCst);
        while self.notified.load(Ordering::SeqCst) == notified && now() < until {
            guard.guard = None;
            shuttle::thread::yield_now();
            guard.guard = Some(guard.mutex.lock_inner());
        }
    }
}
