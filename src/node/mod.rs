//! The Node.js addon: the only code that names napi.
//!
//! JavaScript calls in synchronously; nothing here awaits. What cannot be answered at once gets a ticket, and its
//! completion comes through the environment's [`mailbox`]: batches of number triples, one weak callback. Promises are
//! made in JavaScript (`provider/`), where they are cheap.

mod calls;
mod error;
mod locks;
mod mailbox;
mod options;
mod text_arguments;
mod wakeups;
