//! One connection in use: commands out, answers and messages in, in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::batch::first_call;
use super::inbox::{self, Notice};
use super::member::Shared;
use super::replies::{self, Unexpected};
use super::resp::{Parser, Reply};
use super::scripts::Known;
use super::server_error::{explain, is_for_keys, is_unknown_script, wants_reconnect};
use super::spin::Spin;
use super::stream::Stream;
use crate::clock;
use crate::core::fleet::{Answer, Command, Push, Sent};
use crate::core::moment::Moment;
use crate::core::outcome::Failure;
use crate::wakeups;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How often a call is sent to a server that keeps forgetting its script.
const TRIES_MAX: u32 = 5;

/// A longer pause than any of ours, where there is nothing to wait for but the other end.
const IDLE: Duration = Duration::from_secs(3600);

/// The end of a connection.
pub struct Broken {
    /// In words for callers.
    pub why: Failure,
    /// What was sent, or about to be, and has no answer.
    pub unanswered: Vec<Sent>,
    /// The server served until the connection broke: it may be used again at once.
    pub was_useful: bool,
}

/// A call whose reply is on its way.
struct Flight {
    /// How many of the commands in [`Conversation::sent`] it carries.
    commands: usize,
    /// How often it was sent.
    tries: u32,
}

/// What the server said.
#[derive(Debug, PartialEq)]
enum Heard {
    /// To a command.
    Answer(Sent, Answer),
    /// Of its own accord.
    Push(Push),
}

/// See the module's description.
pub struct Conversation {
    shared: Arc<Shared>,
    /// The channel whose messages arrive here, if any do.
    inbox: Option<String>,
    stream: Stream,
    parser: Parser,
    flights: VecDeque<Flight>,
    /// The commands of all flights, in order.
    sent: VecDeque<Sent>,
    known: Known,
    out: Vec<u8>,
    written: usize,
    input: Box<[u8]>,
    /// Reused from turn to turn.
    fresh: Vec<Sent>,
    heard: Vec<Heard>,
    /// Messages about requests of the oldest flight, which are heard after its answers. Where these never come, all ask anew.
    early: Vec<Push>,
    was_answered: bool,
    /// The server said something after which another connection is better.
    leave: Option<Failure>,
    /// It did, or what it said could not be read.
    is_left: bool,
}

impl Conversation {
    /// On a connection that has been introduced, and that is subscribed to `inbox` if it has one.
    pub fn new(shared: Arc<Shared>, stream: Stream, parser: Parser, inbox: Option<String>) -> Self {
        Conversation {
            inbox,
            shared,
            stream,
            parser,
            flights: VecDeque::new(),
            sent: VecDeque::new(),
            known: Known::default(),
            out: Vec::new(),
            written: 0,
            input: vec![0; READ_BYTES].into_boxed_slice(),
            fresh: Vec::new(),
            heard: Vec::new(),
            early: Vec::new(),
            was_answered: false,
            leave: None,
            is_left: false,
        }
    }

    /// Talks until the connection breaks or the member has nothing left to say.
    pub async fn run(mut self) -> Broken {
        let why = self.talk().await;
        let was_useful = self.was_answered && !self.is_left;
        self.shared.attention.end();
        // What arrived together with the end still counts.
        self.hand_over();
        Broken {
            why,
            unanswered: self.sent.into(),
            was_useful,
        }
    }

    async fn talk(&mut self) -> Failure {
        let mut spin = Spin::new();
        // Messages may have come together with the last reply of the handshake.
        if let Err(failure) = self.read_replies() {
            return failure;
        }
        self.hand_over();
        loop {
            if self.shared.attention.look() {
                spin.found();
                if let Some(failure) = self.overdue() {
                    return failure;
                }
                self.take_outbox();
                if self.shared.may_end() {
                    return Failure::closed();
                }
            }
            match poll_fn(|cx| Poll::Ready(self.poll_io(cx))).await {
                Err(failure) => return failure,
                Ok(true) => {
                    spin.found();
                    if let Some(failure) = self.after_io() {
                        return failure;
                    }
                }
                Ok(false) if spin.again() => {
                    // To the other threads of the machine, who may be what is waited for, and to the other tasks.
                    std::thread::yield_now();
                    tokio::task::yield_now().await;
                }
                Ok(false) => {
                    if let Some(failure) = self.sleep().await {
                        return failure;
                    }
                }
            }
        }
    }

