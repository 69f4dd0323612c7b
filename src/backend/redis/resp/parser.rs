//! The incremental reply parser.
//!
//! Invariants: no byte is looked at twice, however small the pieces in which a reply arrives; memory grows with the bytes
//! that have arrived, never with a length that was only claimed; nesting lives in a list, not on the call stack, so no
//! input can overflow it; and no input can make it panic.

use std::ops::Range;

use super::scalar::{self, lossy, quoted};
use super::{ProtocolError, Reply};

/// Aggregates inside aggregates, the outermost counted. The deepest reply that we ask for has 3.
pub const DEPTH_MAX: usize = 8;
/// Bytes of one line: a number, a status, an error, or a length.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one bulk string.
pub const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Elements of one aggregate, and of all aggregates of one reply together; a map counts its keys and its values.
pub const ELEMENTS_MAX: usize = 1024 * 1024;
/// Bytes of one whole reply on the wire, and of what is buffered and not yet parsed.
pub const REPLY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Elements for which an aggregate makes room before they have arrived.
const ELEMENTS_RESERVED_MAX: usize = 64;
/// Buffer that is kept once everything is parsed; a bigger one, grown for a big reply, is given back.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Turns the bytes of one connection into replies. See [`Parser::next`].
#[derive(Debug, Default)]
pub struct Parser {
    /// What has arrived; the bytes before `start` are parsed.
    buffer: Vec<u8>,
    start: usize,
    /// Where the search for the end of the line goes on; at least `start`.
    searched: usize,
    /// Bytes already parsed of the reply in progress.
    parsed_bytes: usize,
    /// Elements of its aggregates so far, at every depth. Each takes many times the room of its bytes on the wire.
    elements: usize,
    /// The aggregates whose elements are arriving, outermost first. None of them is complete.
    open: Vec<Aggregate>,
    /// A bulk whose header is parsed and whose body is not all there.
    body: Option<Body>,
    broken: Option<ProtocolError>,
}

