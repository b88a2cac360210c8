//! What plugins reach: the host's log, events and store, also when it panics.

mod support;

use std::collections::HashMap;
use std::panic;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tykbridge::{set_host, unset_host, Bridge, Configuration, Host, Level, Outcome, Request, Store};

const MIDDLEWARE: &str = r#"
from gateway import TykGateway as tyk
from tyk.decorators import Hook


@Hook
def talk(request, session, spec):
    for level in ("debug", "info", "warning", "error", "shout"):
        tyk.log(f"at {level}: grün", level)
    tyk.trigger_event("Spoke", '{"a": "payload"}')
    return request, session


@Hook
def keep(request, session, spec):
    tyk.store_data("brief", b"\xff value", 60)
    tyk.store_data("lasting", "value", 0)
    for key in ("brief", "lasting", "missing", "with NUL"):
        request.add_header(f"X-{key.split()[0]}", repr(tyk.get_data(key)))
    return request, session
"#;

fn run(bridge: Bridge, name: &str, hook: &str) -> HashMap<String, String> {
    let hooks = format!(r#""pre": [{{"name": "{hook}", "path": "middleware.py"}}]"#);
    let (folder, definition) = support::api(name, MIDDLEWARE, &hooks);
    let loaded = bridge.load_configuration(&Configuration::new(definition).middleware_path(folder)).unwrap();
    assert_eq!(loaded.reasons, "");
    match bridge.run_request(&Request::new("GET", format!("/{name}/"))).unwrap() {
        Outcome::Continue { changes, .. } => changes.set_headers.into_iter().collect(),
        Outcome::Respond { response } => panic!("{response:?}"),
    }
}

#[test]
fn lines_and_events_reach_the_host() {
    let (bridge, recorder, _one) = support::started();
    run(bridge, "talk", "talk");
    let line = |level, name: &str| (level, format!("at {name}: grün"));
    let expected = [
        line(Level::Debug, "debug"),
        line(Level::Info, "info"),
        line(Level::Warning, "warning"),
        line(Level::Error, "error"),
        line(Level::Info, "shout"),
    ];
    assert_eq!(*recorder.logs.lock().unwrap(), expected);
    assert_eq!(*recorder.events.lock().unwrap(), [("Spoke".into(), r#"{"a": "payload"}"#.into())]);
}

#[test]
fn a_host_that_was_taken_back_hears_nothing() {
    let (bridge, recorder, _one) = support::started();
    unset_host().unwrap();
    run(bridge, "quiet", "talk");
    assert!(recorder.logs.lock().unwrap().is_empty() && recorder.events.lock().unwrap().is_empty());
}

/// A value and its time to live.
type Kept = (Vec<u8>, Option<Duration>);

#[derive(Default)]
struct Keeper(Mutex<HashMap<String, Kept>>);

impl Host for Keeper {
    fn log(&self, _: Level, message: &str) {
        panic!("nothing is logged, but {message}");
    }

    fn trigger_event(&self, _: &str, _: &str) {}

    fn store(&self) -> Option<&dyn Store> {
        Some(self)
    }
}

impl Store for Keeper {
    fn store_data(&self, key: &str, value: &[u8], ttl: Option<Duration>) {
        self.0.lock().unwrap().insert(key.into(), (value.into(), ttl));
    }

    fn get_data(&self, key: &str) -> Option<Vec<u8>> {
        if key == "with NUL" {
            return Some(b"up to\0here".to_vec());
        }
        self.0.lock().unwrap().get(key).map(|(value, _)| value.clone())
    }
}

#[test]
fn data_is_kept_by_the_host() {
    let (bridge, _, _one) = support::started();
    let keeper = Arc::new(Keeper::default());
    set_host(keeper.clone()).unwrap();
    let seen = run(bridge, "keep", "keep");
    let expected =
        [("X-brief", r"b'\xff value'"), ("X-lasting", "b'value'"), ("X-missing", "b''"), ("X-with", "b'up to'")];
    assert_eq!(seen, expected.map(|(name, value)| (name.into(), value.into())).into());
    let kept = keeper.0.lock().unwrap();
    assert_eq!(kept["brief"], (b"\xff value".to_vec(), Some(Duration::from_secs(60))));
    assert_eq!(kept["lasting"], (b"value".to_vec(), None));
}

#[test]
fn data_of_a_host_without_a_store_stays_in_the_library() {
    let (bridge, _, _one) = support::started();
    assert_eq!(run(bridge, "inside", "keep")["X-lasting"], "b'value'");
}

/// Panics whatever it is asked, with a payload whose end is a panic, too.
#[derive(Default)]
struct Panicking(Mutex<Vec<&'static str>>);

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload of a panic");
    }
}

impl Panicking {
    fn fail(&self, what: &'static str) -> ! {
        self.0.lock().unwrap().push(what);
        panic::panic_any(Payload)
    }
}

impl Host for Panicking {
    fn log(&self, _: Level, _: &str) {
        self.fail("log")
    }

    fn trigger_event(&self, _: &str, _: &str) {
        self.fail("trigger_event")
    }

    fn store(&self) -> Option<&dyn Store> {
        Some(self)
    }
}

impl Store for Panicking {
    fn store_data(&self, _: &str, _: &[u8], _: Option<Duration>) {
        self.fail("store_data")
    }

    fn get_data(&self, _: &str) -> Option<Vec<u8>> {
        self.fail("get_data")
    }
}

#[test]
fn panics_end_at_the_border() {
    let (bridge, _, _one) = support::started();
    let host = Arc::new(Panicking::default());
    set_host(host.clone()).unwrap();
    let before = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    run(bridge, "panic-talk", "talk");
    let seen = run(bridge, "panic-keep", "keep");
    panic::set_hook(before);
    assert!(seen.values().all(|value| value == "b''"), "{seen:?}");
    let mut expected = vec!["log"; 5];
    expected.extend(["trigger_event", "store_data", "store_data", "get_data", "get_data", "get_data", "get_data"]);
    assert_eq!(*host.0.lock().unwrap(), expected);
}
