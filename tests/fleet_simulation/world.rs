//! The simulation: a clock that jumps from event to event, the members, the server, and everything between them.

use std::collections::VecDeque;
use std::time::Duration;

use medusa_locking_native::core::fleet::{Answer, Command, Sent};
use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::ticket::Ticket;

use super::claims::{Check, Stand};
use super::ledger::{FAIR_RTT, Ledger};
use super::member::{Link, Member, Packet};
use super::plan::{Deed, Plan};
use super::server::{Server, Trouble};

/// When a plan has come to its end, everything else must within this time, in ms.
const END_MAX: u64 = 60_000;

/// So many events at one moment mean that somebody runs in circles.
const EVENTS_PER_MS_MAX: u32 = 2_000;

/// What a connection left behind that has ended.
#[derive(Debug)]
pub struct Leftover {
    pub member: usize,
    pub packets: VecDeque<Packet>,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Step,
    /// The server changes by itself: it is back, or goes on, or its trouble is over.
    ServerChanges,
    ServerReads(usize),
    ServerReadsLeftover(usize),
    Sends(usize),
    Hears(usize),
    Links(usize),
    Overdue(usize),
    /// A job ends.
    JobEnds(usize),
    Ticks(usize),
    Cleans,
}

pub struct World {
    pub now: u64,
    pub plan: Plan,
    pub members: Vec<Member>,
    /// Who has each seat.
    pub seats: Vec<usize>,
    pub server: Server,
    pub leftovers: Vec<Leftover>,
    pub ledger: Ledger,
    pub down_until: Option<u64>,
    pub frozen_until: Option<u64>,
    pub trouble_until: Option<u64>,
    pub clutter: Vec<(&'static str, u64)>,
    /// How many steps of the plan have been taken, and when the next one is.
    step: usize,
    next_step_at: u64,
    /// The plan is over since then; all that happens from now on is that everything ends.
    pub ending_since: Option<u64>,
    pub clean_at: u64,
    last_ticket: u64,
    /// What happened, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(plan: &Plan, traced: bool) -> Self {
        World {
            now: 0,
            members: (0..plan.seats).map(|_| Member::new(0, plan)).collect(),
            seats: (0..plan.seats).collect(),
            server: Server::new(plan.gains),
            leftovers: Vec::new(),
            ledger: Ledger::new(plan),
            down_until: None,
            frozen_until: None,
            trouble_until: None,
            clutter: Vec::new(),
            step: 0,
            next_step_at: plan.steps.first().map_or(0, |step| step.pause),
            ending_since: None,
            clean_at: u64::MAX,
            last_ticket: 0,
            trace: traced.then(Vec::new),
            plan: plan.clone(),
        }
    }

    pub fn run(&mut self) -> Check {
        let mut in_this_ms = 0;
        while let Some((at, event)) = self.next_event() {
            if at > self.now {
                in_this_ms = 0;
                self.pass_time(at)?;
            }
            in_this_ms += 1;
            if in_this_ms > EVENTS_PER_MS_MAX {
                return Err(format!("property 4: {event:?} happens again and again"));
            }
            if let Some(since) = self.ending_since {
                if self.is_at_rest() {
                    return Ok(());
                }
                if self.now > since + END_MAX {
                    return Err(format!("property 4: it does not end: {}", self.what_remains()));
                }
            }
            self.happen(event)?;
            self.follow_up()?;
        }
        Ok(())
    }

    fn pass_time(&mut self, at: u64) -> Check {
        self.look_at_the_weather(at);
        self.now = at;
        self.server.advance(at);
        self.ledger.check(at, &self.server)
    }

    fn look_at_the_weather(&mut self, until: u64) {
        for member in 0..self.members.len() {
            if !self.is_fair(member) {
                self.ledger.fair_since[member] = until;
            }
        }
    }

    fn is_fair(&self, member: usize) -> bool {
        let calm = self.is_serving() && self.server.trouble.is_none();
        let none_left = self.leftovers.iter().all(|leftover| leftover.member != member);
        calm && none_left && self.members[member].is_fair(self.now, FAIR_RTT)
    }

