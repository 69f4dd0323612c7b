//! What the server's own errors mean for us.

use crate::core::fleet::ServerError;
use crate::core::key::{KEY_BYTES_MAX, Shown};
use crate::core::outcome::Failure;

/// Errors by which a server says "not now".
const PASSING: [&str; 9] = [
    "LOADING",
    "BUSY",
    "READONLY",
    "OOM",
    "MISCONF",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
];

/// Errors after which another connection may lead somewhere better: to the new master, or in with the new password.
const RECONNECT: [&str; 3] = ["READONLY", "NOAUTH", "MASTERDOWN"];

/// The longest name of a lock: a namespace of 256 characters, and a key. Longer words name none.
const LOCK_BYTES_MAX: usize = 4 * 256 + KEY_BYTES_MAX;

/// The server's own words for a key of the wrong type, which do not name it. The scripts do, where it is a lock.
const UNNAMED: &str = "Operation against a key";

/// How much of the server's own words a message repeats, in characters.
const WORDS_MAX: usize = 300;

/// Whether the server does not know the script of the call; it can be sent with its source instead.
pub fn is_unknown_script(error: &str) -> bool {
    code(error) == "NOSCRIPT"
}

/// Whether the connection should be made anew after this error.
pub fn wants_reconnect(error: &str) -> bool {
    RECONNECT.contains(&code(error))
}

/// Whether our user has no right to a key of the call. The server looks at all keys before it runs any of it.
pub fn is_for_keys(error: &str) -> bool {
    code(error) == "NOPERM"
}

/// The error as callers see it.
pub fn explain(error: &str, endpoint: &str) -> ServerError {
    let key: Option<String> = error
        .strip_prefix("WRONGTYPE ")
        .filter(|words| !words.starts_with(UNNAMED) && words.len() <= LOCK_BYTES_MAX)
        .map(str::to_owned);
    let words: String = error.chars().take(WORDS_MAX).collect();
    let message = match (&key, code(error)) {
        (Some(key), _) => {
            format!(
                "Redis at {endpoint}: \"{}\" holds something that is not a lock, and it was left as it is",
                Shown(key)
            )
        }
        (None, "NOAUTH") => format!("Redis at {endpoint} asks for a password: {words}"),
        (None, _) => format!("Redis at {endpoint} refused: {words}"),
    };
    ServerError {
        passing: PASSING.contains(&code(error)),
        failure: Failure {
            code: "REDIS_ERROR",
            message,
            key,
        },
    }
}

fn code(error: &str) -> &str {
    let words = said_in_script(error).unwrap_or(error);
    words.split_once(' ').map_or(words, |(code, _)| code)
}

/// What a script ended with on a server before 7, which says in front of it where that was:
/// `ERR Error running script (call to f_1f): @user_script:10: @user_script: 10: -OOM command not allowed`; in the reply to one
/// of several `ERR @user_script: 10: -OOM command not allowed`.
fn said_in_script(error: &str) -> Option<&str> {
    let place = error.strip_prefix("ERR ")?;
    let place = match place.strip_prefix("Error running script (call to ") {
        Some(call) => call.split_once("): ")?.1,
        None => place,
    };
    let mut words = behind_place(place)?;
    while let Some(behind) = behind_place(words) {
        words = behind;
    }
    Some(words.strip_prefix('-').unwrap_or(words))
}

/// What follows the number of a script's line, if that comes first.
fn behind_place(words: &str) -> Option<&str> {
    let (line, behind) = words.strip_prefix("@user_script:")?.split_once(": ")?;
    line.trim_start().parse::<u32>().ok().map(|_| behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_names_the_key() {
        let error = explain("WRONGTYPE medusa_lock:cart_1", "localhost:6379");
        assert!(!error.passing);
        assert!(
            error.failure.message.contains("\"medusa_lock:cart_1\""),
            "{}",
            error.failure.message
        );
    }

    #[test]
    fn a_wrong_type_of_what_is_no_lock_names_no_key() {
        let words = "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:10.";
        let error = explain(words, "localhost:6379");
        assert!(!error.passing);
        assert_eq!(error.failure.key, None);
        assert!(error.failure.message.contains(words), "{}", error.failure.message);
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        assert!(explain("LOADING Redis is loading the dataset in memory", "r").passing);
        assert!(explain("OOM command not allowed when used memory > 'maxmemory'.", "r").passing);
        assert!(!explain("NOPERM this user has no permissions", "r").passing);
        assert!(!explain("ERR something", "r").passing);
    }

    /// As Redis 6.2 says it: to a call for one, and to one of several.
    #[test]
    fn what_a_script_was_refused_is_read_from_servers_before_7_too() {
        let to_one = "ERR Error running script (call to f_be49358d24583a6ce6be4fd6d4d68b652df2129b): @user_script:10: ";
        for before in [to_one, "ERR "] {
            let oom =
                format!("{before}@user_script: 10: -OOM command not allowed when used memory > 'maxmemory'.");
            let read_only =
                format!("{before}@user_script: 10: -READONLY You can't write against a read only replica.");
            assert!(explain(&oom, "r").passing, "{oom}");
            assert!(explain(&oom, "r").failure.message.contains(&oom));
            assert!(!wants_reconnect(&oom));
            assert!(
                explain(&read_only, "r").passing && wants_reconnect(&read_only),
                "{read_only}"
            );
        }
        let wrong_type = format!("{to_one}WRONGTYPE Operation against a key holding the wrong kind of value");
        assert!(!explain(&wrong_type, "r").passing);
        for odd in [
            "ERR @user_script: ten: -OOM x",
            "ERR user -OOM x",
            "ERR -OOM x",
            "ERR @user_script:10",
            "ERR",
        ] {
            assert!(!explain(odd, "r").passing, "{odd}");
        }
    }
}
