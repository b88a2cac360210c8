//! What the tests share. Each is a program of its own and uses part of it.
#![allow(dead_code)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use tykbridge::{set_host, Bridge, Host, Level};

pub mod json;

/// The project's folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("hosts/rust lies in the project")
}

/// An empty folder of this name, made anew for each run.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    folder
}

/// A folder with the hooks of `middleware`, and the source of an API with them: (folder, JSON).
pub fn api(name: &str, middleware: &str, hooks: &str) -> (PathBuf, String) {
    let folder = folder(name);
    fs::write(folder.join("middleware.py"), middleware).unwrap();
    let definition = format!(
        r#"{{"name": "{name}", "api_id": "{name}", "org_id": "org", "active": true, "use_keyless": true,
            "proxy": {{"listen_path": "/{name}/", "target_url": "http://upstream.test/"}},
            "custom_middleware": {{"driver": "python", {hooks}}}}}"#
    );
    (folder, definition)
}

/// The Python that the library is going to start: it has the project's packages.
pub fn python() -> Command {
    let named = env::var_os("TYKBRIDGE_PYTHON").map(PathBuf::from);
    Command::new(match named {
        Some(environment) if environment.is_dir() => environment.join("bin/python"),
        Some(interpreter) => interpreter,
        None => PathBuf::from("python3"),
    })
}

/// A host that remembers what it is told.
#[derive(Debug, Default)]
pub struct Recorder {
    pub logs: Mutex<Vec<(Level, String)>>,
    pub events: Mutex<Vec<(String, String)>>,
}

impl Host for Recorder {
    fn log(&self, level: Level, message: &str) {
        self.logs.lock().unwrap().push((level, message.into()));
    }

    fn trigger_event(&self, name: &str, payload: &str) {
        self.events.lock().unwrap().push((name.into(), payload.into()));
    }
}

/// The bridge, started, with a host that remembers; one test at a time, since all of it is the process's.
pub fn started() -> (Bridge, Arc<Recorder>, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|failed| failed.into_inner());
    let recorder = Arc::new(Recorder::default());
    set_host(recorder.clone()).unwrap();
    (Bridge::start().unwrap(), recorder, guard)
}