    /// Waits for the other end, for callers, or for the time when the oldest answer is overdue.
    async fn sleep(&mut self) -> Option<Failure> {
        let shared = Arc::clone(&self.shared);
        let overdue_at = self
            .sent
            .front()
            .map(|sent| sent.at.after(shared.settings.command_timeout));
        let wake_at = overdue_at
            .unwrap_or(Moment::NEVER)
            .min(shared.end_by().unwrap_or(Moment::NEVER));
        let mut timer = pin!(sleep(wake_at.since(clock::now()).min(IDLE)));
        let mut called = pin!(shared.attention.called());
        let mut slept = false;
        let result = poll_fn(|cx| {
            if called.as_mut().poll(cx).is_ready() {
                if slept {
                    wakeups::IO.count();
                }
                return Poll::Ready(Ok(false));
            }
            match self.poll_io(cx) {
                Ok(false) => {}
                result => return Poll::Ready(result),
            }
            let is_over = timer.as_mut().poll(cx);
            if is_over.is_pending() && !std::mem::replace(&mut slept, true) {
                wakeups::IO_SLEEPS.count();
            }
            is_over.map(|()| Ok(false))
        })
        .await;
        match result {
            Err(failure) => Some(failure),
            Ok(true) => self.after_io(),
            Ok(false) if self.overdue().is_some() => self.overdue(),
            Ok(false) if shared.may_end() => Some(Failure::closed()),
            Ok(false) => None,
        }
    }

    /// Some: the oldest answer has been awaited for too long.
    fn overdue(&self) -> Option<Failure> {
        let timeout = self.shared.settings.command_timeout;
        let is_overdue = self
            .sent
            .front()
            .is_some_and(|sent| sent.at.after(timeout) <= clock::now());
        is_overdue.then(|| self.unreachable(&format!("did not answer within {} s", timeout.as_secs_f64())))
    }

    /// Writes one call for `commands`.
    fn write(&mut self, commands: &[Sent], tries: u32) {
        self.shared
            .scripts
            .encode(&mut self.out, commands, &mut self.known, self.inbox.as_deref());
        self.flights.push_back(Flight {
            commands: commands.len(),
            tries,
        });
    }

    /// Takes what callers and timers want sent.
    fn take_outbox(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        self.shared.take_outbox(&mut fresh);
        let mut rest = fresh.as_slice();
        while !rest.is_empty() {
            let (call, behind) = rest.split_at(first_call(rest));
            self.write(call, 1);
            rest = behind;
        }
        self.sent.extend(fresh.drain(..));
        self.fresh = fresh;
    }

