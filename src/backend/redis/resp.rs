//! The Redis protocol (RESP): commands out, replies in.
//!
//! Commands are RESP2 arrays of bulk strings, which every version of the server takes. Replies are read in RESP2 and in
//! RESP3, by a [`Parser`] that is fed whatever the socket gave.
//!
//! What the parser refuses: a reply past one of its limits, an aggregate of unknown length (`$?`, `*?`: Redis sends
//! none), and bytes that are no RESP. After any of them the position in the stream is lost, so the connection is too.

use std::borrow::Cow;

use thiserror::Error;

mod parser;
mod scalar;

pub use parser::{BULK_BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, LINE_BYTES_MAX, Parser, REPLY_BYTES_MAX};

/// One reply of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `$-1`, `*-1` or `_`: nothing.
    Nil,
    /// `:n`.
    Int(i64),
    /// `+text`: a status. The usual ones (`OK`, `PONG`, `QUEUED`) are not allocated.
    Simple(Cow<'static, str>),
    /// `$n`, or `=n` without its format prefix: bytes.
    Bulk(Vec<u8>),
    /// `-text` or `!n`: the server's error, beginning with its code (`ERR`, `NOSCRIPT`, ...).
    Error(String),
    /// `*n`, or the set `~n`.
    Array(Vec<Reply>),
    /// `>n`: sent by the server of its own accord, so it answers no command. RESP3 only.
    Push(Vec<Reply>),
    /// `%n`, in the order in which it came. RESP3 only.
    Map(Vec<(Reply, Reply)>),
    /// `,n`. RESP3 only.
    Double(f64),
    /// `#t` or `#f`. RESP3 only.
    Bool(bool),
    /// `(n`: a whole number of any size, as its digits. RESP3 only.
    BigNumber(String),
}

/// What the server sent cannot be read on. The message says what was seen; the connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unreadable reply from the server: {0}")]
pub struct ProtocolError(String);

impl ProtocolError {
    /// An error with this account of what was seen.
    pub(crate) fn new(seen: impl Into<String>) -> Self {
        Self(seen.into())
    }
}

/// Appends one command to `out`: `args[0]` is its name.
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut command = CommandWriter::begin(out, args.len());
    for arg in args {
        command.arg(arg);
    }
}

/// Appends one command to a buffer, part by part, with no allocation of its own.
///
/// The count of parts goes first on the wire, so it is declared at the beginning. Writing another number of parts would
/// shift every later command of the connection: debug builds panic where it happens.
#[derive(Debug)]
pub struct CommandWriter<'out> {
    out: &'out mut Vec<u8>,
    missing: usize,
}

impl<'out> CommandWriter<'out> {
    /// Begins a command of `argc` parts, its name included, at the end of `out`.
    pub fn begin(out: &'out mut Vec<u8>, argc: usize) -> Self {
        push_header(out, b'*', argc);
        Self { out, missing: argc }
    }

    /// Writes the next part.
    pub fn arg(&mut self, bytes: &[u8]) -> &mut Self {
        self.begin_part(bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Writes the next part: `pieces` joined.
    pub fn arg_joined(&mut self, pieces: &[&str]) -> &mut Self {
        self.begin_part(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            self.out.extend_from_slice(piece.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Writes the next part: the `length` bytes that `write` appends.
    pub fn arg_with(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.begin_part(length);
        let end = self.out.len() + length;
        write(self.out);
        debug_assert_eq!(self.out.len(), end, "as long as the command declared");
        self.out.extend_from_slice(b"\r\n");
        self
    }

    fn begin_part(&mut self, length: usize) {
        debug_assert!(self.missing > 0, "more parts written than the command declared");
        self.missing = self.missing.saturating_sub(1);
        push_header(self.out, b'$', length);
    }

    /// Writes the next part: `number` in decimal digits.
    pub fn arg_u64(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; DIGITS_MAX];
        let first = write_digits(&mut digits, number);
        self.arg(&digits[first..])
    }
}

impl Drop for CommandWriter<'_> {
    fn drop(&mut self) {
        // A second panic while unwinding would abort the store's process.
        if !std::thread::panicking() {
            debug_assert_eq!(self.missing, 0, "fewer parts written than the command declared");
        }
    }
}

/// Decimal digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Writes `number` right-aligned and returns where it begins.
fn write_digits(digits: &mut [u8], mut number: u64) -> usize {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return first;
        }
    }
}

/// The kind, the length, and the end of the line.
fn push_header(out: &mut Vec<u8>, kind: u8, length: usize) {
    let mut line = [0; 1 + DIGITS_MAX + 2];
    let digits_end = line.len() - 2;
    line[digits_end..].copy_from_slice(b"\r\n");
    let first = write_digits(&mut line[1..digits_end], length as u64);
    line[first] = kind;
    out.extend_from_slice(&line[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = b"before".to_vec();
        encode_command(&mut out, &[b"SET", b"k\r\n", b""]);
        assert_eq!(out, b"before*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }

    #[test]
    fn pieces_are_one_part() {
        let mut out = Vec::new();
        CommandWriter::begin(&mut out, 3)
            .arg(b"GET")
            .arg_joined(&["a:", "", "é"])
            .arg_joined(&[]);
        assert_eq!(out, "*3\r\n$3\r\nGET\r\n$4\r\na:é\r\n$0\r\n\r\n".as_bytes());
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 99, 100, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            CommandWriter::begin(&mut out, 1).arg_u64(number);
            let digits = number.to_string();
            assert_eq!(
                out,
                format!("*1\r\n${}\r\n{digits}\r\n", digits.len()).into_bytes()
            );
        }
    }

    #[test]
    fn what_is_encoded_can_be_parsed() {
        let mut out = Vec::new();
        CommandWriter::begin(&mut out, 3)
            .arg(b"PEXPIRE")
            .arg(&[0, 255, 13, 10])
            .arg_u64(15_000);
        let mut parser = Parser::new();
        parser.feed(&out);
        let parts = [b"PEXPIRE".to_vec(), vec![0, 255, 13, 10], b"15000".to_vec()];
        assert_eq!(
            parser.next(),
            Ok(Some(Reply::Array(parts.map(Reply::Bulk).to_vec())))
        );
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "fewer parts written")]
    fn too_few_parts_are_caught() {
        CommandWriter::begin(&mut Vec::new(), 2).arg(b"GET");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "more parts written")]
    fn too_many_parts_are_caught() {
        CommandWriter::begin(&mut Vec::new(), 1).arg(b"GET").arg(b"k");
    }
}
