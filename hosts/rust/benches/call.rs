//! What the safe crate adds to `tykb_run_request`: the same request, once as a message made beforehand, once from a
//! `Request` to an `Outcome`, and with no call between the two, the making and reading alone.
//!
//! Prints minima over many turns, as ratios to the bare call.

use std::fs;
use std::os::raw::c_void;
use std::path::Path;
use std::time::{Duration, Instant};

use tykbridge::{sys, Bridge, Builder, Changes, Configuration, Message, Outcome, Reader, Request};

const TURNS: usize = 400;
const CALLS: u32 = 50;

const HEADERS: [(&str, &str); 10] = [
    ("Host", "example.org"),
    ("User-Agent", "curl/8.5.0"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, br"),
    ("Authorization", "Bearer 0123456789abcdef0123456789abcdef"),
    ("Content-Type", "application/json"),
    ("Content-Length", "200"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Request-Id", "7f3c0e0a-2f4e-4e0e-9a55-0d3a1c6b8e21"),
    ("Cookie", "session=abc; theme=dark"),
];

const MIDDLEWARE: &str = "
from tyk.decorators import Hook


@Hook
def add_header(request, session, spec):
    request.add_header('X-Added', 'yes')
    return request, session
";

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/rust/bench");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("middleware.py"), MIDDLEWARE).unwrap();
    let bridge = Bridge::start().unwrap();

    for (name, hooks) in
        [("no hook", ""), ("one hook, one header", r#"{"name": "add_header", "path": "middleware.py"}"#)]
    {
        let definition = format!(
            r#"{{"name": "bench", "api_id": "bench", "active": true, "use_keyless": true,
                "proxy": {{"listen_path": "/bench/", "target_url": "http://upstream.test/"}},
                "custom_middleware": {{"driver": "python", "pre": [{hooks}]}}}}"#
        );
        let loaded = bridge.load_configuration(&Configuration::new(definition).middleware_path(&folder)).unwrap();
        assert_eq!(loaded.reasons, "");
        measure(bridge, name);
    }
}

fn measure(bridge: Bridge, name: &str) {
    let mut request = Request::new("POST", "/bench/things?a=1&b=2");
    request.api_id = Some("bench".into());
    request.body = vec![b'x'; 200];
    request.headers = HEADERS.map(|(name, value)| (name.into(), value.into())).into();
    let message = message(&request);
    let reply = bare(&message);
    let works: [(&str, &dyn Fn()); 3] = [
        ("bare call", &|| drop(bare(&message))),
        ("safe call", &|| drop(bridge.run_request(&request))),
        ("make and read", &|| drop((self::message(&request), read(&reply)))),
    ];
    let mut least = [Duration::MAX; 3];
    for _ in 0..TURNS {
        for ((_, work), least) in works.iter().zip(&mut least) {
            let start = Instant::now();
            (0..CALLS).for_each(|_| work());
            *least = (*least).min(start.elapsed());
        }
    }
    let [bare, safe, alone] = least.map(|time| time.as_secs_f64());
    println!("{name}: bare call 1, safe call {:.3}, make and read {:.3}", safe / bare, alone / bare);
    let changes = match bridge.run_request(&request).unwrap() {
        Outcome::Continue { changes, .. } => changes,
        Outcome::Respond { response } => panic!("{response:?}"),
    };
    assert_eq!(changes, read(&reply), "all three do the same");
}

/// As the crate makes it, by what everybody can call.
fn message(request: &Request) -> Message {
    use tykbridge::Path as Field;
    let mut builder = Builder::new();
    builder
        .text(Field::REQUEST_METHOD, &request.method)
        .text(Field::REQUEST_URL, &request.url)
        .text(Field::REQUEST_SCHEME, &request.scheme)
        .text(Field::REQUEST_REQUEST_URI, &request.url)
        .text(Field::REQUEST_RAW_BODY, &request.body)
        .pair(Field::SPEC, "APIID", "bench");
    for (name, value) in &request.headers {
        builder.pair(Field::REQUEST_HEADERS, name, value);
    }
    builder.finish().unwrap()
}

fn read(reply: &[u8]) -> Changes {
    let mut changes = Changes::default();
    for item in Reader::new(reply).unwrap().map(Result::unwrap) {
        if item.path == tykbridge::Path::REQUEST_SET_HEADERS {
            changes.set_headers.push((item.key().unwrap().into(), item.text().unwrap().into()));
        }
    }
    changes
}

/// The C call and nothing else; what it replied.
fn bare(message: &[u8]) -> Vec<u8> {
    let sent = sys::CoProcessMessage { p_data: message.as_ptr() as *mut c_void, length: message.len() as i32 };
    let mut out = sys::CoProcessMessage { p_data: std::ptr::null_mut(), length: 0 };
    // SAFETY: the message outlives the call; the reply is copied before it is freed.
    unsafe {
        assert_eq!(sys::tykb_run_request(&sent, &mut out), sys::TYKB_CONTINUE);
        let reply = std::slice::from_raw_parts(out.p_data.cast::<u8>(), out.length as usize).to_vec();
        sys::tykb_message_clear(&mut out);
        reply
    }
}