    /// Writes and reads what can be without waiting. True: something moved.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let wrote = self.poll_write(cx).map_err(|error| self.broke(&error))?;
        let read = self.poll_read(cx).map_err(|error| self.broke(&error))?;
        if read > 0 {
            let arrived = &self.input[..read];
            self.parser.feed(arrived);
            self.read_replies()?;
        }
        Ok(wrote || read > 0)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while self.written < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    self.written += bytes;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
        }
        if moved {
            self.out.clear();
            self.written = 0;
        }
        // TLS keeps what it has encrypted until it can be written; nothing to do for the others.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(moved),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(())) => Ok(buffer.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(0),
        }
    }

    /// Turns what has arrived into answers and messages.
    fn read_replies(&mut self) -> Result<(), Failure> {
        loop {
            let reply = match self.parser.next() {
                Ok(Some(Reply::Push(parts))) => {
                    if let Some(channel) = &self.inbox
                        && let Notice::Message(push) = inbox::read(&parts, channel)
                    {
                        self.told(push);
                    }
                    continue;
                }
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.is_left = true;
                    return Err(self.unreachable(&format!("sent an {error}")));
                }
            };
            let Some(flight) = self.flights.pop_front() else {
                return Err(self.unreachable("sent a reply that nobody asked for"));
            };
            self.was_answered = true;
            match reply {
                Reply::Error(error) if is_unknown_script(&error) && flight.tries < TRIES_MAX => {
                    self.send_again(&flight);
                }
                Reply::Error(error) if flight.commands > 1 && is_for_keys(&error) => self.send_apart(&flight),
                Reply::Error(error) => {
                    for _ in 0..flight.commands {
                        self.refused(&error);
                    }
                }
                reply if flight.commands == 1 => self.answered(reply)?,
                Reply::Array(replies) if replies.len() == flight.commands => {
                    for reply in replies {
                        match reply {
                            Reply::Error(error) => self.refused(&error),
                            reply => self.answered(reply)?,
                        }
                    }
                }
                Reply::Int(number) => {
                    for place in 0..flight.commands {
                        self.answered_alike(number, place)?;
                    }
                }
                reply => return Err(self.unintelligible(&Unexpected::to_several(&reply))),
            }
            self.heard.extend(self.early.drain(..).map(Heard::Push));
        }
    }

    /// The server's message. A call for several can hand to one of them what that has just been told to wait for: then the
    /// message comes before the answers, though it is about what became of the request after its own.
    fn told(&mut self, push: Push) {
        let is_of =
            |sent: &Sent| matches!(sent.command, Command::Acquire { ticket, .. } if ticket == push.ticket);
        let several = self
            .flights
            .front()
            .map(|flight| flight.commands)
            .filter(|commands| *commands > 1);
        if self.sent.iter().take(several.unwrap_or(0)).any(is_of) {
            self.early.push(push);
        } else {
            self.heard.push(Heard::Push(push));
        }
    }

    /// The server's reply to the oldest command. Err: whether it ran is anybody's guess.
    fn answered(&mut self, reply: Reply) -> Result<(), Failure> {
        let Some(sent) = self.sent.front() else {
            return Ok(());
        };
        match replies::decode(self.shared.scripts.names(), &sent.command, reply) {
            Ok(answer) => {
                self.heard(answer);
                Ok(())
            }
            Err(unexpected) => Err(self.unintelligible(&unexpected)),
        }
    }

    /// The server's one reply to several commands, of which the oldest that has no answer is the `place`-th, from 0.
    fn answered_alike(&mut self, number: i64, place: usize) -> Result<(), Failure> {
        let Some(sent) = self.sent.front() else {
            return Ok(());
        };
        self.answered(replies::part_of(&sent.command, number, place))
    }

    /// The server's error to the oldest command.
    fn refused(&mut self, error: &str) {
        let explained = explain(error, &self.shared.settings.endpoint());
        if wants_reconnect(error) {
            self.leave = Some(explained.failure.clone());
            self.is_left = true;
        }
        self.heard(Answer::Error(explained));
    }

    fn heard(&mut self, answer: Answer) {
        if let Some(sent) = self.sent.pop_front() {
            self.heard.push(Heard::Answer(sent, answer));
        }
    }

    fn unintelligible(&mut self, unexpected: &Unexpected) -> Failure {
        self.is_left = true;
        self.unreachable(&format!("answered {}", unexpected.0))
    }

    /// The server was told to forget its scripts (`SCRIPT FLUSH`): this one and all others go with their source again.
    ///
    /// The first call of each script on a connection goes with its source, so that this and [`Self::send_apart`] are the
    /// only cases in which a call is overtaken by one behind it.
    fn send_again(&mut self, flight: &Flight) {
        let commands = self.take_up(flight);
        if flight.tries == 1 {
            self.known = Known::default();
        }
        self.write(&commands, flight.tries + 1);
        self.sent.extend(commands);
    }

    /// The rights of our user end at a key of one of several: each goes alone, or the others would be refused for it. Nothing
    /// of the call ran. Calls behind it overtake it, as above.
    fn send_apart(&mut self, flight: &Flight) {
        let commands = self.take_up(flight);
        for sent in &commands {
            self.write(std::slice::from_ref(sent), 1);
        }
        self.sent.extend(commands);
    }

    /// The commands of the oldest flight, to be sent once more.
    fn take_up(&mut self, flight: &Flight) -> Vec<Sent> {
        let at = clock::now();
        let commands = self.sent.drain(..flight.commands);
        commands.map(|sent| Sent { at, ..sent }).collect()
    }

    /// Hands over what was heard. Some: the connection is to be left.
    fn after_io(&mut self) -> Option<Failure> {
        self.hand_over();
        if let Some(failure) = self.leave.take() {
            return Some(failure);
        }
        self.shared.may_end().then(Failure::closed)
    }

    fn hand_over(&mut self) {
        if self.heard.is_empty() {
            return;
        }
        let heard = &mut self.heard;
        self.shared.turn(|fleet, now| {
            for each in heard.drain(..) {
                match each {
                    Heard::Answer(sent, answer) => fleet.answered(now, sent, answer),
                    Heard::Push(push) => fleet.pushed(now, push),
                }
            }
        });
    }

    fn broke(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.unreachable("closed the connection"),
            _ => self.unreachable(&format!("is gone: {error}")),
        }
    }

    fn unreachable(&self, what: &str) -> Failure {
        let message = format!("Redis at {} {what}", self.shared.settings.endpoint());
        Failure {
            code: "REDIS_UNREACHABLE",
            message,
            key: None,
        }
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
