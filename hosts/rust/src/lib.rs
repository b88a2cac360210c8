//! Tyk's rich plugins for hosts in Rust: `libtykbridge`, safely.
//!
//! ```no_run
//! use tykbridge::{Bridge, Configuration, Outcome, Request};
//!
//! # fn main() -> tykbridge::Result<()> {
//! let bridge = Bridge::start()?;
//! let loaded = bridge.load_configuration(&Configuration::new("apis"))?;
//! eprint!("{}", loaded.reasons);
//!
//! let mut request = Request::new("GET", "/things?page=2");
//! request.headers.push(("Host".into(), "example.org".into()));
//! match bridge.run_request(&request)? {
//!     Outcome::Continue { changes, ticket } => {
//!         changes.apply(&mut request);
//!         // ... ask the upstream, and hand its response to bridge.run_response(&request, &ticket, &response)
//!     }
//!     Outcome::Respond { response } => println!("{}", response.status),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Bridge`] runs whole APIs, and single hooks too. [`Builder`] and [`Reader`] make and read messages without a
//! protobuf library, [`Host`] and [`Store`] are what plugins reach. [`sys`] is the C interface as it stands in
//! `csrc/api.h`, for what the rest leaves out.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs, missing_debug_implementations)]

mod bridge;
mod error;
mod host;
mod http;
mod message;
pub mod sys;

pub use bridge::{version, Bridge, Configuration, Loaded, Reply};
pub use error::{Error, Result, Status};
pub use host::{set_host, unset_host, Host, Level, Store};
pub use http::{Changes, Headers, Outcome, Request, Response, Ticket};
pub use message::{Builder, Item, Message, Path, Reader};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
