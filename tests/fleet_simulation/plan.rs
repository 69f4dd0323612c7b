//! Made-up plans: what the callers do, and what happens to the links and to the server.

use std::fmt;

use medusa_locking_native::core::owner::Owner;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::server::Trouble;

/// Few keys and owners, so that they meet often.
pub const KEYS: [&str; 3] = ["a", "b", "c"];
const OWNERS: [&str; 2] = ["ada", "ben"];

/// The most members at a time.
const SEATS_MAX: usize = 4;

/// How many steps a plan has at most.
const STEPS_MAX: usize = 50;

/// One plan. It shrinks by leaving out steps.
#[derive(Clone)]
pub struct Plan {
    /// How many members there are at a time. One that leaves has a successor.
    pub seats: usize,
    /// Hardly anybody may wait.
    pub tight: bool,
    /// How often a member may pass a lease on.
    pub handoffs: u32,
    /// A lock without an owner is open to all.
    pub open: bool,
    /// How long everything takes on its way at first, in ms.
    pub lag: u64,
    /// A new connection can have the old one closed by the server.
    pub fences: bool,
    /// How many milliseconds a second the server's clock gains.
    pub gains: u64,
    /// Which members the server can call: all, or every second one.
    pub inboxes: Inboxes,
    /// Everybody is served in the order of arrival.
    pub is_strict: bool,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inboxes {
    All,
    Some,
    None,
}

impl Plan {
    pub fn has_inbox(&self, seat: usize) -> bool {
        match self.inboxes {
            Inboxes::All => true,
            Inboxes::Some => seat.is_multiple_of(2),
            Inboxes::None => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Step {
    /// In ms, since the step before.
    pub pause: u64,
    pub deed: Deed,
}

/// In one line each, so that a failing plan can be read as a list.
impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seats, tight, handoffs, open) = (self.seats, self.tight, self.handoffs, self.open);
        let (lag, fences, gains, inboxes) = (self.lag, self.fences, self.gains, self.inboxes);
        write!(
            formatter,
            "seats: {seats}, tight: {tight}, handoffs: {handoffs}, open: {open}, lag: {lag}, "
        )?;
        writeln!(
            formatter,
            "fences: {fences}, gains: {gains}, inboxes: {inboxes:?}"
        )?;
        let mut now = 0;
        for Step { pause, deed } in &self.steps {
            now += pause;
            writeln!(formatter, "  {now} ms: {deed:?}")?;
        }
        Ok(())
    }
}

/// A request for locks, by how many were made since. That way most deeds concern one that still waits or holds.
pub type Age = usize;

#[derive(Clone, Copy, Debug)]
pub enum Wait {
    Not,
    Ms(u64),
    /// `span` ms, and on while the lock changes hands, for up to `most` ms in all.
    Moving {
        span: u64,
        most: u64,
    },
    Forever,
}

/// What happens. Times are in ms; a seat stands for whoever has it then, counted around where there are fewer.
#[derive(Clone, Debug)]
pub enum Deed {
    /// What does not matter to a failure shrinks to this.
    Nothing,
    /// Some callers at once, who all want the same.
    Execute {
        callers: usize,
        seat: usize,
        keys: Vec<&'static str>,
        lease: u64,
        runs_for: u64,
        /// It ends as soon as it hears that its lock is lost.
        heeds: bool,
        wait: Wait,
    },
    Acquire {
        seat: usize,
        keys: Vec<&'static str>,
        owner: Owner,
        expire: Option<u64>,
        wait: Wait,
    },
    /// What that request acquired, if it did, is released by its owner, from wherever.
    /// Somebody asks, is refused, sleeps, and asks again.
    Poll(Poll),
    Release {
        seat: usize,
        of: Age,
    },
    ReleaseAll {
        seat: usize,
        owner: Option<Owner>,
    },
    /// The caller has gone.
    Cancel(Age),
    /// What that request acquired was never seen by its caller.
    Unseen(Age),
    /// The provider closes: waits end, jobs go on; the seat goes to a successor.
    Stop(usize),
    /// The process ends in good order; the seat goes to a successor.
    Leave(usize),
    /// The callers' thread is stuck.
    Stall {
        seat: usize,
        ms: u64,
    },
    /// How long everything takes on its way from now on.
    Lag {
        seat: usize,
        there: u64,
        back: u64,
    },
    /// Replies are lost until this connection has ended.
    Mute(usize),
    Cut {
        seat: usize,
        /// What has not arrived yet never will.
        loses: bool,
        /// What has not arrived yet arrives this much later.
        late: u64,
        /// What is on its way back is still heard.
        hears: bool,
        down_for: u64,
        /// How long the server does not know.
        unnoticed: u64,
    },
    /// The process is frozen.
    Suspend {
        seat: usize,
        ms: u64,
    },
    /// The process ends at once; the seat goes to a successor.
    Die {
        seat: usize,
        unnoticed: u64,
    },
    /// Calls of the server are lost.
    Deafen {
        seat: usize,
        ms: u64,
    },
    /// The last call of the server comes once more.
    Echo(usize),
    /// A node that knows no queue takes a lock as soon as it finds it free, and holds it for a while.
    Old {
        key: &'static str,
        anyone: bool,
        runs_for: u64,
        expire: Option<u64>,
        patience: u64,
    },
    Kill {
        keeps_data: bool,
        hears: bool,
        down_for: u64,
    },
    Freeze(u64),
    /// All data is deleted.
    FlushAll,
    Trouble {
        trouble: Trouble,
        ms: u64,
    },
    /// Somebody puts something else where a lock could be.
    Clutter {
        key: &'static str,
        ms: u64,
    },
}

/// What somebody polls for, and how.
#[derive(Clone, Debug)]
pub struct Poll {
    pub seat: usize,
    pub keys: Vec<&'static str>,
    pub owner: Owner,
    pub expire: Option<u64>,
    pub wait: Wait,
    /// For how long it sleeps.
    pub pause: u64,
    /// How often it asks before it gives up.
    pub times: u32,
    pub holds_for: u64,
}

/// What may happen apart from what callers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climate {
    /// Nothing. Only that everything takes its time.
    Calm,
    /// Anything, but a new connection is the end of the old one.
    Rough,
    /// The server will not close old connections: what was sent over them may run later.
    Fenceless,
    /// Nothing, and everybody is to be served in the order of arrival.
    Strict,
    /// As rough, where many jobs of one member want the same keys: leases pass on for long.
    Crowded,
}

