//! `csrc/api.h`, name by name: its comments say what each does and what holds for all of them.
//!
//! Written by hand, since the header is one page that changes rarely; `tests/header.rs` has a C compiler hold every
//! name, value, layout and signature against it.
#![allow(non_camel_case_types, non_snake_case, missing_docs)]

use std::os::raw::{c_char, c_int, c_void};

// ---- The classic interface

#[repr(C)]
#[derive(Debug)]
pub struct CoProcessMessage {
    pub p_data: *mut c_void,
    pub length: c_int,
}

extern "C" {
    pub fn Python_Init() -> c_int;
    pub fn Python_SetEnv(path: *mut c_char);
    pub fn Python_LoadDispatcher() -> c_int;
    pub fn Python_NewDispatcher(root: *mut c_char) -> c_int;
    pub fn Python_ReloadDispatcher();
    pub fn Python_DispatchHook(message: *mut CoProcessMessage, out: *mut CoProcessMessage) -> c_int;
    pub fn Python_DispatchEvent(json: *mut c_char);

    pub fn TykStoreData(key: *mut c_char, value: *mut c_char, ttl: c_int);
    pub fn TykGetData(key: *mut c_char) -> *mut c_char;
    pub fn TykTriggerEvent(event_name: *mut c_char, payload: *mut c_char);
    pub fn CoProcessLog(msg: *mut c_char, level: *mut c_char);
}

// ---- Statuses and versions

pub const TYKB_OK: c_int = 0;
pub const TYKB_E_ARGUMENT: c_int = -1;
pub const TYKB_E_NOT_STARTED: c_int = -2;
pub const TYKB_E_NO_PYTHON: c_int = -3;
pub const TYKB_E_NO_MEMORY: c_int = -4;
pub const TYKB_E_MALFORMED: c_int = -5;
pub const TYKB_E_NOT_FOUND: c_int = -6;
pub const TYKB_E_AMBIGUOUS: c_int = -7;
pub const TYKB_E_HOOK: c_int = -8;
pub const TYKB_E_LOAD: c_int = -9;
pub const TYKB_E_TOO_LARGE: c_int = -10;
pub const TYKB_E_FORKED: c_int = -11;
pub const TYKB_E_GONE: c_int = -12;
pub const TYKB_E_ABI: c_int = -13;
pub const TYKB_E_INTERNAL: c_int = -14;

pub const TYKB_ABI: u32 = 1;

extern "C" {
    pub fn tykb_status_name(status: c_int) -> *const c_char;
    pub fn tykb_version() -> *const c_char;
    pub fn tykb_abi() -> u32;
}

// ---- Starting, loading, dispatching

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tykb_host {
    pub size: u32,
    pub context: *mut c_void,
    pub log: Option<unsafe extern "C" fn(context: *mut c_void, message: *const c_char, level: *const c_char)>,
    pub trigger_event: Option<unsafe extern "C" fn(context: *mut c_void, name: *const c_char, payload: *const c_char)>,
    pub store_data:
        Option<unsafe extern "C" fn(context: *mut c_void, key: *const c_char, value: *const c_char, ttl: c_int)>,
    pub get_data: Option<unsafe extern "C" fn(context: *mut c_void, key: *const c_char) -> *mut c_char>,
}

pub const TYKB_REPLY_FULL: u32 = 0;
pub const TYKB_REPLY_DELTA: u32 = 1;

