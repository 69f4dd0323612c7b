//! Everything that is not asking or renewing: giving back, releasing, sweeping, looking.

use std::sync::Arc;
use std::time::Duration;

use super::cohort::KnownAs;
use super::{Answer, Command, Fleet, Held, Timer};
use crate::core::key::KeySet;
use crate::core::moment::Moment;
use crate::core::outcome::{Failure, Lock, Outcome};
use crate::core::ticket::Ticket;

/// After the server said that it cannot now, an errand that must be done is tried again after this long.
const RETRY: Duration = Duration::from_millis(200);

/// The most locks that one command looks up. Each may be answered with an owner id, and a record with another, of 16 KiB, and
/// out of the box a server cuts off a subscribed client for which it has more than 32 MB, or for a minute more than 8 MB.
const INSPECT_KEYS_MAX: usize = 200;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum ErrandKind {
    /// Give back what a job held.
    Finish {
        /// What it held.
        keys: KeySet,
        /// Under which grant: its own, or the one that was passed on to it.
        grant: Ticket,
        /// And under which token.
        token: u64,
        /// When the server lets it lapse anyway, at the latest.
        lapses_at: Moment,
    },
    /// Release an owner's locks.
    Release {
        /// Which.
        keys: KeySet,
        /// Whose.
        held: Held,
    },
    /// Release all locks of an owner, or all.
    ReleaseAll {
        /// None: whoever's they are.
        owner_id: Option<Box<str>>,
        /// Where the last page ended.
        cursor: u64,
    },
    /// Look up locks.
    Inspect {
        /// None: all there are.
        keys: Option<KeySet>,
        /// Where the last page of a scan ended.
        cursor: u64,
        /// What is still to be looked up of these keys, or of that page.
        rest: Vec<Arc<str>>,
        /// What was found so far.
        found: Vec<Lock>,
    },
}

impl ErrandKind {
    fn is_ownerless_release(&self) -> bool {
        matches!(
            self,
            ErrandKind::Release {
                held: Held::ByOwner(None),
                ..
            }
        )
    }
}

/// An errand on its way.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) kind: ErrandKind,
    /// Nobody waits for its outcome.
    pub caller_gone: bool,
    /// Others of this member wait for what is released.
    more: bool,
    /// A try of it was sent and its answer will never come.
    pub(super) maybe_ran: bool,
    /// When it was asked for.
    pub(super) asked_at: Moment,
    /// When it is to be sent again.
    pub(super) again_at: Option<Moment>,
    pub(super) ends_at: Option<Moment>,
}

impl Errand {
    pub(super) fn new(now: Moment, kind: ErrandKind, caller_gone: bool, more: bool) -> Self {
        Errand {
            kind,
            caller_gone,
            more,
            maybe_ran: false,
            asked_at: now,
            again_at: None,
            ends_at: None,
        }
    }
}

impl Fleet {
    /// Starts an errand that somebody waits for. News will tell.
    pub fn run(&mut self, now: Moment, ticket: Ticket, kind: ErrandKind) {
        let answer_by = now.after(self.config.command_timeout);
        self.start_errand(now, ticket, Errand::new(now, kind, false, false), answer_by);
    }

    /// Starts the release of `keys` by `owner_id`, which is the id of a job of this process. A lease that was passed on
    /// is the last job's alone, under whoever's name it stands on the server.
    pub fn release_job(&mut self, now: Moment, ticket: Ticket, keys: KeySet, job: Ticket, owner_id: &str) {
        let held = match self.known_as(job) {
            KnownAs::Grant(job, token) => {
                self.stop_passing(Some(job));
                Held::ByJob { job, token }
            }
            KnownAs::Nobody => return self.tell(ticket, Outcome::Released(false)),
            KnownAs::Itself => Held::ByOwner(Some(owner_id.into())),
        };
        self.run(now, ticket, ErrandKind::Release { keys, held });
    }

    /// Starts the release of all locks of `owner_id`, or of all locks. `job`: it is the id of this job of this process; then
    /// `name` makes the id of a grant.
    pub fn release_all(
        &mut self,
        now: Moment,
        ticket: Ticket,
        owner_id: Option<&str>,
        job: Option<Ticket>,
        name: impl FnOnce(Ticket, u64) -> String,
    ) {
        let owner_id = match job.map(|job| self.known_as(job)) {
            Some(KnownAs::Nobody) => return self.tell(ticket, Outcome::Done),
            Some(KnownAs::Grant(grant, token)) => {
                self.stop_passing(Some(grant));
                Some(name(grant, token).into())
            }
            Some(KnownAs::Itself) | None => owner_id.map(Into::into),
        };
        if owner_id.is_none() {
            self.stop_passing(None);
        }
        self.run(now, ticket, ErrandKind::ReleaseAll { owner_id, cursor: 0 });
    }

