//! `sys` against `api.h`: the same names, values, layouts and signatures, as a C compiler sees them.
//!
//! The declarations are read from the text of `src/sys.rs` and written as C behind the header, where one that differs
//! does not compile. Numbers that the Rust compiler worked out are compared with the C compiler's.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::mem::{size_of, MaybeUninit};
use std::path::Path;
use std::process::Command;
use std::ptr::addr_of;

use tykbridge::sys::*;

const SYS: &str = include_str!("../src/sys.rs");

/// The installed header, without its comments.
fn header() -> String {
    let text = fs::read_to_string(Path::new(env!("TYKBRIDGE_INCLUDE")).join("tykbridge/api.h")).unwrap();
    let mut parts = text.split("/*");
    let mut code = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| code.push_str(part.split_once("*/").expect("a comment ends").1));
    code
}

/// Names in C code that start with one of `starts`, each with the first character behind it that is no space.
fn names<'c>(code: &'c str, starts: &'c [&str]) -> impl Iterator<Item = (&'c str, char)> + 'c {
    code.char_indices().filter_map(move |(at, _)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let inside = code[..at].ends_with(is_name);
        let name = code[at..].split(|c| !is_name(c)).next()?;
        let after = code[at + name.len()..].trim_start().chars().next()?;
        (!inside && starts.iter().any(|start| name.starts_with(start))).then_some((name, after))
    })
}

/// What stands between two texts, for each time that the first occurs in sys.rs, without line ends.
fn declared<'s>(start: &'s str, end: &'s str) -> impl Iterator<Item = String> + 's {
    SYS.split(start).skip(1).map(move |rest| {
        let text = rest.split(end).next().unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(", )", ")")
    })
}

fn structs() -> Vec<String> {
    declared("pub struct ", " {").collect()
}

/// A Rust type of sys.rs as C has it; `name` is what is declared to have it.
fn c_type(rust: &str, name: &str) -> String {
    if let Some(target) = rust.strip_prefix("*const ") {
        return format!("const {} *{name}", c_type(target, ""));
    }
    if let Some(target) = rust.strip_prefix("*mut ") {
        return format!("{} *{name}", c_type(target, ""));
    }
    if let Some(function) = rust.strip_prefix("Option<unsafe extern \"C\" fn") {
        return c_function(function.strip_suffix('>').expect("a function's type"), &format!("(*{name})"));
    }
    if let Some((element, count)) = rust.strip_prefix('[').and_then(|array| array.strip_suffix(']')?.split_once("; ")) {
        return format!("{}[{count}]", c_type(element, name));
    }
    let c = match rust {
        "c_char" => "char",
        "c_int" => "int",
        "c_void" => "void",
        "f64" => "double",
        "i64" => "int64_t",
        "u32" => "uint32_t",
        "u64" => "uint64_t",
        "usize" => "size_t",
        "tykb_done" => "tykb_done",
        other if structs().iter().any(|name| name == other) => return format!("struct {other} {name}"),
        other => panic!("no C type is known for {other}"),
    };
    format!("{c} {name}")
}

/// A function's parameters and result, `(name: type, ...) -> type`, as C has them.
fn c_function(rust: &str, name: &str) -> String {
    let (parameters, result) = rust.rsplit_once(") -> ").unwrap_or((rust.trim_end_matches(')'), ""));
    let types: Vec<_> = parameters
        .trim_start_matches('(')
        .split(", ")
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| c_type(parameter.split_once(": ").expect("name: type").1, ""))
        .collect();
    let types = if types.is_empty() { "void".into() } else { types.join(", ") };
    if result.is_empty() {
        format!("void {name}({types})")
    } else {
        c_type(result, &format!("{name}({types})"))
    }
}

