//! The slots of a Redis Cluster, and a tag for each.
//!
//! A cluster runs a script only where all its keys lie in one slot. The slot of a name is made from the part of it in
//! braces, if there is one. So whatever belongs to a lock bears, in braces, a tag with the slot of the lock's own name,
//! which must stay as it is.

use std::sync::OnceLock;

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// The remainders of CRC16/XMODEM for one byte.
static CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let polynomial = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            crc = (crc << 1) ^ polynomial;
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The checksum of what `crc` is the checksum of and `byte`.
fn crc16_step(crc: u16, byte: u8) -> u16 {
    (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]
}

fn crc16(bytes: impl Iterator<Item = u8>) -> u16 {
    bytes.fold(0, crc16_step)
}

/// The slot of `name`.
pub fn slot(name: &str) -> u16 {
    slot_of_two(name, "")
}

/// The slot of the name that `head` and `tail` make up.
pub fn slot_of_two(head: &str, tail: &str) -> u16 {
    let bytes = || head.bytes().chain(tail.bytes());
    let crc = match braced(bytes()) {
        Some((start, length)) => crc16(bytes().skip(start).take(length)),
        None => crc16(bytes()),
    };
    crc % SLOTS
}

/// Where the part in the first braces begins and how long it is. None: there are none, or nothing is in them.
fn braced(mut name: impl Iterator<Item = u8>) -> Option<(usize, usize)> {
    let open = name.position(|byte| byte == b'{')?;
    let length = name.position(|byte| byte == b'}')?;
    (length > 0).then_some((open + 1, length))
}

/// A tag whose own slot is `slot`: the first such number, counting up from 0, in base 36.
///
/// All nodes must find the same, or they would not find each other's queues.
pub fn tag(slot: u16) -> &'static str {
    static TAGS: OnceLock<Tags> = OnceLock::new();
    TAGS.get_or_init(Tags::new).of(slot)
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The tags of all slots.
struct Tags {
    /// One behind the other, in the order in which they were found.
    text: String,
    /// For each slot, where its tag begins and ends.
    places: Vec<(u32, u32)>,
}

impl Tags {
    fn new() -> Self {
        let mut tags = Tags {
            text: String::with_capacity(4 * usize::from(SLOTS)),
            places: vec![(0, 0); usize::from(SLOTS)],
        };
        let mut missing = SLOTS;
        let mut head = String::new();
        for tens in 0.. {
            // All digits but the last.
            head.clear();
            push_base36(&mut head, tens);
            let crc = crc16(head.bytes());
            for &digit in DIGITS {
                let place = &mut tags.places[usize::from(crc16_step(crc, digit) % SLOTS)];
                if place.1 > 0 {
                    continue;
                }
                let start = tags.text.len() as u32;
                tags.text.push_str(&head);
                tags.text.push(char::from(digit));
                *place = (start, tags.text.len() as u32);
                missing -= 1;
                if missing == 0 {
                    return tags;
                }
            }
        }
        tags
    }

    fn of(&self, slot: u16) -> &str {
        let (start, end) = self.places[usize::from(slot % SLOTS)];
        &self.text[start as usize..end as usize]
    }
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
        assert_eq!(crc16("123456789".bytes()), 0x31C3);
        assert_eq!(crc16("".bytes()), 0);
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
            assert_eq!(slot(name), crc16(name.bytes()) % SLOTS, "{name}");
        }
    }

    #[test]
    fn a_name_in_two_pieces_has_the_slot_of_the_whole() {
        for name in ["medusa_lock:cart_1", "a{b}c", "a{}{b}", "a{bc", "{é}", "}{"] {
            for (cut, _) in name.char_indices() {
                let (head, tail) = name.split_at(cut);
                assert_eq!(slot_of_two(head, tail), slot(name), "{head:?} {tail:?}");
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
