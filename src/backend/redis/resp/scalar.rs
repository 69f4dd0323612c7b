//! What single lines of a reply say: numbers, lengths, statuses, and what to say of a line that says nothing.

use std::borrow::Cow;

use super::ProtocolError;

/// Bytes of unreadable input that an error quotes.
const QUOTED_BYTES_MAX: usize = 32;

pub(super) fn status(text: &[u8]) -> Cow<'static, str> {
    match text {
        b"OK" => Cow::Borrowed("OK"),
        b"PONG" => Cow::Borrowed("PONG"),
        b"QUEUED" => Cow::Borrowed("QUEUED"),
        other => Cow::Owned(lossy(other)),
    }
}

pub(super) fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

pub(super) fn integer(text: &[u8]) -> Result<i64, ProtocolError> {
    parsed(text).ok_or_else(|| not_a("whole number of 64 bits", text))
}

/// A length of at most `max`; `of` says what is counted.
pub(super) fn length(text: &[u8], max: usize, of: &str) -> Result<usize, ProtocolError> {
    if text == b"?" {
        return Err(ProtocolError::new(
            "a streamed string or aggregate, which is not supported",
        ));
    }
    match parsed::<u64>(text) {
        Some(length) if length <= max as u64 => Ok(length as usize),
        Some(length) => Err(ProtocolError::new(format!("{length} {of}, the limit is {max}"))),
        None => Err(not_a("length", text)),
    }
}

pub(super) fn nothing(text: &[u8]) -> Result<(), ProtocolError> {
    if text.is_empty() {
        Ok(())
    } else {
        Err(not_a("null", text))
    }
}

pub(super) fn boolean(text: &[u8]) -> Result<bool, ProtocolError> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(not_a("boolean", text)),
    }
}

pub(super) fn double(text: &[u8]) -> Result<f64, ProtocolError> {
    parsed(text).ok_or_else(|| not_a("number", text))
}

pub(super) fn big_number(text: &[u8]) -> Result<String, ProtocolError> {
    let digits = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(not_a("big number", text));
    }
    Ok(lossy(text))
}

/// A verbatim string without the three letters and the colon that name its format.
pub(super) fn verbatim(bytes: &[u8]) -> Result<&[u8], ProtocolError> {
    match bytes {
        [_, _, _, b':', text @ ..] => Ok(text),
        _ => Err(not_a("verbatim string", bytes)),
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn not_a(kind: &str, seen: &[u8]) -> ProtocolError {
    ProtocolError::new(format!("not a {kind}: {}", quoted(seen)))
}

pub(super) fn unknown_sign(seen: &[u8]) -> String {
    let hint = match seen {
        [0x15 | 0x16, 0x03, ..] => " (the server speaks TLS: use rediss://)",
        [b'H', b'T', b'T', b'P', ..] => " (an HTTP server)",
        _ => "",
    };
    format!("no Redis reply begins with {}{hint}", quoted(seen))
}

pub(super) fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(QUOTED_BYTES_MAX)];
    let more = if bytes.len() > shown.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}
