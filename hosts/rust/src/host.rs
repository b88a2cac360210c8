//! What a host does for plugins: log lines, events, stored data.

use std::ffi::CStr;
use std::mem;
use std::os::raw::{c_char, c_int, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result, Status};
use crate::sys;

/// How loud a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Where log lines and events go.
///
/// The functions are called from whatever thread a plugin runs on, several at a time, without Python's lock. One that
/// panics has done nothing, as far as the plugin can see: the panic ends at the border to C.
pub trait Host: Send + Sync {
    /// A line for the log, from a plugin or from tykbridge itself.
    fn log(&self, level: Level, message: &str);

    /// An event: of a plugin, or one of the chain's own, such as AuthFailure. `payload` is as it was fired, often JSON.
    fn trigger_event(&self, name: &str, payload: &str);

    /// Where plugins' data is kept. Asked once, by [`set_host`]; None: in memory, inside the library.
    fn store(&self) -> Option<&dyn Store> {
        None
    }
}

/// Where plugins' data is kept. One trait, since a host that does one half of it loses data.
pub trait Store: Send + Sync {
    /// Keeps a value for a time, None: for good. It has no NUL.
    fn store_data(&self, key: &str, value: &[u8], ttl: Option<Duration>);

    /// The value, None where there is none. Plugins get it up to the first NUL.
    fn get_data(&self, key: &str) -> Option<Vec<u8>>;
}

/// A host that others hold on to, too.
impl<H: Host + ?Sized> Host for Arc<H> {
    fn log(&self, level: Level, message: &str) {
        (**self).log(level, message)
    }

    fn trigger_event(&self, name: &str, payload: &str) {
        (**self).trigger_event(name, payload)
    }

    fn store(&self) -> Option<&dyn Store> {
        (**self).store()
    }
}

/// Makes `host` the host of this process, in place of the one before. May be called before
/// [`Bridge::start`](crate::Bridge::start), to get its log lines too.
///
/// Neither is ever dropped: calls in flight may still use the one before.
///
/// # Errors
///
/// [`Status::NoMemory`], or what kept a second copy of the library in this process from hearing of it.
pub fn set_host<H: Host + 'static>(host: H) -> Result<()> {
    let host: &'static H = Box::leak(Box::new(host));
    let stores = host.store().is_some();
    let table = sys::tykb_host {
        size: mem::size_of::<sys::tykb_host>() as u32,
        context: host as *const H as *mut c_void,
        log: Some(log::<H>),
        trigger_event: Some(trigger_event::<H>),
        store_data: if stores { Some(store_data::<H>) } else { None },
        get_data: if stores { Some(get_data::<H>) } else { None },
    };
    // SAFETY: the table is copied; its context is a H that lives for good and may be shared between threads.
    done(unsafe { sys::tykb_set_host(&table) })
}

/// Takes the host back: log lines and events go to standard error, data stays inside the library.
///
/// # Errors
///
/// As for [`set_host`].
pub fn unset_host() -> Result<()> {
    // SAFETY: NULL is what the function expects here.
    done(unsafe { sys::tykb_set_host(ptr::null()) })
}

fn done(code: c_int) -> Result<()> {
    match code {
        sys::TYKB_OK => Ok(()),
        code => Err(Error::new(Status::from_code(code), "the host's functions were not taken over")),
    }
}

extern "C" {
    fn malloc(size: usize) -> *mut c_void;
}

/// What `call` gives, None when it panics. The hook of the process has told of the panic by then.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves half done in a host is for the host's own locks to say.
    catch_unwind(AssertUnwindSafe(call)).map_err(mem::forget).ok() // a payload's Drop may panic, too
}

/// # Safety
///
/// `context` is that of a table made by `set_host::<H>`.
unsafe fn host_of<H: Host + 'static>(context: *mut c_void) -> &'static H {
    // SAFETY: the caller's word; `set_host` leaked it.
    unsafe { &*(context as *const H) }
}

/// # Safety
///
/// `text` is a C string, or NULL.
unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's word.
    unsafe { text.as_ref().map_or(&[], |text| CStr::from_ptr(text).to_bytes()) }
}

unsafe extern "C" fn log<H: Host + 'static>(context: *mut c_void, message: *const c_char, level: *const c_char) {
    // SAFETY: the library passes on the table's context, and strings that live for the call.
    let (host, message, level) = unsafe { (host_of::<H>(context), text(message), text(level)) };
    let level = match level {
        b"debug" => Level::Debug,
        b"warning" => Level::Warning,
        b"error" => Level::Error,
        _ => Level::Info,
    };
    guarded(|| host.log(level, &String::from_utf8_lossy(message)));
}

unsafe extern "C" fn trigger_event<H: Host + 'static>(
    context: *mut c_void,
    name: *const c_char,
    payload: *const c_char,
) {
    // SAFETY: as in log.
    let (host, name, payload) = unsafe { (host_of::<H>(context), text(name), text(payload)) };
    guarded(|| host.trigger_event(&String::from_utf8_lossy(name), &String::from_utf8_lossy(payload)));
}

unsafe extern "C" fn store_data<H: Host + 'static>(
    context: *mut c_void,
    key: *const c_char,
    value: *const c_char,
    ttl: c_int,
) {
    // SAFETY: as in log.
    let (host, key, value) = unsafe { (host_of::<H>(context), text(key), text(value)) };
    let ttl = u64::try_from(ttl).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs);
    guarded(|| host.store().map(|store| store.store_data(&String::from_utf8_lossy(key), value, ttl)));
}

unsafe extern "C" fn get_data<H: Host + 'static>(context: *mut c_void, key: *const c_char) -> *mut c_char {
    // SAFETY: as in log.
    let (host, key) = unsafe { (host_of::<H>(context), text(key)) };
    let value = guarded(|| host.store().and_then(|store| store.get_data(&String::from_utf8_lossy(key))));
    value.flatten().map_or(ptr::null_mut(), |value| allocated(&value))
}

/// A C string that the library frees; NULL without memory, which reads as "".
fn allocated(value: &[u8]) -> *mut c_char {
    let length = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    // SAFETY: `length` bytes and a NUL go into a block of just that size.
    unsafe {
        let copy = malloc(length + 1).cast::<u8>();
        if !copy.is_null() {
            copy.copy_from_nonoverlapping(value.as_ptr(), length);
            *copy.add(length) = 0;
        }
        copy.cast()
    }
}