/// Any plan for this climate.
pub fn plan(climate: Climate) -> impl Strategy<Value = Plan> {
    let tight = prop_oneof![7 => Just(false), 1 => Just(true)];
    let is_calm = matches!(climate, Climate::Calm | Climate::Strict);
    let is_strict = climate == Climate::Strict;
    let gains = select(if is_strict { vec![0] } else { vec![0, 0, 15] });
    let steps = prop::collection::vec(step(climate), 1..=STEPS_MAX);
    let handoffs = select(match climate {
        Climate::Strict => vec![0],
        Climate::Crowded => vec![1, 2, 4, 16],
        _ => vec![0, 2, 16],
    });
    let lag = select(if is_calm { vec![1, 5, 15] } else { vec![1, 15, 150] });
    let inboxes = select(vec![Inboxes::All, Inboxes::All, Inboxes::Some, Inboxes::None]);
    let open = prop_oneof![3 => Just(false), 1 => Just(true)];
    let setting = (1..=SEATS_MAX, tight, handoffs, open, lag, gains, inboxes);
    (setting, steps).prop_map(
        move |((seats, tight, handoffs, open, lag, gains, inboxes), steps)| Plan {
            seats,
            tight,
            handoffs,
            open,
            lag,
            fences: climate != Climate::Fenceless,
            gains,
            inboxes,
            is_strict,
            steps,
        },
    )
}

