//! The slots of a Redis Cluster, and a tag for each.
//!
//! A cluster runs a script only where all its keys lie in one slot. The slot of a name is made from the part of it in
//! braces, if there is one. So whatever belongs to a lock bears, in braces, a tag with the slot of the lock's own name,
//! which must stay as it is.

use std::sync::OnceLock;

use crc::{CRC_16_XMODEM, Crc, Table};

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// The checksum that slots are made of, by tables for sixteen bytes at a time: each name of a command has its own.
static CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// The checksum of what `crc` is the checksum of and `bytes`.
fn crc16_on(crc: u16, bytes: &[u8]) -> u16 {
    let mut digest = CRC16.digest_with_initial(crc);
    digest.update(bytes);
    digest.finalize()
}

fn crc16(bytes: &[u8]) -> u16 {
    crc16_on(0, bytes)
}

/// What names begin with: the slots of those that begin alike.
#[derive(Clone, Debug)]
pub struct Head {
    text: String,
    /// Its checksum. None: it opens a brace, and the slots depend on where that is closed.
    crc: Option<u16>,
}

impl Head {
    /// Of the names that begin with `text`.
    pub fn new(text: &str) -> Self {
        Head {
            text: text.to_owned(),
            crc: (!text.contains('{')).then(|| crc16(text.as_bytes())),
        }
    }

    /// What they begin with.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The slot of the one that goes on with `tail`.
    pub fn slot(&self, tail: &str) -> u16 {
        match self.crc {
            Some(crc) if !tail.contains('{') => crc16_on(crc, tail.as_bytes()) % SLOTS,
            _ => slot(&[&self.text, tail].concat()),
        }
    }
}

/// The slot of `name`.
pub fn slot(name: &str) -> u16 {
    crc16(braced(name).unwrap_or(name).as_bytes()) % SLOTS
}

/// What is in the first braces. None: there are none, or nothing is in them.
fn braced(name: &str) -> Option<&str> {
    let (_, behind) = name.split_once('{')?;
    let (inside, _) = behind.split_once('}')?;
    (!inside.is_empty()).then_some(inside)
}

/// A tag whose own slot is `slot`: the first such number, counting up from 0, in base 36.
///
/// All nodes must find the same, or they would not find each other's queues.
pub fn tag(slot: u16) -> &'static str {
    str::from_utf8(padded_tag(slot).trim_ascii_end()).unwrap_or_default()
}

/// The same, filled up with blanks to [`TAG_CHARS_MAX`].
pub fn padded_tag(slot: u16) -> &'static [u8; TAG_CHARS_MAX] {
    static TAGS: OnceLock<Vec<[u8; TAG_CHARS_MAX]>> = OnceLock::new();
    &TAGS.get_or_init(all_tags)[usize::from(slot % SLOTS)]
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The most characters of a tag.
pub const TAG_CHARS_MAX: usize = 4;

/// The tags of all slots, by slot.
fn all_tags() -> Vec<[u8; TAG_CHARS_MAX]> {
    let mut tags = vec![[b' '; TAG_CHARS_MAX]; usize::from(SLOTS)];
    let mut missing = SLOTS;
    let mut head = String::new();
    for tens in 0.. {
        // All digits but the last.
        head.clear();
        push_base36(&mut head, tens);
        let crc = crc16(head.as_bytes());
        for &digit in DIGITS {
            let tag = &mut tags[usize::from(crc16_on(crc, &[digit]) % SLOTS)];
            if tag[0] != b' ' {
                continue;
            }
            tag[..head.len()].copy_from_slice(head.as_bytes());
            tag[head.len()] = digit;
            missing -= 1;
            if missing == 0 {
                return tags;
            }
        }
    }
    tags
}

/// Appends `number` in base 36, and nothing for 0.
fn push_base36(out: &mut String, number: usize) {
    if number > 0 {
        push_base36(out, number / DIGITS.len());
        out.push(char::from(DIGITS[number % DIGITS.len()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_are_those_of_a_cluster() {
        for (name, expected) in [
            ("foo", 12182),
            ("bar", 5061),
            ("123456789", 12739),
            ("", 0),
            ("{foo}.bar", 12182),
            ("a{foo}{bar}", 12182),
        ] {
            assert_eq!(slot(name), expected, "{name}");
        }
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        // Nothing in the first braces, or no end of them: the whole name.
        for name in ["foo{}{bar}", "foo{bar", "foo}bar", "}foo{bar"] {
            assert_eq!(slot(name), crc16(name.as_bytes()) % SLOTS, "{name}");
        }
    }

    #[test]
    fn a_name_has_its_slot_wherever_its_head_ends() {
        for name in ["medusa_lock:cart_1", "a{b}c", "a{}{b}", "a{bc", "{é}", "}{"] {
            for (cut, _) in name.char_indices() {
                let (head, tail) = name.split_at(cut);
                assert_eq!(Head::new(head).slot(tail), slot(name), "{head:?} {tail:?}");
            }
        }
    }

    #[test]
    fn each_slot_has_the_first_tag_there_is() {
        let mut seen = vec![false; usize::from(SLOTS)];
        let mut number = 0;
        while seen.contains(&false) {
            let mut text = String::new();
            push_base36(&mut text, number);
            let text = if number == 0 { "0" } else { &text };
            let slot = slot(text);
            if !std::mem::replace(&mut seen[usize::from(slot)], true) {
                assert_eq!(tag(slot), text);
            }
            number += 1;
        }
        assert_eq!(tag(slot("z")), "z");
        assert_eq!(tag(slot("10")), "10");
    }

    #[test]
    fn a_tag_in_braces_leads_to_its_slot() {
        for expected in 0..SLOTS {
            let name = format!("locking-native:{{{}}}:queue:{{other}}", tag(expected));
            assert_eq!(slot(&name), expected);
        }
    }
}
