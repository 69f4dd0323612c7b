//! Tickets: the number of a request, and the order of arrival.

/// The number of one request.
///
/// Tickets rise with every request of the process, so the lower of two tickets came first. In one process fencing tokens are
/// numbers of the same kind: the ticket of a request that is granted at once, and the next number where it had to wait, so
/// the grants of a key carry rising numbers. Starting them at the wall clock's microseconds (see [`Ticket::first_of_process`]) keeps them rising over
/// restarts, and below 2^53, so they fit a JavaScript number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The greatest number that JavaScript counts to without gaps.
    pub const MAX: u64 = (1 << 53) - 1;

    /// A ticket with this number.
    pub const fn new(number: u64) -> Self {
        Ticket(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The first ticket of a process that starts `unix_us` microseconds after 1970.
    ///
    /// A process would have to serve more than a million requests a second for its whole life before the next one
    /// could begin below its last ticket.
    pub fn first_of_process(unix_us: u64) -> Self {
        Ticket(unix_us.clamp(1, Self::MAX / 2))
    }
}
