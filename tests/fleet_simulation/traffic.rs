//! What goes to and fro between the members and the server, and what becomes of it.

use medusa_locking_native::core::fleet::{Answer, Command, Sent};
use medusa_locking_native::core::moment::Moment;

use super::claims::Check;
use super::member::{COMMAND_TIMEOUT, Link, Said};
use super::server::Trouble;
use super::world::{Leftover, World};

impl World {
    pub fn server_reads(&mut self, index: usize) {
        let Link::Up(talk) = &mut self.members[index].link else {
            return;
        };
        if let Some(packet) = talk.to_server.pop_front() {
            let answer = self.serve(index, &packet.command);
            self.members[index].says(self.now, Said::Answer(answer));
        }
    }

    pub fn server_reads_leftover(&mut self, index: usize) {
        let Leftover { member, packets } = &mut self.leftovers[index];
        let member = *member;
        if let Some(packet) = packets.pop_front() {
            self.ledger.see("a command of an ended connection was run");
            self.serve(member, &packet.command);
        }
        self.leftovers.retain(|leftover| !leftover.packets.is_empty());
    }

    fn serve(&mut self, member: usize, command: &Command) -> Answer {
        let has_inbox = self.members[member].has_inbox;
        let answer = self.server.hear(member, command, has_inbox);
        self.ledger.see(name_of(command, &answer));
        self.note(|| format!("member {member}: server runs {command:?}: {answer:?}"));
        for (called, push) in self.server.take_calls() {
            self.ledger.see("a member was called");
            self.note(|| format!("member {called} is called: {push:?}"));
            self.members[called].says(self.now, Said::Call(push));
        }
        answer
    }

    /// A member hears what has arrived by `by`.
    pub fn hear(&mut self, index: usize, by: u64) -> Check {
        let now = Moment::from_ms(self.now);
        match self.members[index].next_word(by) {
            Some((_, Said::Call(push))) => {
                self.note(|| format!("member {index} hears {push:?}"));
                self.members[index].fleet.pushed(now, push);
                self.tell_news(index, None)
            }
            Some((Some(sent), Said::Answer(answer))) => self.hear_answer(index, &sent, &answer),
            _ => Ok(()),
        }
    }

    fn hear_answer(&mut self, index: usize, sent: &Sent, answer: &Answer) -> Check {
        self.note(|| {
            format!(
                "member {index} hears {answer:?} to {:?} of {}",
                sent.command,
                sent.at.as_ms()
            )
        });
        let wants_another_server =
            matches!(answer, Answer::Error(_)) && self.server.trouble == Some(Trouble::ReadOnly);
        self.ledger.hears(self.now, index, sent, answer)?;
        let now = Moment::from_ms(self.now);
        self.members[index]
            .fleet
            .answered(now, sent.clone(), answer.clone());
        self.tell_news(index, Some(sent))?;
        self.ledger.renewed(index, sent, answer)?;
        if wants_another_server && matches!(self.members[index].link, Link::Up(_)) {
            self.cut(index, 1, 0);
        }
        Ok(())
    }

    pub fn tell_news(&mut self, index: usize, cause: Option<&Sent>) -> Check {
        let news: Vec<_> = self.members[index].fleet.take_news().collect();
        for completion in news {
            self.note(|| format!("member {index} tells {completion:?}"));
            self.note_what_was_done()?;
            self.ledger
                .tell(self.now, index, &completion, cause, &self.server)?;
        }
        Ok(())
    }

    /// The link tries to connect, or has connected.
    pub fn link(&mut self, index: usize) -> Check {
        let fences = self.plan.fences;
        let lets_in = self.is_serving() && self.server.trouble != Some(Trouble::Loading);
        let member = &mut self.members[index];
        match member.link {
            Link::Down { .. } if !lets_in => member.find_nobody(self.now),
            Link::Down { .. } => {
                let left_some = self.leftovers.iter().any(|leftover| leftover.member == index);
                let fenced = fences || !(member.left_some || left_some);
                let at = self.now + member.there + member.back;
                member.link = Link::Joining { at, fenced };
                if member.has_inbox {
                    self.server.listens(index, u64::MAX);
                }
                if fenced {
                    if left_some {
                        self.ledger.see("a command of an ended connection was fenced off");
                    }
                    self.leftovers.retain(|leftover| leftover.member != index);
                }
            }
            Link::Joining { fenced, .. } => {
                self.note(|| format!("member {index}: link is up, fenced: {fenced}"));
                // What may still run does so within the time for a command: later than that, nothing is on its way.
                let latest = self.now + COMMAND_TIMEOUT - 1;
                for leftover in self
                    .leftovers
                    .iter_mut()
                    .filter(|leftover| leftover.member == index)
                {
                    let packets = leftover.packets.iter_mut();
                    packets.for_each(|packet| packet.arrives = packet.arrives.min(latest));
                }
                self.members[index].join(self.now, fenced)?;
            }
            Link::Up(_) => {}
        }
        Ok(())
    }

    /// The connection ends, and what is on its way to the server goes on. The server hears of it after `unnoticed` ms.
    pub fn cut(&mut self, index: usize, down_for: u64, unnoticed: u64) {
        self.note(|| format!("member {index}: link is cut"));
        let packets = self.members[index].break_off(self.now, down_for);
        self.server.listens(index, self.now + unnoticed);
        if !packets.is_empty() {
            self.leftovers.push(Leftover {
                member: index,
                packets,
            });
        }
    }
}

fn name_of(command: &Command, answer: &Answer) -> &'static str {
    match (command, answer) {
        (_, Answer::Error(error)) if error.passing => "a command was refused for now",
        (_, Answer::Error(_)) => "a command was refused",
        (Command::Acquire { must_hold: true, .. }, Answer::Granted(_)) => "a lock was extended",
        (_, Answer::Waiting(waiting)) if waiting.silent => "an old node was waited for",
        (_, Answer::Waiting(_)) => "a request waits on the server",
        (Command::Renew { .. }, _) => "leases were renewed",
        (Command::Cancel { .. }, _) => "an attempt was cancelled",
        _ => "a command was run",
    }
}