/// Compiles C code behind the header; what the compiler has against it.
fn compile(name: &str, code: &str) -> Result<(), String> {
    let source = support::folder(name).join("check.c");
    fs::write(&source, format!("#include <tykbridge/api.h>\n{code}")).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", env!("TYKBRIDGE_INCLUDE")]);
    let done = cc.arg(&source).output().expect("there is a C compiler");
    done.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn functions_are_declared_as_in_the_header() {
    let code = header();
    let functions = names(&code, &["tykb_", "Python_", "Tyk", "CoProcess"]).filter(|&(_, after)| after == '(');
    let mut missing: BTreeSet<_> = functions.map(|(name, _)| name).collect();
    assert!(missing.contains("tykb_run_request") && missing.len() > 30, "{missing:?}");
    let mut again = String::new();
    for function in declared("pub fn ", ";") {
        let (name, parameters) = function.split_at(function.find('(').expect("a function"));
        assert!(missing.remove(name), "{name} is not in api.h, or twice in sys.rs");
        writeln!(again, "{};", c_function(parameters, name)).unwrap();
    }
    assert!(missing.is_empty(), "sys.rs lacks {missing:?}");
    for function in declared("pub type ", ";") {
        let (name, rust) = function.split_once(" = ").expect("a type's name");
        writeln!(again, "typedef {};", c_type(rust, name)).unwrap();
    }
    compile("functions", &again).unwrap();
    let broken = again.replacen("uint32_t", "uint64_t", 1);
    assert!(compile("functions", &broken).unwrap_err().contains("conflicting types"), "the check checks nothing");
}

#[test]
fn structs_have_the_headers_members() {
    let mut checks = String::new();
    for name in structs() {
        let body: String = declared(&format!("pub struct {name} {{"), "}\n").next().unwrap();
        let members: Vec<_> = body.split("pub ").skip(1).map(|member| member.trim_end_matches([' ', ','])).collect();
        for member in &members {
            let (field, rust) = member.split_once(": ").expect("name: type");
            let expected = c_type(rust, "");
            let found = format!("__typeof__(((struct {name} *)0)->{field})");
            writeln!(checks, "_Static_assert(__builtin_types_compatible_p({found}, {expected}), \"{name}.{field}\");")
                .unwrap();
        }
    }
    assert!(checks.lines().count() > 20, "{checks}");
    compile("members", &checks).unwrap();
    let broken = checks.replacen("int64_t", "uint64_t", 1);
    assert!(compile("members", &broken).unwrap_err().contains("number"), "the check checks nothing");
}

macro_rules! layouts {
    ($($name:ident { $($field:ident),* })*) => {{
        let mut checks = String::new();
        let mut hold = |found: String, value: usize| {
            writeln!(checks, "_Static_assert({found} == {value}, \"{found}\");").unwrap();
        };
        $(
            hold(format!("sizeof(struct {})", stringify!($name)), size_of::<$name>());
            let whole = MaybeUninit::<$name>::uninit();
            $(
                // SAFETY: an address is taken, nothing is read.
                let field = unsafe { addr_of!((*whole.as_ptr()).$field) };
                let offset = field as usize - whole.as_ptr() as usize;
                hold(format!("offsetof(struct {}, {})", stringify!($name), stringify!($field)), offset);
            )*
        )*
        checks
    }};
}

#[test]
fn structs_are_laid_out_as_in_c() {
    let checks = layouts! {
        CoProcessMessage { p_data, length }
        tykb_host { size, context, log, trigger_event, store_data, get_data }
        tykb_configuration { size, flags, source, middleware_path, policies, settings }
        tykb_slice { data, size }
        tykb_item { path, key, value, number, real }
        tykb_reader { private_ }
    };
    for name in structs().iter().filter(|name| *name != "tykb_builder") {
        assert!(checks.contains(&format!("sizeof(struct {name})")), "{name} is not checked");
    }
    compile("layouts", &checks).unwrap();
}

macro_rules! values {
    ($($name:ident)*) => { [$((stringify!($name), i64::from($name))),*] };
}

#[test]
fn constants_have_the_headers_values() {
    let all = values! {
        TYKB_OK TYKB_E_ARGUMENT TYKB_E_NOT_STARTED TYKB_E_NO_PYTHON TYKB_E_NO_MEMORY TYKB_E_MALFORMED TYKB_E_NOT_FOUND
        TYKB_E_AMBIGUOUS TYKB_E_HOOK TYKB_E_LOAD TYKB_E_TOO_LARGE TYKB_E_FORKED TYKB_E_GONE TYKB_E_ABI TYKB_E_INTERNAL
        TYKB_ABI TYKB_REPLY_FULL TYKB_REPLY_DELTA TYKB_STRICT TYKB_WATCH TYKB_CONTINUE TYKB_RESPOND
        TYKB_HOOK_TYPE TYKB_HOOK_NAME TYKB_REQUEST TYKB_REQUEST_HEADERS TYKB_REQUEST_SET_HEADERS
        TYKB_REQUEST_DELETE_HEADERS TYKB_REQUEST_BODY TYKB_REQUEST_URL TYKB_REQUEST_PARAMS TYKB_REQUEST_ADD_PARAMS
        TYKB_REQUEST_EXTENDED_PARAMS TYKB_REQUEST_DELETE_PARAMS TYKB_REQUEST_RETURN_OVERRIDES
        TYKB_OVERRIDES_RESPONSE_CODE TYKB_OVERRIDES_RESPONSE_ERROR TYKB_OVERRIDES_HEADERS TYKB_OVERRIDES_OVERRIDE_ERROR
        TYKB_OVERRIDES_RESPONSE_BODY TYKB_REQUEST_METHOD TYKB_REQUEST_REQUEST_URI TYKB_REQUEST_SCHEME
        TYKB_REQUEST_RAW_BODY TYKB_SESSION TYKB_SESSION_METADATA TYKB_METADATA TYKB_SPEC TYKB_RESPONSE
        TYKB_RESPONSE_STATUS_CODE TYKB_RESPONSE_RAW_BODY TYKB_RESPONSE_BODY TYKB_RESPONSE_HEADERS
        TYKB_RESPONSE_MULTIVALUE_HEADERS TYKB_CLEARED
    };
    let code = header();
    let mut missing: BTreeSet<_> = names(&code, &["TYKB_"]).map(|(name, _)| name).collect();
    assert!(missing.remove("TYKB_PATH"), "it is a function in sys.rs");
    let mut checks = String::new();
    for (name, value) in all {
        assert!(missing.remove(name), "{name} is not in api.h");
        writeln!(checks, "_Static_assert((int64_t)({name}) == {value}, \"{name}\");").unwrap();
    }
    assert!(missing.is_empty(), "not checked: {missing:?}");
    compile("constants", &checks).unwrap();
    assert!(compile("constants", &checks.replacen("== 0", "== 1", 1)).unwrap_err().contains("TYKB_OK"));
}

#[test]
fn paths_are_put_together_as_in_c() {
    let path = TYKB_PATH(1, 2, 255);
    compile("paths", &format!("_Static_assert(TYKB_PATH(1, 2, 255) == {path}, \"TYKB_PATH\");")).unwrap();
}
