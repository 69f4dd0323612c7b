//! One process: a fleet's member, and its end of the link to the server.

use std::collections::VecDeque;
use std::time::Duration;

use medusa_locking_native::core::backoff::Backoff;
use medusa_locking_native::core::fleet::{Answer, Command, Config, Fleet, Push, Sent};
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::outcome::Failure;
use medusa_locking_native::core::table::Limits;

use super::claims::Check;
use super::plan::Plan;

/// How long a member waits for the server, in ms.
pub const COMMAND_TIMEOUT: u64 = 1_000;

/// How long the callers' thread may be stuck, in ms.
pub const MAX_STALL: u64 = 2_000;

/// The longest pause between two polls, in ms.
pub const LONGEST_PAUSE: u64 = 500;

/// Between two tries to connect, in ms.
const RECONNECT: u64 = 50;

/// A command on its way.
#[derive(Debug)]
pub struct Packet {
    pub arrives: u64,
    pub command: Command,
}

/// What the server says, on its way.
#[derive(Debug)]
struct Word {
    arrives: u64,
    said: Said,
}

#[derive(Debug)]
pub enum Said {
    /// To the oldest command that has no answer yet.
    Answer(Answer),
    /// Of its own accord.
    Call(Push),
}

/// A connection in use.
#[derive(Debug, Default)]
pub struct Talk {
    /// What was sent and has not been answered, in this order.
    pub flights: VecDeque<Sent>,
    pub to_server: VecDeque<Packet>,
    to_client: VecDeque<Word>,
    /// Nothing that the server says gets through any more.
    is_mute: bool,
}

#[derive(Debug)]
pub enum Link {
    Down {
        retry_at: u64,
    },
    /// The server has let us in; we hear of it then.
    Joining {
        at: u64,
        fenced: bool,
    },
    Up(Talk),
}

#[derive(Debug)]
pub struct Member {
    pub fleet: Fleet,
    pub link: Link,
    /// How long everything takes to the server and from there.
    pub there: u64,
    pub back: u64,
    /// The callers' thread is stuck from then till then.
    stall: (u64, u64),
    /// The whole process is frozen till then.
    pub frozen_until: u64,
    /// The process is no more.
    pub is_dead: bool,
    /// The server can call it, and till when that gets lost.
    pub has_inbox: bool,
    pub deaf_until: u64,
    last_call: Option<Push>,
    /// The last connection ended with something unanswered.
    pub left_some: bool,
    /// It takes no more calls.
    pub is_closed: bool,
}

impl Member {
    pub fn new(now: u64, seat: usize, plan: &Plan) -> Self {
        let limits = if plan.tight {
            Limits {
                waiters_per_key_max: 2,
                waiters_max: 3,
            }
        } else {
            Limits::default()
        };
        let ms = Duration::from_millis;
        Member {
            fleet: Fleet::new(Config {
                endpoint: "simulation".to_owned(),
                backoff: Backoff {
                    first: ms(10),
                    longest: ms(LONGEST_PAUSE),
                    factor: 2.0,
                },
                command_timeout: ms(COMMAND_TIMEOUT),
                max_stall: ms(MAX_STALL),
                acquire_renew: if plan.seats.is_multiple_of(2) {
                    ms(2_000)
                } else {
                    Duration::ZERO
                },
                local_handoffs: plan.handoffs,
                ownerless_open: plan.open,
                limits,
            }),
            link: Link::Down { retry_at: now },
            there: plan.lag,
            back: plan.lag,
            stall: (0, 0),
            frozen_until: 0,
            is_dead: false,
            has_inbox: plan.has_inbox(seat),
            deaf_until: 0,
            last_call: None,
            left_some: false,
            is_closed: false,
        }
    }

    pub fn stall(&mut self, now: u64, ms: u64) {
        if now >= self.stall.1 {
            self.stall.0 = now;
        }
        self.stall.1 = self.stall.1.max(now + ms);
    }

    /// The process freezes: nothing of it moves.
    pub fn freeze(&mut self, now: u64, ms: u64) {
        self.stall(now, ms);
        self.frozen_until = self.frozen_until.max(now + ms);
    }

    pub fn stall_ends(&mut self, now: u64) {
        self.stall.1 = self.stall.1.min(now);
    }

    /// Until when the callers' thread is stuck; a moment of the past: it is not.
    pub fn stalled_until(&self) -> u64 {
        self.stall.1
    }

    /// Whether callers can call it now.
    pub fn takes_calls(&self, now: u64) -> bool {
        !self.is_closed && now >= self.stall.1
    }

    /// For how long the callers' thread has been stuck, in ms.
    pub fn stalled(&self, now: u64) -> u64 {
        if now < self.stall.1 { now - self.stall.0 } else { 0 }
    }

    /// Sends what is to be sent. Property 6: nothing is renewed for callers whose thread is stuck for too long.
    pub fn flush(&mut self, now: u64) -> Check {
        let is_stuck = self.stalled(now) >= MAX_STALL && now > self.frozen_until;
        let Link::Up(talk) = &mut self.link else {
            return Ok(());
        };
        if now < self.frozen_until || !self.fleet.has_outbox() {
            return Ok(());
        }
        let mut out = Vec::new();
        self.fleet.take_outbox(Moment::from_ms(now), &mut out);
        for sent in out {
            if is_stuck && matches!(sent.command, Command::Renew { .. }) {
                return Err(
                    "property 6: leases are renewed though nobody may be there to use them".to_owned(),
                );
            }
            talk.send(now + self.there, sent);
        }
        Ok(())
    }