    /// Whether the server reads what it is sent.
    pub fn is_serving(&self) -> bool {
        self.down_until.is_none() && self.frozen_until.is_none()
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let mut next: Option<(u64, Event)> = None;
        let mut may_be = |at: Option<u64>, event: Event| {
            if let Some(at) = at.map(|at| at.max(self.now))
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, event));
            }
        };
        let is_planned = self.ending_since.is_none();
        may_be(is_planned.then_some(self.next_step_at), Event::Step);
        may_be(self.server_changes_at(), Event::ServerChanges);
        if self.is_serving() {
            for (index, leftover) in self.leftovers.iter().enumerate() {
                may_be(
                    leftover.packets.front().map(|packet| packet.arrives),
                    Event::ServerReadsLeftover(index),
                );
            }
            for (index, member) in self.members.iter().enumerate() {
                if let Link::Up(talk) = &member.link {
                    may_be(
                        talk.to_server.front().map(|packet| packet.arrives),
                        Event::ServerReads(index),
                    );
                }
            }
        }
        for (index, member) in self.members.iter().enumerate() {
            may_be(member.sends_at(), Event::Sends(index));
            may_be(member.hears_at(), Event::Hears(index));
            may_be(member.links_at(), Event::Links(index));
            may_be(member.overdue_at(), Event::Overdue(index));
        }
        for (index, claim) in self.ledger.claims.iter().enumerate() {
            if matches!(claim.stand, Stand::Runs | Stand::Lost) {
                let stalled_until = self.members[claim.id.member].stalled_until();
                may_be(
                    claim.ends_at.map(|at| at.max(stalled_until)),
                    Event::JobEnds(index),
                );
            }
        }
        for (index, member) in self.members.iter().enumerate() {
            let deadline = member.fleet.next_deadline();
            may_be(
                (deadline != Moment::NEVER).then_some(deadline.as_ms()),
                Event::Ticks(index),
            );
        }
        may_be((!is_planned).then_some(self.clean_at), Event::Cleans);
        next
    }

    fn happen(&mut self, event: Event) -> Check {
        match event {
            Event::Step => self.take_step(),
            Event::ServerChanges => self.change_server(),
            Event::ServerReads(index) => self.server_reads(index),
            Event::ServerReadsLeftover(index) => self.server_reads_leftover(index),
            Event::Sends(index) => self.members[index].flush(self.now),
            Event::Hears(index) => self.hear(index, self.now),
            Event::Links(index) => self.link(index),
            Event::Overdue(index) => self.cut(index, 1),
            Event::JobEnds(index) => self.finish(index),
            Event::Ticks(index) => {
                let stalled = Duration::from_millis(self.members[index].stalled(self.now));
                self.members[index].fleet.tick(Moment::from_ms(self.now), stalled);
                Ok(())
            }
            Event::Cleans => self.clean(),
        }
    }

    /// After an event: what is to be sent is sent, what is news is told, and everything is looked at.
    fn follow_up(&mut self) -> Check {
        self.look_at_the_weather(self.now);
        for index in 0..self.members.len() {
            self.tell_news(index, None)?;
            self.members[index].flush(self.now)?;
        }
        self.note_what_was_done();
        self.ledger.check(self.now, &self.server)?;
        self.check_counts()
    }

    fn take_step(&mut self) -> Check {
        let step = self.plan.steps.get(self.step).map(|step| step.deed.clone());
        self.step += 1;
        match self.plan.steps.get(self.step) {
            Some(next) => self.next_step_at = self.now + next.pause,
            None => self.begin_the_end()?,
        }
        let Some(deed) = step else { return Ok(()) };
        self.note(|| format!("{deed:?}"));
        match deed {
            Deed::Nothing => Ok(()),
            deed @ (Deed::Lag { .. }
            | Deed::Stall { .. }
            | Deed::Jam { .. }
            | Deed::Mute(_)
            | Deed::Cut { .. }
            | Deed::Kill { .. }
            | Deed::Freeze(_)
            | Deed::Flush
            | Deed::Trouble { .. }
            | Deed::Clutter { .. }) => self.change_weather(&deed),
            call => self.make_call(call),
        }
    }

    fn server_reads(&mut self, index: usize) -> Check {
        let Link::Up(talk) = &mut self.members[index].link else {
            return Ok(());
        };
        let Some(packet) = talk.to_server.pop_front() else {
            return Ok(());
        };
        let answer = self.server.hear(index, &packet.command, packet.with_source);
        self.ledger.see(name_of(&packet.command, answer.as_ref()));
        self.note(|| format!("member {index}: server runs {:?}: {answer:?}", packet.command));
        self.members[index].reply(self.now, answer);
        Ok(())
    }

    fn server_reads_leftover(&mut self, index: usize) -> Check {
        let Leftover { member, packets } = &mut self.leftovers[index];
        let member = *member;
        if let Some(packet) = packets.pop_front() {
            self.ledger.see("a command of an ended connection was run");
            let answer = self.server.hear(member, &packet.command, packet.with_source);
            self.note(|| {
                format!(
                    "member {member}: server runs leftover {:?}: {answer:?}",
                    packet.command
                )
            });
        }
        self.leftovers.retain(|leftover| !leftover.packets.is_empty());
        Ok(())
    }

    /// A member hears what has arrived by `by`.
    pub fn hear(&mut self, index: usize, by: u64) -> Check {
        let Some((sent, answer)) = self.members[index].next_answer(self.now, by) else {
            return Ok(());
        };
        self.note(|| {
            format!(
                "member {index} hears {answer:?} to {:?} of {}",
                sent.command,
                sent.at.as_ms()
            )
        });
        let wants_another_server =
            matches!(&answer, Answer::Error(_)) && self.server.trouble == Some(Trouble::ReadOnly);
        let now = Moment::from_ms(self.now);
        self.members[index]
            .fleet
            .answered(now, sent.clone(), answer.clone());
        self.tell_news(index, Some(&sent))?;
        self.ledger.renewed(index, &sent, &answer)?;
        if wants_another_server && matches!(self.members[index].link, Link::Up(_)) {
            self.cut(index, 1)?;
        }
        Ok(())
    }

    fn tell_news(&mut self, index: usize, cause: Option<&Sent>) -> Check {
        let news: Vec<_> = self.members[index].fleet.take_news().collect();
        for completion in news {
            self.note(|| format!("member {index} tells {completion:?}"));
            self.note_what_was_done();
            self.ledger
                .tell(self.now, index, &completion, cause, &self.server)?;
        }
        Ok(())
    }

    pub fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket::new(self.last_ticket)
    }

    /// Makes room for a successor of whoever has this seat.
    pub fn succeed(&mut self, seat: usize) {
        let seats = self.seats.len();
        self.seats[seat % seats] = self.members.len();
        let member = Member::new(self.now, &self.plan);
        self.members.push(member);
        self.ledger.fair_since.push(self.now);
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} ms: {}", self.now, line()));
        }
    }

    fn note_what_was_done(&mut self) {
        let in_order = self.plan.fences && !self.server.has_forgotten;
        self.ledger.note(self.server.take_notes(), in_order);
    }

    /// The fleet counts as we do.
    fn check_counts(&self) -> Check {
        for (index, member) in self.members.iter().enumerate() {
            let claims = self.ledger.claims.iter().filter(|claim| claim.id.member == index);
            let (mut waiting, mut held) = (0, 0);
            for claim in claims {
                waiting += usize::from(claim.stand == Stand::Asks);
                held += usize::from(matches!(claim.stand, Stand::Runs | Stand::Lost));
            }
            let counts = (member.fleet.waiting(), member.fleet.held());
            if counts != (waiting, held) {
                return Err(format!(
                    "member {index} counts {counts:?}, and not {:?}",
                    (waiting, held)
                ));
            }
        }
        Ok(())
    }

    /// Property 4: everybody has had an answer, and has given back what it got.
    fn is_at_rest(&self) -> bool {
        let is_over = |stand: Stand| matches!(stand, Stand::No | Stand::Gone | Stand::Over);
        self.ledger.claims.iter().all(|claim| is_over(claim.stand))
            && self.ledger.errands.values().all(|errand| !errand.is_pending())
            && self
                .members
                .iter()
                .all(|member| member.fleet.is_settled() && member.fleet.next_deadline() == Moment::NEVER)
            && self.server.is_clean()
            && self.leftovers.is_empty()
    }

    fn what_remains(&self) -> String {
        let claims = self.ledger.claims.iter();
        let claims = claims.filter(|claim| matches!(claim.stand, Stand::Asks | Stand::Finishing));
        let locks: Vec<_> = self.server.locks().collect();
        let unsettled = self
            .members
            .iter()
            .map(|member| &member.fleet)
            .filter(|fleet| !fleet.is_settled());
        format!(
            "{locks:?}\n{:?}\n{:?}",
            claims.collect::<Vec<_>>(),
            unsettled.collect::<Vec<_>>()
        )
    }
}

fn name_of(command: &Command, answer: Option<&Answer>) -> &'static str {
    match (command, answer) {
        (_, None) => "a script was not known",
        (_, Some(Answer::Error(error))) if error.passing => "a command was refused for now",
        (_, Some(Answer::Error(_))) => "a command was refused",
        (Command::Acquire { extend_only: true, .. }, Some(Answer::Granted(_))) => "a lock was extended",
        (Command::Renew { .. }, _) => "leases were renewed",
        (Command::Cancel { .. }, _) => "an attempt was cancelled",
        _ => "a command was run",
    }
}
