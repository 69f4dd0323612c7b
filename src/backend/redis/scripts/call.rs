//! One script call on the wire.

use super::sources::{Known, Script};
use crate::backend::redis::names::attempt;
use crate::backend::redis::resp::CommandWriter;
use crate::backend::redis::slot::{TAG_CHARS_MAX, padded_tag};
use crate::core::fleet::{Command, Given, Held, Place, Sent};
use crate::core::owner::OWNERLESS;
use crate::core::ticket::Ticket;

/// Where calls are written.
pub(super) struct Writer<'out> {
    pub(super) out: &'out mut Vec<u8>,
    pub(super) known: &'out mut Known,
}

impl Writer<'_> {
    /// Begins a call of `script` with so many KEYS and ARGV.
    pub(super) fn call(&mut self, script: &Script, keys: usize, args: usize) -> Call<'_> {
        let is_known = self.known.meet(script);
        let mut call = CommandWriter::begin(self.out, 3 + keys + args);
        if is_known {
            call.arg(b"EVALSHA").arg(script.sha1.as_bytes());
        } else {
            call.arg(b"EVAL").arg(script.source.as_bytes());
        }
        call.arg_u64(keys as u64);
        Call(call)
    }
}

/// One script call being written.
pub(super) struct Call<'out>(CommandWriter<'out>);

impl Call<'_> {
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.arg(text.as_bytes());
        self
    }

    pub(super) fn joined(&mut self, pieces: &[&str]) -> &mut Self {
        self.0.arg_joined(pieces);
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.arg_u64(number);
        self
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.text(if flag { "1" } else { "0" })
    }

    /// The tags of so many slots.
    pub(super) fn tags(&mut self, count: usize, mut slots: impl Iterator<Item = u16>) {
        // They lie far apart in memory. Looked up right after each other they are waited for at the same time.
        let mut next = [0; 32];
        self.0.arg_with(count * TAG_CHARS_MAX, |out| {
            loop {
                let known = next
                    .iter_mut()
                    .zip(&mut slots)
                    .map(|(next, slot)| *next = slot)
                    .count();
                if known == 0 {
                    break;
                }
                next[..known]
                    .iter()
                    .for_each(|slot| out.extend_from_slice(padded_tag(*slot)));
            }
        });
    }

    /// Whether a request waits, and where.
    pub(super) fn place(&mut self, place: Option<&Place>) -> &mut Self {
        match place {
            None => self.text("").text("0"),
            Some(place) => self
                .number(place.ticket)
                .number(u64::try_from(place.age.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    /// The attempt of a ticket.
    pub(super) fn attempt(&mut self, ticket: Ticket) -> &mut Self {
        self.joined(&attempt(ticket, &mut itoa::Buffer::new()))
    }

    /// The owner id of a job's lock.
    pub(super) fn job(&mut self, job: Ticket, token: u64) -> &mut Self {
        let (mut digits, mut token_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let [prefix, number] = attempt(job, &mut digits);
        self.joined(&[prefix, number, "#", token_digits.format(token)])
    }

    /// The attempt of each of these requests.
    pub(super) fn attempts(&mut self, commands: &[Sent]) {
        for sent in commands {
            if let Command::Acquire { ticket, .. } = &sent.command {
                self.attempt(*ticket);
            }
        }
    }

    /// Whose the locks are that each of these releases.
    pub(super) fn held(&mut self, commands: &[Sent]) -> &mut Self {
        for sent in commands {
            match &sent.command {
                Command::Release {
                    held: Held::ByJob { job, token },
                    ..
                } => self.job(*job, *token),
                Command::Release {
                    held: Held::ByOwner(owner_id),
                    ..
                } => self.text(owner_id.as_deref().unwrap_or(OWNERLESS)),
                Command::Release {
                    held: Held::ByGrants(given),
                    ..
                } => self.given(given),
                _ => self,
            };
        }
        self
    }

    /// The attempts that took these locks, with commas between them; one where it took all. What `lua/given.lua` reads.
    fn given(&mut self, given: &[Option<Given>]) -> &mut Self {
        if let Some((Some(first), rest)) = given.split_first()
            && rest.iter().all(|other| *other == Some(*first))
        {
            let mut digits = itoa::Buffer::new();
            let [prefix, number] = attempt(first.attempt, &mut digits);
            return self.joined(&[prefix, number, mark_of(*first)]);
        }
        let mut text = String::new();
        for (place, given) in given.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            if let Some(given) = given {
                attempt(given.attempt, &mut itoa::Buffer::new())
                    .iter()
                    .for_each(|piece| text.push_str(piece));
                text.push_str(mark_of(*given));
            }
        }
        self.text(&text)
    }
}

fn mark_of(given: Given) -> &'static str {
    if given.is_endless { "-" } else { "" }
}
