//! What a call of the library that failed says.

use std::ffi::CStr;
use std::fmt;
use std::os::raw::c_int;

use crate::sys;

/// `enum tykb_status` of api.h, without its success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// An argument out of range, or text with a NUL where C wants a string.
    Argument,
    /// [`Bridge::start`](crate::Bridge::start) has not succeeded yet.
    NotStarted,
    /// No usable Python found, or it did not start, or tykbridge is not installed in it.
    NoPython,
    /// No memory.
    NoMemory,
    /// The bytes are no `coprocess.Object`.
    Malformed,
    /// No such API, bundle or hook, or a path that is not there.
    NotFound,
    /// No bundle is named, and several define the hook.
    Ambiguous,
    /// The hook raised, or returned what no hook may return.
    Hook,
    /// The bundle could not be loaded.
    Load,
    /// More bytes than an `int` counts.
    TooLarge,
    /// The interpreter was started in the parent of this process.
    Forked,
    /// The interpreter has ended.
    Gone,
    /// Library, Python package and this crate are not of one release.
    Abi,
    /// A fault of tykbridge's own.
    Internal,
    /// A number that this release does not know.
    Unknown(c_int),
}

impl Status {
    /// The status of a number other than 0.
    pub(crate) fn from_code(code: c_int) -> Status {
        match code {
            sys::TYKB_E_ARGUMENT => Status::Argument,
            sys::TYKB_E_NOT_STARTED => Status::NotStarted,
            sys::TYKB_E_NO_PYTHON => Status::NoPython,
            sys::TYKB_E_NO_MEMORY => Status::NoMemory,
            sys::TYKB_E_MALFORMED => Status::Malformed,
            sys::TYKB_E_NOT_FOUND => Status::NotFound,
            sys::TYKB_E_AMBIGUOUS => Status::Ambiguous,
            sys::TYKB_E_HOOK => Status::Hook,
            sys::TYKB_E_LOAD => Status::Load,
            sys::TYKB_E_TOO_LARGE => Status::TooLarge,
            sys::TYKB_E_FORKED => Status::Forked,
            sys::TYKB_E_GONE => Status::Gone,
            sys::TYKB_E_ABI => Status::Abi,
            sys::TYKB_E_INTERNAL => Status::Internal,
            other => Status::Unknown(other),
        }
    }

    /// The number in api.h.
    pub fn code(self) -> c_int {
        match self {
            Status::Argument => sys::TYKB_E_ARGUMENT,
            Status::NotStarted => sys::TYKB_E_NOT_STARTED,
            Status::NoPython => sys::TYKB_E_NO_PYTHON,
            Status::NoMemory => sys::TYKB_E_NO_MEMORY,
            Status::Malformed => sys::TYKB_E_MALFORMED,
            Status::NotFound => sys::TYKB_E_NOT_FOUND,
            Status::Ambiguous => sys::TYKB_E_AMBIGUOUS,
            Status::Hook => sys::TYKB_E_HOOK,
            Status::Load => sys::TYKB_E_LOAD,
            Status::TooLarge => sys::TYKB_E_TOO_LARGE,
            Status::Forked => sys::TYKB_E_FORKED,
            Status::Gone => sys::TYKB_E_GONE,
            Status::Abi => sys::TYKB_E_ABI,
            Status::Internal => sys::TYKB_E_INTERNAL,
            Status::Unknown(code) => code,
        }
    }
}

/// The name in api.h, such as `TYKB_E_HOOK`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the library answers any number with a static string.
        let name = unsafe { CStr::from_ptr(sys::tykb_status_name(self.code())) };
        f.write_str(&name.to_string_lossy())
    }
}

/// A call that failed: the status, for the host, and the library's words, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    words: String,
}

impl Error {
    pub(crate) fn new(status: Status, words: impl Into<String>) -> Error {
        Error { status, words: words.into() }
    }

    /// What kind of failure it is.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What happened, where, and what to do about it.
    pub fn words(&self) -> &str {
        &self.words
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.status)
    }
}

impl std::error::Error for Error {}

/// The result of every call that can fail.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn every_status_has_its_number_and_its_name() {
        for code in -14..0 {
            let status = Status::from_code(code);
            assert!(!matches!(status, Status::Unknown(_)), "{code}");
            assert_eq!(status.code(), code);
            let name: String = status.to_string()["TYKB_E_".len()..].split('_').collect();
            assert_eq!(format!("{status:?}").to_uppercase(), name);
        }
        for code in [-15, 1, 2] {
            assert_eq!(Status::from_code(code), Status::Unknown(code));
            assert_eq!(Status::from_code(code).to_string(), "TYKB_E_UNKNOWN");
        }
    }
}
