//! Finds libtykbridge.so.1 and tells the linker. README.md, "Where the library is", says in which order it looks.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};

const SONAME: &str = "libtykbridge.so.1";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["TYKBRIDGE_LIB_DIR", "VIRTUAL_ENV", "PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = find().unwrap_or_else(|reason| {
        eprintln!("tykbridge: {SONAME} was not found: {reason}");
        eprintln!("Name its folder (TYKBRIDGE_LIB_DIR=...), or activate the virtual environment that has tykbridge.");
        exit(1);
    });
    println!("cargo:rerun-if-changed={}", folder.join(SONAME).display());

    // The linker looks for a name without a version, which an installation does not have.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let link = out.join("libtykbridge.so");
    let _ = fs::remove_file(&link);
    symlink(folder.join(SONAME), &link).expect("OUT_DIR is ours to write to");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=dylib=tykbridge");

    // For the tests and examples of this crate; a host gets the folder as DEP_TYKBRIDGE_LIB_DIR.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    println!("cargo:rustc-env=TYKBRIDGE_INCLUDE={}", folder.join("include").display());
    println!("cargo:lib_dir={}", folder.display());
}

/// The folder of the library, or why there is none.
fn find() -> Result<PathBuf, String> {
    if let Some(folder) = env::var_os("TYKBRIDGE_LIB_DIR") {
        return checked(PathBuf::from(folder), "TYKBRIDGE_LIB_DIR");
    }
    if let Some(environment) = env::var_os("VIRTUAL_ENV") {
        let program = Path::new(&environment).join("bin/tykbridge");
        if program.exists() {
            return ask(program.as_os_str());
        }
    }
    ask(OsStr::new("tykbridge"))
}

/// Asks the program `tykbridge` of an installation.
fn ask(program: &OsStr) -> Result<PathBuf, String> {
    let name = program.to_string_lossy();
    let done = Command::new(program).arg("--library").output().map_err(|error| format!("{name}: {error}"))?;
    if !done.status.success() {
        return Err(format!("{name} --library: {}", String::from_utf8_lossy(&done.stderr).trim_end()));
    }
    let library = PathBuf::from(String::from_utf8_lossy(&done.stdout).trim_end());
    checked(library.parent().unwrap_or(Path::new("")).to_path_buf(), &name)
}

fn checked(folder: PathBuf, source: &str) -> Result<PathBuf, String> {
    match folder.join(SONAME).canonicalize() {
        // Whole, since the rpath is looked at from wherever the host runs; its links stay as they were named.
        Ok(_) if folder.is_absolute() => Ok(folder),
        Ok(_) => folder.canonicalize().map_err(|error| error.to_string()),
        Err(error) => Err(format!("{source} says {}: {error}", folder.display())),
    }
}
