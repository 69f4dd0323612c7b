//! Locks across a fleet, on Redis or Valkey.
//!
//! One [`member::Member`] per user: its decisions are [`crate::core::fleet::Fleet`], its connection is a task on the
//! one I/O thread of the process. Callers submit under a mutex and never wait; the task sends what has gathered as one
//! pipeline and applies the answers in one go.
//!
//! From the wire up: [`stream`] and [`handshake`] make a connection, [`resp`] speaks on it, [`scripts`] says what
//! ([`batch`] what goes together, [`names`] and [`slot`] what things are called), [`inbox`] is what the server says
//! unasked, [`conversation`] is one connection in use, [`link`] makes one after the other, and [`attention`] is how they
//! learn that there is something to say.

pub mod attention;
pub mod batch;
pub mod conversation;
pub mod handshake;
pub mod inbox;
pub mod io_thread;
pub mod link;
pub mod member;
pub mod names;
pub mod replies;
pub mod resp;
#[cfg(test)]
mod scene;
pub mod scripts;
pub mod server_error;
pub mod settings;
pub mod slot;
pub mod spin;
pub mod stream;