fn step(climate: Climate) -> BoxedStrategy<Step> {
    let pause = match climate {
        Climate::Crowded => prop_oneof![2 => 0..=5_u64, 3 => 5..=60_u64, 1 => 60..=800_u64].boxed(),
        _ => prop_oneof![5 => 0..=5_u64, 3 => round(), 2 => 5..=100_u64, 2 => 100..=1_500_u64].boxed(),
    };
    let deed = match climate {
        Climate::Strict => strict_call().boxed(),
        Climate::Crowded => {
            let release = (0..12_usize).prop_map(|of| Deed::Release { seat: 0, of });
            prop_oneof![9 => crowd(), 3 => release, 1 => poll().prop_map(Deed::Poll), 1 => call(), 1 => fault()].boxed()
        }
        Climate::Calm => prop_oneof![12 => call(), 1 => lag(15)].boxed(),
        Climate::Rough | Climate::Fenceless => prop_oneof![12 => call(), 4 => fault()].boxed(),
    };
    (pause, deed)
        .prop_map(|(pause, deed)| Step { pause, deed })
        .boxed()
}

/// Jobs that wait for as long as it takes.
fn strict_call() -> impl Strategy<Value = Deed> {
    (callers(), 0..SEATS_MAX, keys(), 0..=800_u64).prop_map(|(callers, seat, keys, runs_for)| {
        let wait = Wait::Forever;
        Deed::Execute {
            callers,
            seat,
            keys,
            lease: 3_000,
            runs_for,
            heeds: false,
            wait,
        }
    })
}

/// Short jobs of one member, mostly, that want the same keys and wait for as long as it takes, mostly.
fn crowd() -> impl Strategy<Value = Deed> {
    let seat = prop_oneof![5 => Just(0_usize), 1 => 1..SEATS_MAX];
    let keys = select(vec![vec!["a"], vec!["a"], vec!["a", "b"]]);
    let runs_for = prop_oneof![3 => 0..=5_u64, 2 => 0..=40_u64, 1 => 40..=200_u64];
    let wait = prop_oneof![3 => Just(Wait::Forever), 1 => wait()];
    (1..=8_usize, seat, keys, runs_for, wait).prop_map(|(callers, seat, keys, runs_for, wait)| {
        Deed::Execute {
            callers,
            seat,
            keys,
            lease: 3_000,
            runs_for,
            heeds: false,
            wait,
        }
    })
}

fn call() -> impl Strategy<Value = Deed> {
    let age = || prop_oneof![3 => 0..4_usize, 1 => 0..12_usize];
    let seat = 0..SEATS_MAX;
    prop_oneof![
        2 => Just(Deed::Nothing),
        14 => (callers(), seat.clone(), keys(), lease(), runs_for(), prop::bool::ANY, wait()).prop_map(
            |(callers, seat, keys, lease, runs_for, heeds, wait)| {
                Deed::Execute { callers, seat, keys, lease, runs_for, heeds, wait }
            }
        ),
        12 => (seat.clone(), keys(), owner(), expire(), wait()).prop_map(
            |(seat, keys, owner, expire, wait)| Deed::Acquire { seat, keys, owner, expire, wait }
        ),
        4 => poll().prop_map(Deed::Poll),
        7 => (seat.clone(), age()).prop_map(|(seat, of)| Deed::Release { seat, of }),
        1 => (seat.clone(), prop::option::of(owner())).prop_map(|(seat, owner)| Deed::ReleaseAll { seat, owner }),
        3 => age().prop_map(Deed::Cancel),
        1 => age().prop_map(Deed::Unseen),
        2 => prop_oneof![seat.clone().prop_map(Deed::Stop), seat.clone().prop_map(Deed::Leave)],
        1 => (seat, prop_oneof![1..=500_u64, 2_000..=6_000_u64]).prop_map(|(seat, ms)| Deed::Stall { seat, ms }),
        2 => (one_key(), prop::bool::ANY, runs_for(), expire(), 0..=5_000_u64).prop_map(
            |(key, anyone, runs_for, expire, patience)| Deed::Old { key, anyone, runs_for, expire, patience }
        ),
    ]
}