#[derive(Debug)]
struct Aggregate {
    kind: AggregateKind,
    elements: Vec<Reply>,
    /// Elements still to come; at least 1.
    missing: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum AggregateKind {
    Array,
    Push,
    Map,
    /// Remarks on the value that follows it, which is its own element of whatever it stands in. Read and dropped.
    Attribute,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    kind: BodyKind,
    length: usize,
}

#[derive(Debug, Clone, Copy)]
enum BodyKind {
    Bulk,
    Error,
    Verbatim,
}

/// What one line, or one body, turned out to be.
enum Step {
    Value(Reply),
    /// A header: what it announces comes next.
    Header,
    /// Not all of it has arrived.
    Starved,
}

impl Parser {
    /// A parser at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what was read from the connection. Call [`Parser::next`] until it has no more before feeding again:
    /// more than [`REPLY_BYTES_MAX`] unparsed bytes break the parser.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        self.drop_parsed();
        let unparsed = self.buffer.len() - self.start + bytes.len();
        if unparsed > REPLY_BYTES_MAX {
            self.break_with(ProtocolError::new(format!(
                "{unparsed} bytes without the end of a reply, the limit is {REPLY_BYTES_MAX}"
            )));
            return;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply, or `None` until more is fed.
    ///
    /// # Errors
    ///
    /// What arrived is no RESP, or is past a limit. It stays so: every later call returns the same error.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's end is final, this one's is not"
    )]
    pub fn next(&mut self) -> Result<Option<Reply>, ProtocolError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let next = self.advance();
        if let Err(error) = &next {
            self.break_with(error.clone());
        }
        next
    }

    fn break_with(&mut self, error: ProtocolError) {
        *self = Self {
            broken: Some(error),
            ..Self::default()
        };
    }

    fn advance(&mut self) -> Result<Option<Reply>, ProtocolError> {
        loop {
            let step = match self.body {
                Some(body) => self.read_body(body)?,
                None => self.read_line()?,
            };
            match step {
                Step::Starved => return Ok(None),
                Step::Header => {}
                Step::Value(value) => {
                    self.count_element()?;
                    if let Some(reply) = self.place(value) {
                        self.parsed_bytes = 0;
                        self.elements = 0;
                        return Ok(Some(reply));
                    }
                }
            }
        }
    }

    /// Puts a value where it belongs: it is the reply itself, or an element, perhaps the last one that its aggregate
    /// lacked, which then is a value in turn.
    fn place(&mut self, mut value: Reply) -> Option<Reply> {
        loop {
            let Some(innermost) = self.open.last_mut() else {
                return Some(value);
            };
            innermost.elements.push(value);
            innermost.missing -= 1;
            if innermost.missing > 0 {
                return None;
            }
            let complete = self.open.pop()?;
            value = match complete.kind {
                AggregateKind::Attribute => return None,
                kind => kind.of(complete.elements),
            };
        }
    }

    fn read_line(&mut self) -> Result<Step, ProtocolError> {
        let Some(&sign) = self.buffer.get(self.start) else {
            return Ok(Step::Starved);
        };
        // Checked before the line is complete: what is no RESP may never end its line.
        if !b"+-:$*_#,(!=~>%|".contains(&sign) {
            return Err(ProtocolError::new(scalar::unknown_sign(
                &self.buffer[self.start..],
            )));
        }
        let Some(line) = self.take_line()? else {
            return Ok(Step::Starved);
        };
        let text = &self.buffer[line.start + 1..line.end];
        if text == b"-1" && matches!(sign, b'$' | b'*') {
            return Ok(Step::Value(Reply::Nil));
        }
        let value = match sign {
            b':' => Reply::Int(scalar::integer(text)?),
            b'+' => Reply::Simple(scalar::status(text)),
            b'-' => Reply::Error(lossy(text)),
            b'_' => scalar::nothing(text).map(|()| Reply::Nil)?,
            b'#' => Reply::Bool(scalar::boolean(text)?),
            b',' => Reply::Double(scalar::double(text)?),
            b'(' => Reply::BigNumber(scalar::big_number(text)?),
            b'$' | b'!' | b'=' => {
                let length = scalar::length(text, BULK_BYTES_MAX, "bytes in a string")?;
                self.begin_body(sign, length);
                return Ok(Step::Header);
            }
            _ => {
                let length = scalar::length(text, ELEMENTS_MAX, "elements")?;
                return self.begin_aggregate(sign, length);
            }
        };
        Ok(Step::Value(value))
    }

    fn begin_body(&mut self, sign: u8, length: usize) {
        let kind = match sign {
            b'!' => BodyKind::Error,
            b'=' => BodyKind::Verbatim,
            _ => BodyKind::Bulk,
        };
        self.body = Some(Body { kind, length });
    }

    fn begin_aggregate(&mut self, sign: u8, length: usize) -> Result<Step, ProtocolError> {
        let (kind, missing) = match sign {
            b'>' => (AggregateKind::Push, length),
            b'%' => (AggregateKind::Map, length * 2),
            b'|' => (AggregateKind::Attribute, length * 2),
            _ => (AggregateKind::Array, length),
        };
        if missing > ELEMENTS_MAX {
            return Err(ProtocolError::new(format!(
                "{missing} elements, the limit is {ELEMENTS_MAX}"
            )));
        }
        if kind == AggregateKind::Push && !self.open.is_empty() {
            return Err(ProtocolError::new("a push inside another reply"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(ProtocolError::new(format!(
                "aggregates nested deeper than {DEPTH_MAX}"
            )));
        }
        if missing == 0 {
            return Ok(match kind {
                AggregateKind::Attribute => Step::Header,
                kind => Step::Value(kind.of(Vec::new())),
            });
        }
        self.count_element()?;
        let elements = Vec::with_capacity(missing.min(ELEMENTS_RESERVED_MAX));
        self.open.push(Aggregate {
            kind,
            elements,
            missing,
        });
        Ok(Step::Header)
    }

    /// Counts what has just begun or come, if it is an element of something.
    fn count_element(&mut self) -> Result<(), ProtocolError> {
        self.elements += usize::from(!self.open.is_empty());
        if self.elements <= ELEMENTS_MAX {
            return Ok(());
        }
        Err(ProtocolError::new(format!(
            "a reply of more than {ELEMENTS_MAX} elements"
        )))
    }

    fn read_body(&mut self, body: Body) -> Result<Step, ProtocolError> {
        let end = self.start + body.length;
        let Some(terminator) = self.buffer.get(end..end + 2) else {
            return Ok(Step::Starved);
        };
        if terminator != b"\r\n" {
            return Err(ProtocolError::new(format!(
                "a string of {} bytes goes on with {}",
                body.length,
                quoted(&self.buffer[end..])
            )));
        }
        let bytes = &self.buffer[self.start..end];
        let value = match body.kind {
            BodyKind::Bulk => Reply::Bulk(bytes.to_vec()),
            BodyKind::Error => Reply::Error(lossy(bytes)),
            BodyKind::Verbatim => Reply::Bulk(scalar::verbatim(bytes)?.to_vec()),
        };
        self.body = None;
        self.consume(end + 2)?;
        Ok(Step::Value(value))
    }

    /// Takes one line if it has arrived: where it lies in the buffer, its sign included and its end not.
    fn take_line(&mut self) -> Result<Option<Range<usize>>, ProtocolError> {
        let unsearched = &self.buffer[self.searched..];
        let Some(found) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            return self.check_line(self.searched).map(|()| None);
        };
        let newline = self.searched + found;
        self.check_line(newline)?;
        let line = self.start..newline.saturating_sub(1);
        if line.is_empty() || self.buffer[line.end] != b'\r' {
            let line = &self.buffer[self.start..=newline];
            return Err(ProtocolError::new(format!(
                "a line that does not end in CR LF: {}",
                quoted(line)
            )));
        }
        self.consume(newline + 1)?;
        Ok(Some(line))
    }

    fn check_line(&self, end: usize) -> Result<(), ProtocolError> {
        if end - self.start <= LINE_BYTES_MAX {
            return Ok(());
        }
        let line = quoted(&self.buffer[self.start..]);
        Err(ProtocolError::new(format!(
            "a line longer than {LINE_BYTES_MAX} bytes: {line}"
        )))
    }

    /// Marks everything before `end` as parsed.
    fn consume(&mut self, end: usize) -> Result<(), ProtocolError> {
        self.parsed_bytes += end - self.start;
        self.start = end;
        self.searched = end;
        if self.parsed_bytes > REPLY_BYTES_MAX {
            return Err(ProtocolError::new(format!(
                "a reply longer than {REPLY_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    /// Gives the room of parsed bytes back, moving fewer bytes than were parsed since the last time.
    fn drop_parsed(&mut self) {
        let unparsed = self.buffer.len() - self.start;
        if self.start == 0 || unparsed > self.start {
            return;
        }
        self.buffer.copy_within(self.start.., 0);
        self.buffer.truncate(unparsed);
        self.searched -= self.start;
        self.start = 0;
        if unparsed == 0 && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }
}

impl AggregateKind {
    /// The value that these elements make up; of an attribute, which has none, the elements.
    fn of(self, elements: Vec<Reply>) -> Reply {
        match self {
            Self::Array | Self::Attribute => Reply::Array(elements),
            Self::Push => Reply::Push(elements),
            Self::Map => {
                let mut entries = Vec::with_capacity(elements.len() / 2);
                let mut elements = elements.into_iter();
                while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                    entries.push((key, value));
                }
                Reply::Map(entries)
            }
        }
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
