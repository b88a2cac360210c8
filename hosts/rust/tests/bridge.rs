//! Whole APIs and single hooks, from one thread and from several; what fails, and what it says.

mod support;

use std::error::Error as _;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tykbridge::{
    sys, Bridge, Builder, Configuration, Loaded, Outcome, Path, Reader, Reply, Request, Response, Status, Ticket,
};

const MIDDLEWARE: &str = r#"
from tyk.decorators import Hook


@Hook
def let_in(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization")
    session.alias = "alice"
    session.quota_max, session.quota_renewal_rate = 100, 3600
    return request, session, metadata


@Hook
def echo(request, session, spec):
    request.add_header("X-Echo", request.get_header("X-Number"))
    return request, session


@Hook
def elsewhere(request, session, spec):
    request.object.url = "/elsewhere/things"
    request.add_header("Host", "elsewhere.test")
    return request, session


@Hook
def forget(request, session, spec):
    del request.object.headers["X-Number"]
    return request, session


@Hook
def sign(request, response, session, metadata, spec):
    response.headers["X-User"] = session.alias
    return response


@Hook
def mark(request, response, session, metadata, spec):
    response.headers["X-Marked"] = "elsewhere"
    return response


@Hook
def fail(request, session, spec):
    raise ValueError("boom")
"#;

const PROTECTED: &str = r#""auth_check": {"name": "let_in", "path": "middleware.py"},
    "post": [{"name": "echo", "path": "middleware.py"}], "response": [{"name": "sign", "path": "middleware.py"}]"#;

fn load(bridge: Bridge, name: &str, hooks: &str) {
    let (folder, mut definition) = support::api(name, MIDDLEWARE, hooks);
    if hooks.contains("auth_check") {
        definition = definition.replace(r#""use_keyless": true"#, r#""enable_coprocess_auth": true"#);
    }
    let configuration = Configuration::new(definition).middleware_path(folder);
    assert_eq!(bridge.load_configuration(&configuration).unwrap(), Loaded::default());
}

fn request(name: &str, number: usize) -> Request {
    let headers = [("Authorization", "key"), ("X-Number", &number.to_string())];
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_string())).into();
    Request { headers, ..Request::new("GET", format!("/{name}/")) }
}

#[test]
fn a_session_goes_from_the_request_to_the_response() {
    let (bridge, _, _one) = support::started();
    load(bridge, "sessions", PROTECTED);
    let mut request = request("sessions", 1);
    let (changes, ticket) = match bridge.run_request(&request).unwrap() {
        Outcome::Continue { changes, ticket } => (changes, ticket),
        Outcome::Respond { response } => panic!("{response:?}"),
    };
    changes.apply(&mut request);
    assert_eq!(request.headers.last(), Some(&("X-Echo".into(), "1".into())));
    // As another process would have it.
    let ticket = Ticket::from_bytes(ticket.as_bytes());
    let upstream = Response { status: 200, body: b"x".to_vec(), ..Response::default() };
    let client = bridge.run_response(&request, &ticket, &upstream).unwrap();
    assert_eq!(client.headers[0], ("X-User".into(), "alice".into()));
}

