//! Keys and owner ids on their way in.
//!
//! Each string that crosses costs as much as a lock. So a text that is not long is read by one call into Node-API, without
//! asking first for its type and its length; and several keys come as one text, that begins with a line break and has one
//! before each (`packKeys` in `provider/arguments.ts`). Keys that hold a line break come in an array.

use napi::bindgen_prelude::{FromNapiValue, TypeName};
use napi::{Either, Result, Status, ValueType, sys};

use crate::core::error::RequestError;
use crate::core::key::KeySet;
use crate::core::owner::Owner;

/// A text that fits in here is copied once.
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
    #[expect(unsafe_code, reason = "the trait's own; see read_short")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: as the caller has promised.
        if let Some(keys) = unsafe { read_short(env, value, of_text) } {
            return Ok(KeyArgument(keys));
        }
        // SAFETY: as the caller has promised.
        let keys = unsafe { Either::<String, Vec<String>>::from_napi_value(env, value)? };
        Ok(KeyArgument(match keys {
            Either::A(text) => of_text(&text),
            Either::B(keys) => KeySet::new(keys.iter().map(String::as_str)),
        }))
    }
}

/// Whom a call names by an owner id, or by none.
pub struct OwnerArgument(pub Owner);

impl FromNapiValue for OwnerArgument {
    #[expect(unsafe_code, reason = "the trait's own; see read_short")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: as the caller has promised.
        if let Some(owner) = unsafe { read_short(env, value, |id| Owner::from_id(Some(id))) } {
            return Ok(OwnerArgument(owner));
        }
        // SAFETY: as the caller has promised.
        let owner_id = unsafe { Option::<String>::from_napi_value(env, value)? };
        Ok(OwnerArgument(Owner::from_id(owner_id.as_deref())))
    }
}

/// What `read` makes of a text. None: the value is a longer one, or none at all.
///
/// # Safety
/// `env` and `value` are what Node-API passed to the call that is being served.
#[expect(
    unsafe_code,
    reason = "one call into Node-API instead of three for the usual argument"
)]
unsafe fn read_short<T>(
    env: sys::napi_env,
    value: sys::napi_value,
    read: impl FnOnce(&str) -> T,
) -> Option<T> {
    let mut buffer = [0_u8; SHORT_BYTES];
    let mut bytes = 0;
    // SAFETY: as the caller has promised; the buffer is as long as is said, and outlives the call.
    let status = unsafe {
        sys::napi_get_value_string_utf8(env, value, buffer.as_mut_ptr().cast(), SHORT_BYTES, &mut bytes)
    };
    // One byte of the buffer is the terminator's.
    if Status::from(status) != Status::Ok || bytes + CHARACTER_BYTES_MAX >= SHORT_BYTES {
        return None;
    }
    // Node-API writes nothing but UTF-8.
    std::str::from_utf8(&buffer[..bytes]).ok().map(read)
}

/// What stands before each of several keys in one text.
const SEPARATOR: char = '\n';

fn of_text(text: &str) -> std::result::Result<KeySet, RequestError> {
    match text.strip_prefix(SEPARATOR) {
        Some(keys) => KeySet::new(keys.split(SEPARATOR)),
        None => KeySet::one(text),
    }
}
