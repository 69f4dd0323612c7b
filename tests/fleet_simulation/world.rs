//! The simulation: a clock that jumps from event to event, the members, the server, and everything between them.

use std::collections::VecDeque;
use std::time::Duration;

use medusa_locking_native::core::moment::Moment;
use medusa_locking_native::core::ticket::Ticket;

use super::claims::{Check, Stand};
use super::ledger::{FAIR_RTT, Ledger};
use super::member::{Link, Member, Packet};
use super::old_nodes::Old;
use super::plan::Plan;
use super::queues::KEEP_MS;
use super::server::{Note, Server};

/// When a plan has come to its end, everybody must be served within this time, in ms.
const SERVED_WITHIN: u64 = 30_000;

/// And nothing may be left on the server after this time, in ms.
const END_MAX: u64 = SERVED_WITHIN + KEEP_MS + 5_000;

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
    PollerActs(usize),
    Ticks(usize),
    OldActs(usize),
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
    pub olds: Vec<Old>,
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
            members: (0..plan.seats).map(|seat| Member::new(0, seat, plan)).collect(),
            seats: (0..plan.seats).collect(),
            server: Server::new(plan),
            leftovers: Vec::new(),
            olds: Vec::new(),
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
                if self.now > since + SERVED_WITHIN && !self.are_answered() {
                    return Err(format!("property 4: it is not served: {}", self.what_remains()));
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
        self.ledger.see_entitled(self.now, &self.server);
    }

    fn is_fair(&self, member: usize) -> bool {
        let calm = self.is_serving() && self.server.trouble.is_none();
        let none_left = self.leftovers.iter().all(|leftover| leftover.member != member);
        calm && none_left && !self.members[member].is_dead && self.members[member].is_fair(self.now, FAIR_RTT)
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
        for (index, old) in self.olds.iter().enumerate() {
            may_be(Some(old.at), Event::OldActs(index));
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
        for (index, poller) in self.ledger.pollers.iter().enumerate() {
            may_be(self.poller_acts_at(poller), Event::PollerActs(index));
        }
        for (index, member) in self.members.iter().enumerate() {
            let deadline = member.fleet.next_deadline();
            let is_due = deadline != Moment::NEVER && !member.is_dead;
            may_be(
                is_due.then_some(deadline.as_ms().max(member.frozen_until)),
                Event::Ticks(index),
            );
        }
        may_be((!is_planned).then_some(self.clean_at), Event::Cleans);
        next
    }

    fn happen(&mut self, event: Event) -> Check {
        match event {
            Event::Step => return self.take_step(),
            Event::Sends(index) => return self.members[index].flush(self.now),
            Event::Hears(index) => return self.hear(index, self.now),
            Event::Links(index) => return self.link(index),
            Event::ServerChanges => self.change_server(),
            Event::ServerReads(index) => self.server_reads(index),
            Event::ServerReadsLeftover(index) => self.server_reads_leftover(index),
            Event::OldActs(index) => self.old_acts(index),
            Event::Overdue(index) => self.cut(index, 1, 0),
            Event::JobEnds(index) => self.finish(index),
            Event::PollerActs(index) => self.poller_acts(index),
            Event::Ticks(index) => {
                let stalled = Duration::from_millis(self.members[index].stalled(self.now));
                self.members[index].fleet.tick(Moment::from_ms(self.now), stalled);
            }
            Event::Cleans => self.clean(),
        }
        Ok(())
    }

    /// After an event: what is to be sent is sent, what is news is told, and everything is looked at.
    fn follow_up(&mut self) -> Check {
        self.look_at_the_weather(self.now);
        for index in 0..self.members.len() {
            self.tell_news(index, None)?;
            self.members[index].flush(self.now)?;
            if let Link::Up(talk) = &self.members[index].link {
                self.ledger.check_asking(index, &talk.flights)?;
            }
        }
        self.note_what_was_done()?;
        self.ledger.check(self.now, &self.server)?;
        self.check_old_nodes()?;
        self.check_counts()
    }

    fn take_step(&mut self) -> Check {
        let step = self.plan.steps.get(self.step).map(|step| step.deed.clone());
        self.step += 1;
        match self.plan.steps.get(self.step) {
            Some(next) => self.next_step_at = self.now + next.pause,
            None => self.begin_the_end(),
        }
        let Some(deed) = step else { return Ok(()) };
        self.note(|| format!("{deed:?}"));
        self.change_weather(&deed)?;
        self.make_call(deed)
    }

    pub fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket::new(self.last_ticket)
    }

    /// Makes room for a successor of whoever has this seat.
    pub fn succeed(&mut self, seat: usize) {
        let seats = self.seats.len();
        self.seats[seat % seats] = self.members.len();
        let member = Member::new(self.now, seat, &self.plan);
        self.members.push(member);
        self.ledger.fair_since.push(self.now);
        self.ledger.frozen_until.push(0);
        self.ledger.has_inbox.push(self.plan.has_inbox(seat));
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} ms: {}", self.now, line()));
        }
    }

    pub fn note_what_was_done(&mut self) -> Check {
        let notes = self.server.take_notes();
        for old in &mut self.olds {
            let is_its = |note: &Note| matches!(note, Note::Void(id) | Note::Released { attempt: id, .. } if *id == old.id);
            old.is_void |= notes.iter().any(is_its);
        }
        self.ledger.note(self.now, notes, self.plan.fences)
    }

    /// The fleet counts as we do.
    fn check_counts(&self) -> Check {
        let living = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| !member.is_dead);
        for (index, member) in living {
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
    fn are_answered(&self) -> bool {
        let is_over = |stand: Stand| matches!(stand, Stand::No | Stand::Gone | Stand::Over);
        self.ledger.claims.iter().all(|claim| is_over(claim.stand))
            && self.ledger.errands.values().all(|errand| !errand.is_pending())
            && self.olds.is_empty()
            && self.ledger.pollers.is_empty()
    }

    fn is_at_rest(&self) -> bool {
        let rests = |member: &Member| {
            member.is_dead || member.fleet.is_settled() && member.fleet.next_deadline() == Moment::NEVER
        };
        self.are_answered()
            && self.members.iter().all(rests)
            && self.server.is_clean()
            && self.leftovers.is_empty()
    }

    fn what_remains(&self) -> String {
        let claims = self.ledger.claims.iter();
        let claims = claims.filter(|claim| matches!(claim.stand, Stand::Asks | Stand::Finishing));
        let unsettled = self
            .members
            .iter()
            .map(|member| &member.fleet)
            .filter(|fleet| !fleet.is_settled());
        format!(
            "{:?}\n{:?}\n{:?}",
            self.server,
            claims.collect::<Vec<_>>(),
            unsettled.collect::<Vec<_>>()
        )
    }
}