    /// The server says something.
    pub fn says(&mut self, now: u64, said: Said) {
        let Link::Up(talk) = &mut self.link else { return };
        let is_lost = match &said {
            Said::Answer(_) => false,
            Said::Call(push) => {
                self.last_call = Some(*push);
                now < self.deaf_until
            }
        };
        if !talk.is_mute && !is_lost {
            let earliest = talk.to_client.back().map_or(0, |last| last.arrives);
            let arrives = earliest.max(now + self.back);
            talk.to_client.push_back(Word { arrives, said });
        }
    }

    /// The last call comes once more, late.
    pub fn echo(&mut self, now: u64) {
        if let Some(push) = self.last_call {
            self.says(now, Said::Call(push));
        }
    }

    pub fn mute(&mut self) {
        if let Link::Up(talk) = &mut self.link {
            talk.is_mute = true;
            talk.to_client.clear();
        }
    }

    /// What has arrived next by `by`; an answer with what it is to.
    pub fn next_word(&mut self, by: u64) -> Option<(Option<Sent>, Said)> {
        let Link::Up(talk) = &mut self.link else {
            return None;
        };
        talk.to_client.front().filter(|word| word.arrives <= by)?;
        let said = talk.to_client.pop_front()?.said;
        let is_answer = matches!(said, Said::Answer(_));
        let sent = if is_answer { talk.flights.pop_front() } else { None };
        Some((sent, said))
    }

    pub fn has_words(&self) -> bool {
        matches!(&self.link, Link::Up(talk) if !talk.to_client.is_empty())
    }

    /// The connection ends. What is still on its way to the server is left behind.
    pub fn break_off(&mut self, now: u64, down_for: u64) -> VecDeque<Packet> {
        let retry_at = now + down_for;
        match std::mem::replace(&mut self.link, Link::Down { retry_at }) {
            Link::Up(talk) => {
                self.left_some |= !talk.flights.is_empty();
                self.fleet.link_down(talk.flights, unreachable());
                talk.to_server
            }
            Link::Down { .. } | Link::Joining { .. } => {
                self.fleet.link_down([], unreachable());
                VecDeque::new()
            }
        }
    }

    /// Nobody is there to connect to.
    pub fn find_nobody(&mut self, now: u64) {
        self.break_off(now, RECONNECT);
    }

    /// The connection stands. What gives back is said before what asks.
    pub fn join(&mut self, now: u64, fenced: bool) -> Check {
        self.left_some = false;
        self.link = Link::Up(Talk::default());
        self.fleet.link_up(Moment::from_ms(now), fenced, self.has_inbox);
        self.flush(now)?;
        let Link::Up(talk) = &self.link else { return Ok(()) };
        let gives = |sent: &Sent| matches!(sent.command, Command::Cancel { .. } | Command::Release { .. });
        let asks = |sent: &Sent| matches!(sent.command, Command::Acquire { .. });
        let mut said = talk.flights.iter().skip_while(|sent| !asks(sent));
        match said.find(|sent| gives(sent)) {
            Some(late) => Err(format!("property 2: {:?} is said after what asks", late.command)),
            None => Ok(()),
        }
    }

    /// Whether the link is as good as can be asked for, with nothing slow still on its way.
    pub fn is_fair(&self, now: u64, rtt_max: u64) -> bool {
        let Link::Up(talk) = &self.link else { return false };
        let slow = |arrives: u64| arrives > now + rtt_max;
        !talk.is_mute
            && now >= self.deaf_until
            && self.there + self.back <= rtt_max
            && now >= self.frozen_until
            && self.stalled(now) < MAX_STALL
            && !talk.to_server.back().is_some_and(|packet| slow(packet.arrives))
            && !talk.to_client.back().is_some_and(|reply| slow(reply.arrives))
    }

    /// When what waits to be sent can be.
    pub fn sends_at(&self) -> Option<u64> {
        let can_send = matches!(self.link, Link::Up(_)) && self.fleet.has_outbox();
        can_send.then_some(self.frozen_until)
    }

    /// When what the server said next can be heard.
    pub fn hears_at(&self) -> Option<u64> {
        let Link::Up(talk) = &self.link else { return None };
        talk.to_client
            .front()
            .map(|reply| reply.arrives.max(self.frozen_until))
    }

    /// When the oldest answer is overdue, which ends the connection.
    pub fn overdue_at(&self) -> Option<u64> {
        let Link::Up(talk) = &self.link else { return None };
        let oldest = talk.flights.front()?;
        Some((oldest.at.as_ms() + COMMAND_TIMEOUT).max(self.frozen_until))
    }

    /// When a link that is down is to be tried, or made.
    pub fn links_at(&self) -> Option<u64> {
        match self.link {
            Link::Down { .. } if self.is_dead => None,
            Link::Down { retry_at: at } | Link::Joining { at, .. } => Some(at.max(self.frozen_until)),
            Link::Up(_) => None,
        }
    }
}

impl Talk {
    fn send(&mut self, arrives: u64, sent: Sent) {
        let earliest = self.to_server.back().map_or(0, |last| last.arrives);
        self.to_server.push_back(Packet {
            arrives: earliest.max(arrives),
            command: sent.command.clone(),
        });
        self.flights.push_back(sent);
    }
}

fn unreachable() -> Failure {
    Failure {
        code: "REDIS_UNREACHABLE",
        message: "the link is down".to_owned(),
        key: None,
    }
}