    pub(super) fn start_errand(&mut self, now: Moment, ticket: Ticket, errand: Errand, answer_by: Moment) {
        self.errands.insert(ticket, errand);
        self.arm_errand(ticket, answer_by);
        self.send_errand(ticket);
        // What waits here for a key that is released now asks right behind the release.
        if let Some(Errand {
            kind: ErrandKind::Release { keys, held },
            ..
        }) = self.errands.get(&ticket)
        {
            let (keys, held) = (keys.clone(), held.clone());
            self.keep_no_longer(&keys, &held);
            self.kick(now, keys.as_slice());
        }
    }

    fn arm_errand(&mut self, ticket: Ticket, at: Moment) {
        let Some(errand) = self.errands.get_mut(&ticket) else {
            return;
        };
        errand.ends_at = Some(at);
        self.arm(at, Timer::ErrandEnds(ticket));
    }

    /// Sends an errand's command, from its beginning.
    fn send_errand(&mut self, ticket: Ticket) {
        let Some(errand) = self.errands.get_mut(&ticket) else {
            return;
        };
        let more = errand.more;
        let command = match &mut errand.kind {
            ErrandKind::Finish {
                keys, grant, token, ..
            } => {
                let held = Held::ByJob {
                    job: *grant,
                    token: *token,
                };
                Command::Release {
                    ticket,
                    keys: keys.clone(),
                    held,
                    more,
                }
            }
            ErrandKind::Release { keys, held } => Command::Release {
                ticket,
                keys: keys.clone(),
                held: held.clone(),
                more,
            },
            ErrandKind::ReleaseAll { cursor, .. } => {
                *cursor = 0;
                Command::Scan { ticket, cursor: 0 }
            }
            ErrandKind::Inspect {
                keys: Some(keys),
                found,
                rest,
                ..
            } => {
                found.clear();
                *rest = keys.iter().cloned().collect();
                Command::Inspect {
                    ticket,
                    keys: some_of(rest),
                }
            }
            ErrandKind::Inspect {
                keys: None,
                cursor,
                found,
                rest,
            } => {
                *cursor = 0;
                found.clear();
                rest.clear();
                Command::Scan { ticket, cursor: 0 }
            }
        };
        self.send(command);
    }

    pub(super) fn release_answered(&mut self, now: Moment, ticket: Ticket, answer: Answer) {
        let Some(errand) = self.errands.get(&ticket) else {
            return;
        };
        let is_job = matches!(errand.kind, ErrandKind::Finish { .. });
        match answer {
            // Where an earlier try may have released them, that they are not held now says nothing.
            Answer::Released(held) => {
                let all = held || (errand.maybe_ran && !self.is_too_late(errand));
                self.end_errand(
                    ticket,
                    if is_job {
                        Outcome::Finished(all)
                    } else {
                        Outcome::Released(all)
                    },
                );
            }
            Answer::Error(error) if is_job && error.passing => self.retry_errand(now, ticket),
            // The job ended while its lease was good; the lock lapses by itself.
            Answer::Error(_) if is_job => self.end_errand(ticket, Outcome::Finished(true)),
            Answer::Error(error) => self.end_errand(ticket, Outcome::Failed(error.failure)),
            _ => {}
        }
    }

    pub(super) fn errand_answered(&mut self, now: Moment, ticket: Ticket, answer: Answer) {
        let answer_by = now.after(self.config.command_timeout);
        let Some(errand) = self.errands.get_mut(&ticket) else {
            return;
        };
        if errand.caller_gone {
            return self.end_errand(ticket, Outcome::Done);
        }
        match (&mut errand.kind, answer) {
            (_, Answer::Error(error)) => return self.end_errand(ticket, Outcome::Failed(error.failure)),
            (ErrandKind::ReleaseAll { owner_id, cursor }, Answer::Page(next, keys)) => {
                *cursor = next;
                let owner_id = owner_id.clone();
                self.send(Command::Sweep {
                    ticket,
                    keys,
                    owner_id,
                });
            }
            (ErrandKind::ReleaseAll { cursor: 0, .. }, Answer::Released(_)) => {
                self.end_errand(ticket, Outcome::Done);
                // Whose leases went with it shall not wait for their next renewal to hear of it, nor pass on what is gone.
                self.stop_passing(None);
                self.renew_at_next_tick(now);
                return self.kick_all(now);
            }
            (ErrandKind::ReleaseAll { cursor, .. }, Answer::Released(_)) => {
                let cursor = *cursor;
                self.send(Command::Scan { ticket, cursor });
            }
            (ErrandKind::Inspect { cursor, rest, .. }, Answer::Page(next, keys)) => {
                *cursor = next;
                *rest = keys;
                let keys = some_of(rest);
                self.send(Command::Inspect { ticket, keys });
            }
            (
                ErrandKind::Inspect {
                    cursor, found, rest, ..
                },
                Answer::Locks(locks),
            ) => {
                found.extend(locks);
                match *cursor {
                    _ if !rest.is_empty() => {
                        let keys = some_of(rest);
                        self.send(Command::Inspect { ticket, keys });
                    }
                    0 => return self.inspected(ticket),
                    cursor => self.send(Command::Scan { ticket, cursor }),
                }
            }
            _ => {}
        }
        self.arm_errand(ticket, answer_by);
    }