#[test]
fn the_api_that_a_request_came_to_gets_its_response_where_a_hook_changed_url_and_host() {
    let (bridge, _, _one) = support::started();
    let hooks = |phase: &str, name: &str| format!(r#""{phase}": [{{"name": "{name}", "path": "middleware.py"}}]"#);
    let both = format!("{}, {}", hooks("pre", "elsewhere"), hooks("response", "sign"));
    let (folder, moved) = support::api("moved", MIDDLEWARE, &both);
    let (_, elsewhere) = support::api("elsewhere", MIDDLEWARE, &hooks("response", "mark"));
    let elsewhere = elsewhere.replace(r#""active""#, r#""domain": "elsewhere.test", "active""#);
    for (name, definition) in [("moved", moved), ("elsewhere", elsewhere)] {
        fs::write(folder.join(name).with_extension("json"), definition).unwrap();
    }
    let configuration = Configuration::new(&folder).middleware_path(&folder);
    assert_eq!(bridge.load_configuration(&configuration).unwrap(), Loaded::default());

    let passed = |mut request: Request| match bridge.run_request(&request).unwrap() {
        Outcome::Continue { changes, ticket } => {
            changes.apply(&mut request);
            (request, ticket)
        }
        Outcome::Respond { response } => panic!("{response:?}"),
    };
    let names = |(request, ticket): &(Request, Ticket)| -> Vec<String> {
        let client = bridge.run_response(request, ticket, &Response { status: 204, ..Response::default() }).unwrap();
        client.headers.into_iter().map(|(name, _)| name).collect()
    };
    let moved = passed(Request::new("GET", "/moved/"));
    assert_eq!(moved.0.url, "/elsewhere/things");
    assert_eq!(moved.0.headers, [("Host".to_string(), "elsewhere.test".to_string())]);
    assert_eq!(names(&moved), ["X-User"]);
    // The very same request, had it come like that.
    assert_eq!(names(&passed(moved.0)), ["X-Marked"]);
}

#[test]
fn a_ticket_that_is_none_or_of_an_api_that_is_gone_is_refused() {
    let (bridge, _, _one) = support::started();
    load(bridge, "gone", PROTECTED);
    let request = request("gone", 1);
    let ticket = match bridge.run_request(&request).unwrap() {
        Outcome::Continue { ticket, .. } => ticket,
        Outcome::Respond { response } => panic!("{response:?}"),
    };
    let upstream = Response { status: 200, ..Response::default() };
    let status = |ticket: &Ticket| match bridge.run_response(&request, ticket, &upstream) {
        Ok(client) => Ok(client.status),
        Err(error) => Err(error.status()),
    };
    assert_eq!(status(&ticket), Ok(200));
    for bytes in [ticket.as_bytes().split_last().unwrap().1, b""] {
        assert_eq!(status(&Ticket::from_bytes(bytes)), Err(Status::Malformed), "{bytes:?}");
    }
    load(bridge, "after", PROTECTED);
    assert_eq!(status(&ticket), Err(Status::NotFound));
}

#[test]
fn threads_share_the_bridge_and_what_it_counts() {
    let (bridge, _, _one) = support::started();
    load(bridge, "threads", PROTECTED);
    let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for part in 0..8 {
            let (passed, refused) = (&passed, &refused);
            scope.spawn(move || {
                for number in (part..400).step_by(8) {
                    let mut request = request("threads", number);
                    request.headers[0].1 = "shared".into();
                    match bridge.run_request(&request).unwrap() {
                        Outcome::Continue { changes, .. } => {
                            assert_eq!(changes.set_headers, [("X-Echo".into(), number.to_string())]);
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                        Outcome::Respond { response } => {
                            assert_eq!(response.status, 403);
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!((passed.into_inner(), refused.into_inner()), (100, 300));
}

#[test]
fn what_is_shared_between_threads_may_be() {
    fn sendable<T: Send>() {}
    fn shareable<T: Send + Sync>() {}
    shareable::<Bridge>();
    shareable::<tykbridge::Message>();
    shareable::<Reader<'_>>();
    shareable::<Outcome>();
    shareable::<tykbridge::Error>();
    sendable::<Builder>();
}

#[test]
fn a_request_without_an_api_does_not_go_on() {
    let (bridge, _, _one) = support::started();
    load(bridge, "only", PROTECTED);
    let error = bridge.run_request(&Request::new("GET", "/other")).unwrap_err();
    assert_eq!(error.status(), Status::NotFound);
    assert_eq!(error.words(), "no API listens on /other (APIs: only)");
    assert_eq!(error.to_string(), "no API listens on /other (APIs: only) (TYKB_E_NOT_FOUND)");
    assert!(error.source().is_none());
}

#[test]
fn a_hook_that_fails_is_a_response() {
    let (bridge, recorder, _one) = support::started();
    load(bridge, "failing", r#""pre": [{"name": "fail", "path": "middleware.py"}]"#);
    match bridge.run_request(&Request::new("GET", "/failing/")).unwrap() {
        Outcome::Respond { response } => {
            assert_eq!((response.status, response.body), (500, br#"{"error": "Middleware error"}"#.to_vec()));
        }
        outcome => panic!("{outcome:?}"),
    }
    assert!(recorder.logs.lock().unwrap().iter().any(|(_, line)| line.contains("ValueError: boom")));
}

#[test]
fn what_of_a_configuration_is_not_in_use_is_counted() {
    let (bridge, _, _one) = support::started();
    let folder = support::folder("broken");
    fs::write(folder.join("a.json"), "{").unwrap();
    fs::write(folder.join("policies"), r#"{"bad": 1}"#).unwrap();
    let configuration = Configuration::new(&folder).policies(folder.join("policies"));
    let loaded = bridge.load_configuration(&configuration).unwrap();
    assert_eq!((loaded.refused, loaded.reasons.lines().count()), (2, 2));
    assert!(loaded.reasons.contains("$.bad") && loaded.reasons.contains("a.json"), "{}", loaded.reasons);
    fs::write(folder.join("policies"), "{}").unwrap();
    let loaded = bridge.reload().unwrap();
    assert!(loaded.refused == 1 && loaded.reasons.contains("a.json"), "{}", loaded.reasons);
    fs::remove_file(folder.join("a.json")).unwrap();
    assert_eq!(bridge.reload().unwrap(), Loaded::default());
}

#[test]
fn a_configuration_that_is_not_there_changes_nothing() {
    let (bridge, _, _one) = support::started();
    load(bridge, "stays", PROTECTED);
    let error = bridge.load_configuration(&Configuration::new(support::folder("gone").join("nowhere"))).unwrap_err();
    assert_eq!(error.status(), Status::NotFound);
    assert!(error.words().contains("nowhere"), "{error}");
    let error = bridge.load_configuration(&Configuration::new("a\0b")).unwrap_err();
    assert_eq!(error.status(), Status::Argument);
    assert!(matches!(bridge.run_request(&request("stays", 1)), Ok(Outcome::Continue { .. })));
}

#[test]
fn text_that_a_message_cannot_hold_is_no_request() {
    let (bridge, _, _one) = support::started();
    load(bridge, "text", PROTECTED);
    let error = Builder::new().text(Path::REQUEST_URL, b"\xff").finish().unwrap_err();
    assert!(!error.words().is_empty(), "{error:?}");
    let error = bridge.dispatch(b"\xff", Reply::Full).unwrap_err();
    assert_eq!(error.status(), Status::Malformed);
}

#[test]
fn a_hook_by_itself() {
    let (bridge, _, _one) = support::started();
    let (folder, _) = support::api("single", MIDDLEWARE, r#""pre": []"#);
    bridge.load_bundle(&folder, "single").unwrap();
    let message = |hook: &str| {
        let mut builder = Builder::new();
        builder.number(Path::HOOK_TYPE, 1).text(Path::HOOK_NAME, hook).pair(Path::SPEC, "bundle_hash", "single");
        builder.pair(Path::REQUEST_HEADERS, "X-Number", "7").finish().unwrap()
    };
    let delta = bridge.dispatch(&message("echo"), Reply::Delta).unwrap();
    let items: Vec<_> = Reader::new(&delta).unwrap().map(Result::unwrap).collect();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!((items[0].path, items[0].key, items[0].value), (Path::REQUEST_SET_HEADERS, &b"X-Echo"[..], &b"7"[..]));
    let removed = bridge.dispatch(&message("forget"), Reply::Delta).unwrap();
    let cleared = Reader::new(&removed).unwrap().next().unwrap().unwrap().cleared();
    assert_eq!(cleared, Some(Path::REQUEST_HEADERS));
    let full = bridge.dispatch(&message("echo"), Reply::Full).unwrap();
    assert!(full.len() > delta.len());
    let error = bridge.dispatch(&message("fail"), Reply::Delta).unwrap_err();
    assert_eq!(error.status(), Status::Hook);
    assert!(error.words().contains("ValueError: boom"), "{error}");
    let error = bridge.load_bundle(folder.join("nowhere"), "single").unwrap_err();
    assert!(error.words().contains("nowhere"), "{error}");
}

#[test]
fn the_crate_and_the_library_are_of_one_release() {
    assert_eq!(tykbridge::version(), env!("CARGO_PKG_VERSION"));
    // SAFETY: it takes nothing.
    assert_eq!(unsafe { sys::tykb_abi() }, sys::TYKB_ABI);
}