extern "C" {
    pub fn tykb_init(out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_set_host(host: *const tykb_host) -> c_int;
    pub fn tykb_load_bundle(path: *const c_char, name: *const c_char, out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_dispatch(message: *const CoProcessMessage, flags: u32, out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_message_clear(message: *mut CoProcessMessage);
}

// ---- APIs: all the hooks of one, in one call

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tykb_configuration {
    pub size: u32,
    pub flags: u32,
    pub source: *const c_char,
    pub middleware_path: *const c_char,
    pub policies: *const c_char,
    pub settings: *const c_char,
}

pub const TYKB_STRICT: u32 = 1;
pub const TYKB_WATCH: u32 = 2;
pub const TYKB_CONTINUE: c_int = 0;
pub const TYKB_RESPOND: c_int = 1;

extern "C" {
    pub fn tykb_load_configuration(configuration: *const tykb_configuration, out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_reload(out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_run_request(message: *const CoProcessMessage, out: *mut CoProcessMessage) -> c_int;
    pub fn tykb_run_response(message: *const CoProcessMessage, out: *mut CoProcessMessage) -> c_int;
}

pub type tykb_done = Option<unsafe extern "C" fn(context: *mut c_void, status: c_int, out: *mut CoProcessMessage)>;

extern "C" {
    pub fn tykb_start_request(
        message: *const CoProcessMessage,
        done: tykb_done,
        context: *mut c_void,
        out: *mut CoProcessMessage,
    ) -> c_int;
    pub fn tykb_start_response(
        message: *const CoProcessMessage,
        done: tykb_done,
        context: *mut c_void,
        out: *mut CoProcessMessage,
    ) -> c_int;
}

// ---- Messages without a protobuf library

pub const fn TYKB_PATH(a: u32, b: u32, c: u32) -> u32 {
    a | b << 8 | c << 16
}

pub const TYKB_HOOK_TYPE: u32 = TYKB_PATH(1, 0, 0);
pub const TYKB_HOOK_NAME: u32 = TYKB_PATH(2, 0, 0);
pub const TYKB_REQUEST: u32 = TYKB_PATH(3, 0, 0);
pub const TYKB_REQUEST_HEADERS: u32 = TYKB_PATH(3, 1, 0);
pub const TYKB_REQUEST_SET_HEADERS: u32 = TYKB_PATH(3, 2, 0);
pub const TYKB_REQUEST_DELETE_HEADERS: u32 = TYKB_PATH(3, 3, 0);
pub const TYKB_REQUEST_BODY: u32 = TYKB_PATH(3, 4, 0);
pub const TYKB_REQUEST_URL: u32 = TYKB_PATH(3, 5, 0);
pub const TYKB_REQUEST_PARAMS: u32 = TYKB_PATH(3, 6, 0);
pub const TYKB_REQUEST_ADD_PARAMS: u32 = TYKB_PATH(3, 7, 0);
pub const TYKB_REQUEST_EXTENDED_PARAMS: u32 = TYKB_PATH(3, 8, 0);
pub const TYKB_REQUEST_DELETE_PARAMS: u32 = TYKB_PATH(3, 9, 0);
pub const TYKB_REQUEST_RETURN_OVERRIDES: u32 = TYKB_PATH(3, 10, 0);
pub const TYKB_OVERRIDES_RESPONSE_CODE: u32 = TYKB_PATH(3, 10, 1);
pub const TYKB_OVERRIDES_RESPONSE_ERROR: u32 = TYKB_PATH(3, 10, 2);
pub const TYKB_OVERRIDES_HEADERS: u32 = TYKB_PATH(3, 10, 3);
pub const TYKB_OVERRIDES_OVERRIDE_ERROR: u32 = TYKB_PATH(3, 10, 4);
pub const TYKB_OVERRIDES_RESPONSE_BODY: u32 = TYKB_PATH(3, 10, 5);
pub const TYKB_REQUEST_METHOD: u32 = TYKB_PATH(3, 11, 0);
pub const TYKB_REQUEST_REQUEST_URI: u32 = TYKB_PATH(3, 12, 0);
pub const TYKB_REQUEST_SCHEME: u32 = TYKB_PATH(3, 13, 0);
pub const TYKB_REQUEST_RAW_BODY: u32 = TYKB_PATH(3, 14, 0);
pub const TYKB_SESSION: u32 = TYKB_PATH(4, 0, 0);
pub const TYKB_SESSION_METADATA: u32 = TYKB_PATH(4, 23, 0);
pub const TYKB_METADATA: u32 = TYKB_PATH(5, 0, 0);
pub const TYKB_SPEC: u32 = TYKB_PATH(6, 0, 0);
pub const TYKB_RESPONSE: u32 = TYKB_PATH(7, 0, 0);
pub const TYKB_RESPONSE_STATUS_CODE: u32 = TYKB_PATH(7, 1, 0);
pub const TYKB_RESPONSE_RAW_BODY: u32 = TYKB_PATH(7, 2, 0);
pub const TYKB_RESPONSE_BODY: u32 = TYKB_PATH(7, 3, 0);
pub const TYKB_RESPONSE_HEADERS: u32 = TYKB_PATH(7, 4, 0);
pub const TYKB_RESPONSE_MULTIVALUE_HEADERS: u32 = TYKB_PATH(7, 5, 0);
pub const TYKB_CLEARED: u32 = 0xffffff;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tykb_slice {
    pub data: *const c_char,
    pub size: usize,
}

/// A C type of which nothing but pointers are seen.
#[repr(C)]
#[derive(Debug)]
pub struct tykb_builder {
    opaque: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tykb_item {
    pub path: u32,
    pub key: tykb_slice,
    pub value: tykb_slice,
    pub number: i64,
    pub real: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tykb_reader {
    pub private_: [u64; 24],
}

extern "C" {
    pub fn tykb_builder_new() -> *mut tykb_builder;
    pub fn tykb_builder_free(builder: *mut tykb_builder);
    pub fn tykb_builder_text(builder: *mut tykb_builder, path: u32, data: *const c_char, size: usize);
    pub fn tykb_builder_number(builder: *mut tykb_builder, path: u32, value: i64);
    pub fn tykb_builder_real(builder: *mut tykb_builder, path: u32, value: f64);
    pub fn tykb_builder_pair(
        builder: *mut tykb_builder,
        path: u32,
        key: *const c_char,
        key_size: usize,
        value: *const c_char,
        value_size: usize,
    );
    pub fn tykb_builder_copy(builder: *mut tykb_builder, path: u32, message: *const CoProcessMessage);
    pub fn tykb_builder_finish(builder: *mut tykb_builder, out: *mut CoProcessMessage) -> c_int;

    pub fn tykb_reader_init(reader: *mut tykb_reader, message: *const CoProcessMessage);
    pub fn tykb_reader_next(reader: *mut tykb_reader, item: *mut tykb_item) -> c_int;
}
