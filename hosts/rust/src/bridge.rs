//! The calls of the library: start, load, run.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem;
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::error::{Error, Result, Status};
use crate::http::{Outcome, Request, Response, Ticket};
use crate::message::{borrowed, Message};
use crate::sys;

/// The proof that the library is started, and so the way to everything that needs it.
///
/// What it stands for is the process's: one interpreter, one configuration, one set of bundles. It holds nothing, so
/// copies are free, and any thread may call through any of them, also several at once. A thread that has called keeps a
/// Python thread state until it ends: serve requests from a pool rather than from a thread for each.
///
/// A forked child that calls gets [`Status::Forked`]; nothing here ends the process.
#[derive(Clone, Copy, Debug)]
pub struct Bridge(());

/// What [`Bridge::load_configuration`] loads.
#[derive(Clone, Debug)]
pub struct Configuration {
    source: OsString,
    middleware_path: Option<PathBuf>,
    policies: Option<PathBuf>,
    settings: Option<OsString>,
    flags: u32,
}

impl Configuration {
    /// A folder of API definitions (`*.json`), one file, or JSON text; Tyk's classic form or OAS.
    pub fn new(source: impl Into<OsString>) -> Configuration {
        Configuration { source: source.into(), middleware_path: None, policies: None, settings: None, flags: 0 }
    }

    /// Where bundles and relative paths of hooks are looked for; unless it is given, what the settings say, else
    /// `middleware`.
    pub fn middleware_path(mut self, folder: impl Into<PathBuf>) -> Configuration {
        self.middleware_path = Some(folder.into());
        self
    }

    /// A file of policies, in place of that of the settings.
    pub fn policies(mut self, file: impl Into<PathBuf>) -> Configuration {
        self.policies = Some(file.into());
        self
    }

    /// A tyk.conf, or its text (`{}` for the environment alone): stores, how keys are hashed, where bundles come from.
    /// Unless it is given, `TYK_GW_*` variables do not count, and what is kept is kept in memory.
    pub fn settings(mut self, settings: impl Into<OsString>) -> Configuration {
        self.settings = Some(settings.into());
        self
    }

    /// Whether a session that a hook changed without the right to fails the request, rather than that the change is
    /// dropped.
    pub fn strict(self, strict: bool) -> Configuration {
        self.set(sys::TYKB_STRICT, strict)
    }

    /// Whether everything is loaded again, as by [`Bridge::reload`], when files change. Needs the Python package
    /// watchfiles.
    pub fn watch(self, watch: bool) -> Configuration {
        self.set(sys::TYKB_WATCH, watch)
    }

    fn set(mut self, flag: u32, on: bool) -> Configuration {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }
}

/// What became of a configuration that is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a definition that is not in use says so here only"]
pub struct Loaded {
    /// How many definitions and policies are not in use.
    pub refused: usize,
    /// Which and why, one a line.
    pub reasons: String,
}

/// How much of a message [`Bridge::dispatch`] replies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The whole object.
    Full,
    /// What the hook changed: "Deltas" in api.h.
    Delta,
}

impl Bridge {
    /// Starts the interpreter, or joins the one of this process. Once is enough; again is a success that does nothing.
    ///
    /// # Errors
    ///
    /// [`Status::NoPython`], [`Status::Abi`] and others, with words that say what to do.
    pub fn start() -> Result<Bridge> {
        // SAFETY: it takes nothing.
        let abi = unsafe { sys::tykb_abi() };
        if abi != sys::TYKB_ABI {
            let words = format!("the library has the ABI {abi}, this crate was made for {}", sys::TYKB_ABI);
            return Err(Error::new(Status::Abi, words));
        }
        // SAFETY: the out-parameter is one.
        ended(Message::out_of(|out| unsafe { sys::tykb_init(out) })).map(|()| Bridge(()))
    }

    /// Loads a configuration in place of the one before, in one step. An API whose new version is bad goes on as
    /// before.
    ///
    /// # Errors
    ///
    /// [`Status::NotFound`] for a source that is not there, and others. Nothing has changed then.
    pub fn load_configuration(self, configuration: &Configuration) -> Result<Loaded> {
        let source = c_string(&configuration.source)?;
        let middleware_path = configuration.middleware_path.as_deref().map(c_string).transpose()?;
        let policies = configuration.policies.as_deref().map(c_string).transpose()?;
        let settings = configuration.settings.as_deref().map(c_string).transpose()?;
        let wanted = sys::tykb_configuration {
            size: mem::size_of::<sys::tykb_configuration>() as u32,
            flags: configuration.flags,
            source: source.as_ptr(),
            middleware_path: nullable(&middleware_path),
            policies: nullable(&policies),
            settings: nullable(&settings),
        };
        // SAFETY: strings and table outlive the call, which keeps none of them.
        let (code, out) = Message::out_of(|out| unsafe { sys::tykb_load_configuration(&wanted, out) });
        loaded(code, out)
    }

