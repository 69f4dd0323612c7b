//! One process: a fleet's member, and its end of the link to the server.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use medusa_locking_native::core::backoff::Backoff;
use medusa_locking_native::core::fleet::{Answer, Command, Config, Fleet, Sent};
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::outcome::Failure;
use medusa_locking_native::core::table::Limits;

use super::claims::Check;
use super::plan::Plan;
use super::server::script_of;

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
    /// With the source of its script.
    pub with_source: bool,
}

/// A reply on its way; None: the server does not know the script.
#[derive(Debug)]
struct Reply {
    arrives: u64,
    answer: Option<Answer>,
}

/// A connection in use.
#[derive(Debug, Default)]
pub struct Talk {
    /// What was sent and has not been answered, in this order.
    flights: VecDeque<Sent>,
    pub to_server: VecDeque<Packet>,
    to_client: VecDeque<Reply>,
    /// The scripts whose source has been sent.
    scripts: BTreeSet<&'static str>,
    /// No reply gets through any more.
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
    /// The link's thread is stuck till then.
    pub jammed_until: u64,
    /// The last connection ended with something unanswered.
    pub left_some: bool,
    /// It takes no more calls.
    pub is_closed: bool,
}

impl Member {
    pub fn new(now: u64, plan: &Plan) -> Self {
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
                local_handoffs: plan.handoffs,
                limits,
            }),
            link: Link::Down { retry_at: now },
            there: plan.lag,
            back: plan.lag,
            stall: (0, 0),
            jammed_until: 0,
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

    pub fn stall_ends(&mut self, now: u64) {
        self.stall.1 = self.stall.1.min(now);
    }

    /// Until when the callers' thread is stuck; a moment of the past: it is not.
    pub fn stalled_until(&self) -> u64 {
        self.stall.1
    }

    /// For how long the callers' thread has been stuck, in ms.
    pub fn stalled(&self, now: u64) -> u64 {
        if now < self.stall.1 { now - self.stall.0 } else { 0 }
    }

    /// Sends what is to be sent. Property 6: nothing is renewed for callers whose thread is stuck for too long.
    pub fn flush(&mut self, now: u64) -> Check {
        let is_stuck = self.stalled(now) >= MAX_STALL && now > self.jammed_until;
        let Link::Up(talk) = &mut self.link else {
            return Ok(());
        };
        if now < self.jammed_until || !self.fleet.has_outbox() {
            return Ok(());
        }
        let mut out = Vec::new();
        self.fleet.take_outbox(Moment::from_ms(now), &mut out);
        for sent in out {
            if is_stuck && matches!(sent.command, Command::Renew { .. }) {
                return Err("property 6: leases are renewed though nobody may be there to use them".to_owned());
            }
            talk.send(now + self.there, sent);
        }
        Ok(())
    }

    /// The server's reply to what it has just read.
    pub fn reply(&mut self, now: u64, answer: Option<Answer>) {
        let Link::Up(talk) = &mut self.link else { return };
        if !talk.is_mute {
            let earliest = talk.to_client.back().map_or(0, |last| last.arrives);
            let arrives = earliest.max(now + self.back);
            talk.to_client.push_back(Reply { arrives, answer });
        }
    }

    pub fn mute(&mut self) {
        if let Link::Up(talk) = &mut self.link {
            talk.is_mute = true;
            talk.to_client.clear();
        }
    }

    /// The next reply that has arrived by `by`. A command whose script the server does not know is sent again.
    pub fn next_answer(&mut self, now: u64, by: u64) -> Option<(Sent, Answer)> {
        let Link::Up(talk) = &mut self.link else {
            return None;
        };
        talk.to_client.front().filter(|reply| reply.arrives <= by)?;
        let (reply, sent) = (talk.to_client.pop_front()?, talk.flights.pop_front()?);
        if let Some(answer) = reply.answer {
            return Some((sent, answer));
        }
        let at = Moment::from_ms(now);
        talk.scripts.clear();
        talk.send(now + self.there, Sent { at, ..sent });
        None
    }

    pub fn has_replies(&self) -> bool {
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

    /// The connection stands.
    pub fn join(&mut self, now: u64, fenced: bool) {
        self.left_some = false;
        self.link = Link::Up(Talk::default());
        self.fleet.link_up(Moment::from_ms(now), fenced);
    }

    /// Whether the link is as good as can be asked for, with nothing slow still on its way.
    pub fn is_fair(&self, now: u64, rtt_max: u64) -> bool {
        let Link::Up(talk) = &self.link else { return false };
        let slow = |arrives: u64| arrives > now + rtt_max;
        !talk.is_mute
            && self.there + self.back <= rtt_max
            && now >= self.jammed_until
            && self.stalled(now) < MAX_STALL
            && !talk.to_server.back().is_some_and(|packet| slow(packet.arrives))
            && !talk.to_client.back().is_some_and(|reply| slow(reply.arrives))
    }

    /// When what waits to be sent can be.
    pub fn sends_at(&self) -> Option<u64> {
        let can_send = matches!(self.link, Link::Up(_)) && self.fleet.has_outbox();
        can_send.then_some(self.jammed_until)
    }

    /// When the next reply can be heard.
    pub fn hears_at(&self) -> Option<u64> {
        let Link::Up(talk) = &self.link else { return None };
        talk.to_client
            .front()
            .map(|reply| reply.arrives.max(self.jammed_until))
    }

    /// When the oldest answer is overdue, which ends the connection.
    pub fn overdue_at(&self) -> Option<u64> {
        let Link::Up(talk) = &self.link else { return None };
        let oldest = talk.flights.front()?;
        Some((oldest.at.as_ms() + COMMAND_TIMEOUT).max(self.jammed_until))
    }

    /// When a link that is down is to be tried, or made.
    pub fn links_at(&self) -> Option<u64> {
        match self.link {
            Link::Down { retry_at } => Some(retry_at),
            Link::Joining { at, .. } => Some(at),
            Link::Up(_) => None,
        }
    }
}

impl Talk {
    /// Every connection begins without knowing which scripts its server has.
    fn send(&mut self, arrives: u64, sent: Sent) {
        let earliest = self.to_server.back().map_or(0, |last| last.arrives);
        let with_source = script_of(&sent.command).is_some_and(|script| self.scripts.insert(script));
        self.to_server.push_back(Packet {
            arrives: earliest.max(arrives),
            command: sent.command.clone(),
            with_source,
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
