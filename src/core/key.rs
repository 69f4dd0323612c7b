//! Key sets: what one call locks.

use std::fmt;
use std::sync::Arc;

use crate::core::error::RequestError;

/// The longest key, in UTF-8 bytes.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// The most different keys that one call may name.
pub const KEYS_PER_CALL_MAX: usize = 10_000;

/// The most bytes of all different keys of one call together. Each is sent twice and written down up to five times, and the
/// server does nothing else meanwhile.
pub const KEYS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of an overlong key an error message shows, in characters.
const KEY_START_CHARS: usize = 40;

/// How much of a key the other messages show, in characters: those that people choose are shown in full.
const SHOWN_CHARS_MAX: usize = 200;

/// A key as messages show it: in full unless it is very long.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'k>(pub &'k str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_CHARS_MAX) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}...", &self.0[..end]),
        }
    }
}

/// The keys of one request: sorted, each once, within the bounds. Possibly none.
///
/// Shared names (`Arc<str>`) because the table, its queues and its timers all refer to the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySet(Keys);

/// One key is by far the most common set and needs no allocation of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Keys {
    One(Arc<str>),
    Many(Arc<[Arc<str>]>),
}

impl KeySet {
    /// The set of this one key.
    ///
    /// # Errors
    /// The key is empty or longer than [`KEY_BYTES_MAX`].
    pub fn one(key: &str) -> Result<Self, RequestError> {
        check(key)?;
        Ok(KeySet(Keys::One(key.into())))
    }

    /// The set of these keys, in any order, duplicates folded.
    ///
    /// # Errors
    /// A key is empty or longer than [`KEY_BYTES_MAX`], more than [`KEYS_PER_CALL_MAX`] different ones are named, or these are
    /// longer than [`KEYS_BYTES_MAX`] together.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Result<Self, RequestError> {
        let mut set: Vec<&str> = keys.into_iter().collect();
        set.sort_unstable();
        set.dedup();
        if set.len() > KEYS_PER_CALL_MAX {
            return Err(RequestError::KeysTooMany {
                count: set.len(),
                max: KEYS_PER_CALL_MAX,
            });
        }
        set.iter().try_for_each(|key| check(key))?;
        let bytes = set.iter().map(|key| key.len()).sum();
        if bytes > KEYS_BYTES_MAX {
            return Err(RequestError::KeysTooLong {
                bytes,
                max: KEYS_BYTES_MAX,
            });
        }
        Ok(match set.as_slice() {
            [only] => KeySet(Keys::One((*only).into())),
            many => KeySet(Keys::Many(many.iter().map(|key| Arc::from(*key)).collect())),
        })
    }

    /// The keys, in order.
    pub fn as_slice(&self) -> &[Arc<str>] {
        match &self.0 {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Many(keys) => keys,
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is nothing to lock.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The keys, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<str>> {
        self.as_slice().iter()
    }
}

impl<'s> IntoIterator for &'s KeySet {
    type Item = &'s Arc<str>;
    type IntoIter = std::slice::Iter<'s, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn check(key: &str) -> Result<(), RequestError> {
    if key.is_empty() {
        return Err(RequestError::KeyEmpty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(RequestError::KeyTooLong {
            bytes: key.len(),
            max: KEY_BYTES_MAX,
            start: key.chars().take(KEY_START_CHARS).collect(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique() {
        let set = KeySet::new(["b", "a", "b", "c", "a"]).unwrap();
        let keys: Vec<&str> = set.iter().map(|key| &**key).collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }

    #[test]
    fn a_set_of_one_is_the_same_however_it_is_made() {
        assert_eq!(KeySet::new(["k", "k"]).unwrap(), KeySet::one("k").unwrap());
    }

    #[test]
    fn no_keys_are_a_set_too() {
        assert!(KeySet::new([]).unwrap().is_empty());
    }

    #[test]
    fn bounds_hold_at_the_bound_and_not_one_beyond() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert!(KeySet::one(&longest).is_ok());
        assert!(matches!(
            KeySet::one(&(longest + "k")),
            Err(RequestError::KeyTooLong { bytes: 16_385, .. })
        ));

        let names: Vec<String> = (0..=KEYS_PER_CALL_MAX).map(|n| n.to_string()).collect();
        let most = names[1..].iter().map(String::as_str);
        assert_eq!(KeySet::new(most).unwrap().len(), KEYS_PER_CALL_MAX);
        let one_more = names.iter().map(String::as_str);
        assert!(matches!(
            KeySet::new(one_more),
            Err(RequestError::KeysTooMany { count: 10_001, .. })
        ));

        let mut names: Vec<String> = (0..KEYS_BYTES_MAX / KEY_BYTES_MAX)
            .map(|n| format!("{n:0>KEY_BYTES_MAX$}"))
            .collect();
        assert!(KeySet::new(names.iter().map(String::as_str)).is_ok());
        names.push("k".to_owned());
        assert!(matches!(
            KeySet::new(names.iter().map(String::as_str)),
            Err(RequestError::KeysTooLong { bytes: 4_194_305, .. })
        ));
    }

    #[test]
    fn a_long_key_is_cut_between_characters_where_a_message_shows_it() {
        for key in ["k".repeat(SHOWN_CHARS_MAX), "é".repeat(SHOWN_CHARS_MAX)] {
            assert_eq!(Shown(&key).to_string(), key);
            assert_eq!(Shown(&format!("{key}k")).to_string(), format!("{key}..."));
        }
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(KeySet::new(["a", ""]), Err(RequestError::KeyEmpty));
    }
}
