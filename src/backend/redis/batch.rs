//! Which commands go to the server in one script call.
//!
//! Requests that are taken to be sent together are often alike: many callers, each with keys of its own. One call for several
//! of them spares the server most of what a call costs. What each of them gets is what it would get had they been sent one
//! after the other: the scripts for several (`lua/acquire_jobs.lua`, `acquire_locks.lua`, `releases.lua`) say so.

use crate::core::fleet::{Command, Sent};
use crate::core::owner::Owner;

/// The most requests, and the most keys, in one call: it must not hold the server up.
pub const REQUESTS_MAX: usize = 64;
/// See [`REQUESTS_MAX`].
pub const KEYS_MAX: usize = 256;

/// How many of the first of these commands go in one call. They keep their order.
pub fn first_call(commands: &[Sent]) -> usize {
    let Some((first, rest)) = commands.split_first() else {
        return 0;
    };
    let (Command::Acquire { keys, .. } | Command::Release { keys, .. }) = &first.command else {
        return 1;
    };
    let most = REQUESTS_MAX.min(KEYS_MAX / keys.len().max(1)).max(1);
    let alike = rest
        .iter()
        .take(most - 1)
        .take_while(|next| are_alike(&first.command, &next.command));
    1 + alike.count()
}

/// Whether two requests differ in nothing but their keys, their attempts and their owners' names.
fn are_alike(one: &Command, other: &Command) -> bool {
    match (one, other) {
        (
            Command::Acquire {
                keys,
                owner,
                expire,
                must_hold: false,
                reserve,
                wait,
                more,
                ..
            },
            Command::Acquire {
                keys: other_keys,
                owner: other_owner,
                expire: other_expire,
                must_hold: false,
                reserve: other_reserve,
                wait: other_wait,
                more: other_more,
                ..
            },
        ) => {
            keys.len() == other_keys.len()
                && matches!(owner, Owner::Job(_)) == matches!(other_owner, Owner::Job(_))
                && (expire, reserve, wait, more) == (other_expire, other_reserve, other_wait, other_more)
        }
        (
            Command::Release {
                keys,
                held,
                more: false,
                ..
            },
            Command::Release {
                keys: other_keys,
                held: other_held,
                more: false,
                ..
            },
        ) => {
            keys.len() == other_keys.len()
                && std::mem::discriminant(held) == std::mem::discriminant(other_held)
        }
        _ => false,
    }
}
