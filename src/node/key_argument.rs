//! Keys on their way in: a string or an array of strings.
//!
//! A string that begins with a line break is several keys, each behind a line break (`packKeys` in
//! `provider/arguments.ts`): for each string that crosses costs as much as a lock. Keys that hold one come in an array.

use napi::bindgen_prelude::{FromNapiValue, TypeName};
use napi::{Either, Result, Status, ValueType, sys};

use crate::core::error::RequestError;
use crate::core::key::KeySet;

/// Keys that fit in here are copied once, without asking for their length first.
const SHORT_BYTES: usize = 256;

/// The most bytes of one character: a string is cut between characters, and then leaves fewer than these unused.
const CHARACTER_BYTES_MAX: usize = 4;

/// The keys of a call, or what is wrong with them.
pub struct KeyArgument(pub std::result::Result<KeySet, RequestError>);

impl TypeName for KeyArgument {
    fn type_name() -> &'static str {
        "string | string[]"
    }

    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl FromNapiValue for KeyArgument {
    #[expect(
        unsafe_code,
        reason = "one call into Node-API instead of three for the usual argument"
    )]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut buffer = [0_u8; SHORT_BYTES];
        let mut bytes = 0;
        // SAFETY: `env` and `value` are what Node-API passed to the call that is being served; the buffer is as long as
        // is said, and outlives the call.
        let status = unsafe {
            sys::napi_get_value_string_utf8(env, value, buffer.as_mut_ptr().cast(), SHORT_BYTES, &mut bytes)
        };
        // One byte of the buffer is the terminator's.
        if Status::from(status) == Status::Ok && bytes + CHARACTER_BYTES_MAX < SHORT_BYTES {
            return Ok(KeyArgument(of_text(&String::from_utf8_lossy(&buffer[..bytes]))));
        }
        // SAFETY: as above.
        let keys = unsafe { Either::<String, Vec<String>>::from_napi_value(env, value)? };
        Ok(KeyArgument(match keys {
            Either::A(text) => of_text(&text),
            Either::B(keys) => KeySet::new(keys.iter().map(String::as_str)),
        }))
    }
}

/// What stands before each of several keys in one text.
const SEPARATOR: char = '\n';

fn of_text(text: &str) -> std::result::Result<KeySet, RequestError> {
    match text.strip_prefix(SEPARATOR) {
        Some(keys) => KeySet::new(keys.split(SEPARATOR)),
        None => KeySet::one(text),
    }
}