    /// A scan may show a key twice; a lock is shown once.
    fn inspected(&mut self, ticket: Ticket) {
        let Some(Errand {
            kind: ErrandKind::Inspect { found, .. },
            ..
        }) = self.errands.get_mut(&ticket)
        else {
            return;
        };
        let mut locks = std::mem::take(found);
        locks.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        locks.dedup_by(|a, b| a.key == b.key);
        let waiting = self.waiting_by_key();
        for lock in &mut locks {
            lock.waiting = waiting.get(&*lock.key).copied().unwrap_or(0);
        }
        self.end_errand(ticket, Outcome::Inspected(locks));
    }

    /// Its caller has waited long enough, or it is time to try again, or there is nothing left to do.
    pub(super) fn errand_ends(&mut self, now: Moment, ticket: Ticket) {
        let Some(errand) = self.errands.get_mut(&ticket) else {
            return;
        };
        let ErrandKind::Finish { lapses_at, .. } = errand.kind else {
            // Whoever is told that a release failed may lock anew at once: no later try may run into that.
            let outcome = Outcome::Failed(self.unreachable("in time"));
            return self.end_errand(ticket, outcome);
        };
        if !std::mem::replace(&mut errand.caller_gone, true) {
            self.tell(ticket, Outcome::Finished(true));
        }
        if lapses_at <= now {
            self.end_errand(ticket, Outcome::Done);
        } else {
            self.arm_errand(ticket, lapses_at);
        }
    }

    fn retry_errand(&mut self, now: Moment, ticket: Ticket) {
        let Some(errand) = self.errands.get_mut(&ticket) else {
            return;
        };
        if errand.again_at.is_some() {
            return;
        }
        let at = now.after(RETRY);
        errand.again_at = Some(at);
        self.arm(at, Timer::ErrandAgain(ticket));
    }

    pub(super) fn errand_again(&mut self, ticket: Ticket) {
        if let Some(errand) = self.errands.get_mut(&ticket) {
            errand.again_at = None;
        }
        self.send_errand(ticket);
    }

    pub(super) fn errand_unanswered(&mut self, ticket: Ticket) {
        if let Some(errand) = self.errands.get_mut(&ticket) {
            errand.maybe_ran = true;
        }
    }

    /// After the link has come back: does what has not been done, or may not have been.
    pub(super) fn resend_errands(&mut self) {
        for ticket in self.errands_where(|_| true) {
            // "*" does not say whose it is: by now the lock may be somebody else's.
            let is_anybodys = self
                .errands
                .get(&ticket)
                .is_some_and(|errand| errand.maybe_ran && errand.kind.is_ownerless_release());
            if is_anybodys {
                let outcome = Outcome::Failed(self.unreachable("before the connection broke"));
                self.end_errand(ticket, outcome);
            } else {
                self.send_errand(ticket);
            }
        }
    }

    /// Ends what somebody waits for, other than the end of a job.
    pub(super) fn stop_errands(&mut self) {
        for ticket in self.errands_where(|errand| !matches!(errand.kind, ErrandKind::Finish { .. })) {
            self.end_errand(ticket, Outcome::Failed(Failure::closed()));
        }
    }

    /// Nobody waits for the end of a job any more: it ended while its lease was good.
    pub(super) fn leave_errands(&mut self) {
        for ticket in self.errands_where(|errand| !errand.caller_gone) {
            self.tell(ticket, Outcome::Finished(true));
            if let Some(errand) = self.errands.get_mut(&ticket) {
                errand.caller_gone = true;
            }
        }
    }

    /// In ticket order.
    fn errands_where(&self, condition: impl Fn(&Errand) -> bool) -> Vec<Ticket> {
        let matching = self.errands.iter().filter(|(_, errand)| condition(errand));
        let mut tickets: Vec<Ticket> = matching.map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        tickets
    }

    fn end_errand(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(errand) = self.errands.remove(&ticket) else {
            return;
        };
        let outcome = self.settle_grants(&errand, outcome);
        if !errand.caller_gone {
            self.tell(ticket, outcome);
        }
    }
}

/// Takes as many keys as go in one command.
fn some_of(rest: &mut Vec<Arc<str>>) -> Vec<Arc<str>> {
    rest.split_off(rest.len().saturating_sub(INSPECT_KEYS_MAX))
}