    /// Reads again everything that was loaded; a bundle whose content is the same is left alone, with all that its
    /// modules keep. What is bad goes on as before, and is told.
    ///
    /// # Errors
    ///
    /// Nothing could be read at all, and nothing has changed.
    pub fn reload(self) -> Result<Loaded> {
        // SAFETY: the out-parameter is one.
        let (code, out) = Message::out_of(|out| unsafe { sys::tykb_reload(out) });
        loaded(code, out)
    }

    /// Runs a request through its API: pre, authentication, post_key_auth, limits, post.
    ///
    /// # Errors
    ///
    /// There is no such API, or no chain was run at all; [`Status::Abi`]: a change is none that this crate knows. The
    /// request must not go on.
    pub fn run_request(self, request: &Request) -> Result<Outcome> {
        let message = request.message()?;
        let sent = borrowed(&message)?;
        // SAFETY: the message is borrowed for the call.
        outcome(Message::out_of(|out| unsafe { sys::tykb_run_request(&sent, out) }))
    }

    /// Runs the upstream's response through its API, and gives the one for the client.
    ///
    /// `request` is the one that the upstream got, `ticket` what [`run_request`](Bridge::run_request) gave: it says
    /// which API that is, whatever became of the url and the Host header.
    ///
    /// # Errors
    ///
    /// The API is not loaded any more, the ticket is none, or no chain was run at all. A response hook that fails is no
    /// error but a response.
    pub fn run_response(self, request: &Request, ticket: &Ticket, response: &Response) -> Result<Response> {
        let message = response.message(request, ticket)?;
        let sent = borrowed(&message)?;
        // SAFETY: the message is borrowed for the call.
        match Message::out_of(|out| unsafe { sys::tykb_run_response(&sent, out) }) {
            (sys::TYKB_OK, reply) => Response::read(&reply),
            (code, words) => Err(words.into_error(code)),
        }
    }

    /// Loads a folder as the bundle `name`, beside what is loaded, in place of an earlier one of that name.
    ///
    /// # Errors
    ///
    /// [`Status::Load`] and others. An earlier bundle stays.
    pub fn load_bundle(self, path: impl AsRef<Path>, name: &str) -> Result<()> {
        let (path, name) = (c_string(path.as_ref())?, c_string(name)?);
        // SAFETY: the strings outlive the call.
        ended(Message::out_of(|out| unsafe { sys::tykb_load_bundle(path.as_ptr(), name.as_ptr(), out) }))
    }

    /// Runs the one hook that a message names.
    ///
    /// # Errors
    ///
    /// [`Status::Hook`] when it failed, [`Status::NotFound`] and others.
    pub fn dispatch(self, message: &[u8], reply: Reply) -> Result<Message> {
        let sent = borrowed(message)?;
        let flags = match reply {
            Reply::Full => sys::TYKB_REPLY_FULL,
            Reply::Delta => sys::TYKB_REPLY_DELTA,
        };
        // SAFETY: the message is borrowed for the call.
        match Message::out_of(|out| unsafe { sys::tykb_dispatch(&sent, flags, out) }) {
            (sys::TYKB_OK, reply) => Ok(reply),
            (code, words) => Err(words.into_error(code)),
        }
    }
}

/// The library's release, such as "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: the library answers a static string.
    unsafe { CStr::from_ptr(sys::tykb_version()) }.to_str().unwrap_or_default()
}

fn outcome((code, out): (c_int, Message)) -> Result<Outcome> {
    match code {
        sys::TYKB_CONTINUE => Outcome::go_on(&out),
        sys::TYKB_RESPOND => Ok(Outcome::Respond { response: Response::read(&out)? }),
        // Also other positive numbers, should there ever be some: what is not understood does not go on.
        code => Err(out.into_error(code)),
    }
}

fn ended((code, out): (c_int, Message)) -> Result<()> {
    match code {
        sys::TYKB_OK => Ok(()),
        code => Err(out.into_error(code)),
    }
}

fn loaded(code: c_int, out: Message) -> Result<Loaded> {
    match usize::try_from(code) {
        Ok(refused) => Ok(Loaded { refused, reasons: String::from_utf8_lossy(&out).into_owned() }),
        Err(_) => Err(out.into_error(code)),
    }
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|error| Error::new(Status::Argument, format!("{:?} has a NUL: {error}", text.as_ref())))
}

fn nullable(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Builder, Path as Field};

    #[test]
    fn only_continue_goes_on() {
        let reply = || Builder::new().text(Field::REQUEST_URL, "/").finish().unwrap();
        assert!(matches!(outcome((sys::TYKB_CONTINUE, reply())), Ok(Outcome::Continue { .. })));
        assert!(matches!(outcome((sys::TYKB_RESPOND, reply())), Ok(Outcome::Respond { .. })));
        for code in (-20..0).chain(2..20) {
            assert_eq!(outcome((code, reply())).unwrap_err().status().code(), code);
        }
    }

    #[test]
    fn changes_that_cannot_be_read_do_not_go_on() {
        for bytes in [&b"\x1a\x03\x2a\x01\xff"[..], b"\x1a\x09", b"\xff"] {
            assert_eq!(Outcome::go_on(bytes).unwrap_err().status(), Status::Malformed, "{bytes:?}");
        }
    }
}
