//! How the I/O task learns that there is something to look at, without a system call for each who says so.
//!
//! While the task looks by itself, saying so is one store. It says when it stops looking, and is woken from then on. Each
//! side writes before it reads what the other has written: whoever comes second sees the first, so that no call is lost.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::sync::Notify;

use crate::sync::AtomicBool;

/// See the module's description.
#[derive(Default)]
pub struct Attention {
    /// Wakes the task when it sleeps.
    wake: Notify,
    /// The task looks by itself and need not be woken.
    awake: AtomicBool,
    /// There is something to look at.
    work: AtomicBool,
}

impl Attention {
    /// There is something to look at. Costs a system call only when the task sleeps.
    pub fn call(&self) {
        self.work.store(true, Ordering::SeqCst);
        if !self.awake.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// The task looks, and will again before it sleeps. True: it was called since it last did.
    pub fn look(&self) -> bool {
        self.awake.store(true, Ordering::SeqCst);
        self.work.swap(false, Ordering::SeqCst)
    }

    /// The task does not look any more until [`Attention::look`].
    pub fn end(&self) {
        self.awake.store(false, Ordering::SeqCst);
    }

    /// The task sleeps until it is called, which it may have been already.
    pub async fn called(&self) {
        let mut notified = pin!(self.wake.notified());
        // From here on callers notify. What they left before is seen by the check after this.
        self.end();
        poll_fn(|cx| {
            if self.work.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            notified.as_mut().poll(cx)
        })
        .await;
    }

    /// The same for a task that has nothing to look at for as long as it is not called anew.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