fn fault() -> impl Strategy<Value = Deed> {
    let seat = 0..SEATS_MAX;
    let down_for = || prop_oneof![3 => 1..=50_u64, 2 => 50..=2_000_u64];
    let trouble = select(vec![Trouble::Oom, Trouble::Loading, Trouble::ReadOnly]);
    prop_oneof![
        1 => Just(Deed::Nothing),
        6 => lag(600),
        8 => (seat.clone(), prop::bool::ANY, 0..=600_u64, prop::bool::ANY, down_for(), unnoticed()).prop_map(
            |(seat, loses, late, hears, down_for, unnoticed)| {
                Deed::Cut { seat, loses, late, hears, down_for, unnoticed }
            }
        ),
        4 => seat.clone().prop_map(Deed::Mute),
        3 => (seat.clone(), prop_oneof![1..=800_u64, 1..=8_000_u64]).prop_map(|(seat, ms)| Deed::Suspend { seat, ms }),
        2 => (seat.clone(), unnoticed()).prop_map(|(seat, unnoticed)| Deed::Die { seat, unnoticed }),
        2 => (seat.clone(), 1..=3_000_u64).prop_map(|(seat, ms)| Deed::Deafen { seat, ms }),
        2 => seat.prop_map(Deed::Echo),
        2 => (prop::bool::ANY, prop::bool::ANY, down_for()).prop_map(
            |(keeps_data, hears, down_for)| Deed::Kill { keeps_data, hears, down_for }
        ),
        2 => (1..=1_500_u64).prop_map(Deed::Freeze),
        1 => Just(Deed::FlushAll),
        5 => (trouble, 1..=1_500_u64).prop_map(|(trouble, ms)| Deed::Trouble { trouble, ms }),
        1 => (one_key(), 1..=500_u64).prop_map(|(key, ms)| Deed::Clutter { key, ms }),
    ]
}

/// How long the server does not know of the end of a connection.
fn unnoticed() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0_u64), 1 => 0..=10_000_u64]
}

fn one_key() -> impl Strategy<Value = &'static str> {
    select(KEYS.to_vec())
}

fn lag(longest: u64) -> impl Strategy<Value = Deed> {
    let span = move || prop_oneof![1 => Just(0_u64), 2 => 1..=5_u64, 3 => 0..=longest];
    (0..SEATS_MAX, span(), span()).prop_map(|(seat, there, back)| Deed::Lag { seat, there, back })
}

/// Few spans, so that some things happen at the same moment.
fn round() -> impl Strategy<Value = u64> {
    select(vec![10, 20, 50, 100])
}

fn callers() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(1_usize), 1 => 2..=4_usize]
}

fn keys() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![3 => subsequence(KEYS.to_vec(), 1..=1), 2 => subsequence(KEYS.to_vec(), 1..=KEYS.len())]
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        1 => Just(Owner::Anyone),
        2 => select(OWNERS.to_vec()).prop_map(|name| Owner::Named(name.into())),
    ]
}

/// Some that wait, as Medusa's lock step does, and some that do not; with owners that others have too, and one of their own.
fn poll() -> impl Strategy<Value = Poll> {
    let wait = prop_oneof![3 => Just(Wait::Not), 1 => wait()];
    let owner = prop_oneof![2 => owner(), 3 => Just(Owner::Named("cyd".into()))];
    let pause = prop_oneof![1 => Just(300_u64), 2 => 20..=900_u64];
    let settings = (pause, 1..=12_u32, 0..=300_u64);
    (0..SEATS_MAX, keys(), owner, expire(), wait, settings).prop_map(
        |(seat, keys, owner, expire, wait, (pause, times, holds_for))| Poll {
            seat,
            keys,
            owner,
            expire,
            wait,
            pause,
            times,
            holds_for,
        },
    )
}

fn lease() -> impl Strategy<Value = u64> {
    select(vec![3_000, 200, 600, 1_500, 6_000])
}

fn runs_for() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..=30_u64, 2 => 30..=800_u64, 2 => 800..=6_000_u64]
}

fn expire() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (70..=300_u64).prop_map(Some), 1 => (300..=6_000_u64).prop_map(Some)]
}

/// A span is longer than the last look at a lock takes.
fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        2 => Just(Wait::Forever),
        2 => Just(Wait::Not),
        1 => (1..=60_u64).prop_map(Wait::Ms),
        2 => round().prop_map(Wait::Ms),
        2 => (200..=1_500_u64, 0..=6_000_u64).prop_map(|(span, most)| Wait::Moving { span, most }),
        3 => (300..=3_000_u64).prop_map(Wait::Ms),
    ]
}
