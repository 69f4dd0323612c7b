//! Errors on their way out to JavaScript.

use crate::backend::Failure;
use crate::core::error::RequestError;

/// The `code` property of a thrown error.
#[derive(Clone, Copy, Debug)]
pub struct Code(&'static str);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// What the addon's methods return.
pub type Result<T> = std::result::Result<T, napi::Error<Code>>;

impl From<RequestError> for napi::Error<Code> {
    fn from(error: RequestError) -> Self {
        napi::Error::new(Code(error.code()), error.to_string())
    }
}

impl From<Failure> for napi::Error<Code> {
    fn from(failure: Failure) -> Self {
        napi::Error::new(Code(failure.code), failure.message)
    }
}

/// A bad option, told by name.
pub fn invalid_option(message: String) -> napi::Error<Code> {
    napi::Error::new(Code("INVALID_OPTION"), message)
}

/// Something that Node-API refused, which is never the caller's fault.
pub fn internal(error: napi::Error) -> napi::Error<Code> {
    napi::Error::new(Code("INTERNAL"), format!("Node-API failed: {}", error.reason))
}

/// Runs `body`, and turns a panic in it into an error: the store's process must outlive our mistakes.
pub fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(|| Ok(body())).unwrap_or_else(|failure| Err(failure.into()))
}

/// The same for what fails by value.
pub fn caught<T>(body: impl FnOnce() -> std::result::Result<T, Failure>) -> std::result::Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let message = format!("The locking addon panicked: {said}");
        Err(Failure {
            code: "INTERNAL",
            message,
            key: None,
        })
    })
}
