//! What the server's own errors mean for us.

use crate::core::fleet::ServerError;
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
        .filter(|words| !words.starts_with(UNNAMED))
        .map(|key| key.chars().take(WORDS_MAX).collect());
    let words: String = error.chars().take(WORDS_MAX).collect();
    let message = match (&key, code(error)) {
        (Some(key), _) => {
            format!(
                "Redis at {endpoint}: \"{key}\" holds something that is not a lock, and it was left as it is"
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
    error.split_once(' ').map_or(error, |(code, _)| code)
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
}
