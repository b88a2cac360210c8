//! Runs one request through a configuration and prints what becomes of it: run SOURCE METHOD URL ['Name: value' ...]
//!
//! Exit status: 0 when the request goes on, 1 when the client gets a response instead, 2 for an error.

use std::env;
use std::process::exit;

use tykbridge::{set_host, Bridge, Configuration, Headers, Host, Level, Outcome, Request};

/// Log lines and events go to standard error, apart from what becomes of the request.
struct Terminal;

impl Host for Terminal {
    fn log(&self, level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
    }

    fn trigger_event(&self, name: &str, payload: &str) {
        eprintln!("event {name}: {payload}");
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(goes_on) => exit(if goes_on { 0 } else { 1 }),
        Err(error) => {
            eprintln!("run: {error}");
            exit(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<bool, Box<dyn std::error::Error>> {
    let (source, method, url, headers) = match arguments {
        [source, method, url, headers @ ..] => (source, method, url, headers),
        _ => return Err("expected SOURCE METHOD URL ['Name: value' ...]".into()),
    };
    let mut request = Request::new(method, url);
    for header in headers {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("{header:?} is no header"))?;
        request.headers.push((name.trim().into(), value.trim().into()));
    }

    set_host(Terminal)?;
    let bridge = Bridge::start()?;
    let loaded = bridge.load_configuration(&Configuration::new(source))?;
    if loaded.refused > 0 {
        eprintln!("{}", loaded.reasons);
    }
    Ok(match bridge.run_request(&request)? {
        Outcome::Continue { changes, .. } => {
            changes.apply(&mut request);
            print(&format!("continue: {} {}", request.method, request.url), &request.headers, &request.body);
            true
        }
        Outcome::Respond { response } => {
            print(&format!("respond: {}", response.status), &response.headers, &response.body);
            false
        }
    })
}

fn print(line: &str, headers: &Headers, body: &[u8]) {
    println!("{line}");
    for (name, value) in headers {
        println!("{name}: {value}");
    }
    if !body.is_empty() {
        println!("\n{}", String::from_utf8_lossy(body));
    }
}
