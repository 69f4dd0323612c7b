//! What is checked: who asks for what, what may go wrong and how often, and which mistake the protocol has.

use super::set::Set;

/// How many keys, attempts and processes a state has room for.
pub const KEYS: usize = 3;
pub const ATTEMPTS: usize = 5;
pub const PROCESSES: usize = 5;

/// One request of a process. Its place in the scenario is its attempt id.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub process: usize,
    pub keys: Set,
    /// Whether it queues where it cannot have its locks at once.
    pub waits: bool,
    /// The process makes this request only when that one has ended.
    pub after: Option<usize>,
}

/// What may happen to processes, connections and locks besides what callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A process dies; the server sees its connection end.
    Crash,
    /// A process executes nothing, for as long as it pleases; its connection stands.
    Freeze,
    /// A connection breaks. Commands on it may have run, may still run, or never do.
    Break,
    /// A push is lost, or arrives twice.
    Push,
    /// A node that knows no queue takes a free key.
    OldNode,
    /// A handover leaves the key free for a while instead.
    Gap,
}

/// One mistake, for the model to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A release deletes the locks and hands them to nobody.
    ReleaseOnlyDeletes,
    /// A cancel does not look at the queues that it left.
    CancelForgetsQueues,
    /// A client acts on the push of a grant, and does not claim it.
    GrantNotClaimed,
    /// A client claims at once when it hears of a grant, also while an earlier acquire of the attempt has no answer yet.
    ClaimBesidePoll,
    /// Waiters of a dead or frozen process keep their place.
    DeadNotSkipped,
    /// A handover does not look at the other queues of the first waiter, where dead ones may stand before it.
    OtherQueuesIgnored,
    /// A process that was frozen does not look at the clock before it goes on, nor at the age of a reply.
    LapseIgnored,
    /// A connection that replaces another does not make sure that nothing of the old one can run.
    NoFence,
    /// A request that finds its locks free takes them, whoever queues.
    QueueIgnored,
    /// Who gives up forgets an attempt whose answer was lost.
    LostReplyForgotten,
    /// The request of a caller that does not come back is kept for ever.
    AbsenceNeverEnds,
    /// What is granted while the caller is away is forgotten.
    AwayGrantForgotten,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub asks: Vec<Ask>,
    /// Processes that cannot be pushed to.
    pub without_inbox: Set,
    /// What may go wrong, and how many such events there are in one history.
    pub troubles: Vec<Trouble>,
    pub trouble_max: u8,
    /// How many callers may give up.
    pub cancels_max: u8,
    /// How often a caller may be refused whose request is kept while it is away.
    pub absences_max: u8,
    /// Nobody polls, and everybody claims in time: there is nothing but pushes to wake a waiter.
    pub pushes_alone: bool,
    pub fault: Option<Fault>,
}

impl Scenario {
    /// Processes `0..`, each with one waiting request for these keys.
    pub fn of(key_sets: &[&[usize]]) -> Scenario {
        let asks = key_sets.iter().enumerate().map(|(process, keys)| Ask {
            process,
            keys: Set::of(keys),
            waits: true,
            after: None,
        });
        Scenario {
            asks: asks.collect(),
            without_inbox: Set::EMPTY,
            troubles: Vec::new(),
            trouble_max: 0,
            cancels_max: 0,
            absences_max: 0,
            pushes_alone: false,
            fault: None,
        }
    }

    /// One more request of `process`, made when it has ended its request `after`, if that is named.
    pub fn and(mut self, process: usize, keys: &[usize], after: Option<usize>) -> Scenario {
        self.asks.push(Ask {
            process,
            keys: Set::of(keys),
            waits: true,
            after,
        });
        self
    }

    /// Request `attempt` does not wait.
    pub fn impatient(mut self, attempt: usize) -> Scenario {
        self.asks[attempt].waits = false;
        self
    }

    pub fn without_inbox(mut self, process: usize) -> Scenario {
        self.without_inbox = self.without_inbox.with(process);
        self
    }

    pub fn troubles(mut self, max: u8, troubles: &[Trouble]) -> Scenario {
        self.troubles = troubles.to_vec();
        self.trouble_max = max;
        self
    }

    pub fn cancels(mut self, max: u8) -> Scenario {
        self.cancels_max = max;
        self
    }

    pub fn absences(mut self, max: u8) -> Scenario {
        self.absences_max = max;
        self
    }

    pub fn pushes_alone(mut self) -> Scenario {
        self.pushes_alone = true;
        self
    }

    pub fn fault(mut self, fault: Fault) -> Scenario {
        self.fault = Some(fault);
        self
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether states tell which pushes are under way. All that a push does is to make a waiter claim, which a poll may
    /// do at any time: without these it makes no difference, but many states.
    pub fn follows_pushes(&self) -> bool {
        self.pushes_alone
            || self.troubles.contains(&Trouble::Push)
            || self.has(Fault::GrantNotClaimed)
            || self.has(Fault::ClaimBesidePoll)
    }

    pub fn attempts(&self) -> std::ops::Range<usize> {
        0..self.asks.len()
    }

    /// The processes, in order.
    pub fn processes(&self) -> impl Iterator<Item = usize> {
        (0..PROCESSES).filter(|process| self.asks.iter().any(|ask| ask.process == *process))
    }

    pub fn attempts_of(&self, process: usize) -> impl Iterator<Item = usize> {
        self.attempts()
            .filter(move |attempt| self.asks[*attempt].process == process)
    }

    /// The keys that somebody asks for.
    pub fn keys(&self) -> Set {
        self.asks.iter().fold(Set::EMPTY, |keys, ask| keys.or(ask.keys))
    }
}
