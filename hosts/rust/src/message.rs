//! Serialised `coprocess.Object` messages: made by [`Builder`], held by [`Message`], looked through by [`Reader`].

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::raw::{c_int, c_void};
use std::ptr;
use std::slice;
use std::str;

use crate::error::{Error, Result, Status};
use crate::sys;

/// A field of a message: up to three protobuf field numbers, the outermost first.
///
/// The fields of a session are `Path::new(4, number, 0)`, with the numbers of `coprocess.SessionState`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path(u32);

impl Path {
    /// The path of these field numbers, each at most 255; 0 stands for none.
    pub const fn new(a: u8, b: u8, c: u8) -> Path {
        Path(sys::TYKB_PATH(a as u32, b as u32, c as u32))
    }

    /// Whether it is `REQUEST` or in it.
    pub(crate) fn is_of_request(self) -> bool {
        self.0 & 0xff == Path::REQUEST.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, _] = self.0.to_le_bytes();
        write!(f, "Path({a}, {b}, {c})")
    }
}

macro_rules! paths {
    ($($name:ident = $raw:ident,)*) => {
        /// `enum tykb_path` of api.h.
        #[allow(missing_docs)]
        impl Path {
            $(pub const $name: Path = Path(sys::$raw);)*
        }
    };
}

paths! {
    HOOK_TYPE = TYKB_HOOK_TYPE,
    HOOK_NAME = TYKB_HOOK_NAME,
    REQUEST = TYKB_REQUEST,
    REQUEST_HEADERS = TYKB_REQUEST_HEADERS,
    REQUEST_SET_HEADERS = TYKB_REQUEST_SET_HEADERS,
    REQUEST_DELETE_HEADERS = TYKB_REQUEST_DELETE_HEADERS,
    REQUEST_BODY = TYKB_REQUEST_BODY,
    REQUEST_URL = TYKB_REQUEST_URL,
    REQUEST_PARAMS = TYKB_REQUEST_PARAMS,
    REQUEST_ADD_PARAMS = TYKB_REQUEST_ADD_PARAMS,
    REQUEST_EXTENDED_PARAMS = TYKB_REQUEST_EXTENDED_PARAMS,
    REQUEST_DELETE_PARAMS = TYKB_REQUEST_DELETE_PARAMS,
    REQUEST_RETURN_OVERRIDES = TYKB_REQUEST_RETURN_OVERRIDES,
    OVERRIDES_RESPONSE_CODE = TYKB_OVERRIDES_RESPONSE_CODE,
    OVERRIDES_RESPONSE_ERROR = TYKB_OVERRIDES_RESPONSE_ERROR,
    OVERRIDES_HEADERS = TYKB_OVERRIDES_HEADERS,
    OVERRIDES_OVERRIDE_ERROR = TYKB_OVERRIDES_OVERRIDE_ERROR,
    OVERRIDES_RESPONSE_BODY = TYKB_OVERRIDES_RESPONSE_BODY,
    REQUEST_METHOD = TYKB_REQUEST_METHOD,
    REQUEST_REQUEST_URI = TYKB_REQUEST_REQUEST_URI,
    REQUEST_SCHEME = TYKB_REQUEST_SCHEME,
    REQUEST_RAW_BODY = TYKB_REQUEST_RAW_BODY,
    SESSION = TYKB_SESSION,
    SESSION_METADATA = TYKB_SESSION_METADATA,
    METADATA = TYKB_METADATA,
    SPEC = TYKB_SPEC,
    RESPONSE = TYKB_RESPONSE,
    RESPONSE_STATUS_CODE = TYKB_RESPONSE_STATUS_CODE,
    RESPONSE_RAW_BODY = TYKB_RESPONSE_RAW_BODY,
    RESPONSE_BODY = TYKB_RESPONSE_BODY,
    RESPONSE_HEADERS = TYKB_RESPONSE_HEADERS,
    RESPONSE_MULTIVALUE_HEADERS = TYKB_RESPONSE_MULTIVALUE_HEADERS,
    CLEARED = TYKB_CLEARED,
}

/// The bytes of a message that the library made. Dereferences to them.
pub struct Message(sys::CoProcessMessage);

// SAFETY: the bytes are malloc'd and this value's alone; nobody writes to them, and any thread may free them.
unsafe impl Send for Message {}
// SAFETY: as above: through a shared reference they are only read.
unsafe impl Sync for Message {}

impl Message {
    /// Makes a call that answers a status and, in its out-parameter, bytes or words.
    pub(crate) fn out_of(call: impl FnOnce(*mut sys::CoProcessMessage) -> c_int) -> (c_int, Message) {
        let mut out = Message(sys::CoProcessMessage { p_data: ptr::null_mut(), length: 0 });
        (call(&mut out.0), out)
    }

    /// The library's words for a call that failed with `code`.
    pub(crate) fn into_error(self, code: c_int) -> Error {
        Error::new(Status::from_code(code), String::from_utf8_lossy(&self))
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match usize::try_from(self.0.length) {
            // SAFETY: a call that puts bytes into an out-parameter says how many they are.
            Ok(length) if !self.0.p_data.is_null() => unsafe { slice::from_raw_parts(self.0.p_data.cast(), length) },
            _ => &[],
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is what a call of the library filled in, or empty.
        unsafe { sys::tykb_message_clear(&mut self.0) }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}

/// Bytes as an argument of the library, which borrows them for the call and does not write to them.
pub(crate) fn borrowed(bytes: &[u8]) -> Result<sys::CoProcessMessage> {
    let length = c_int::try_from(bytes.len())
        .map_err(|_| Error::new(Status::TooLarge, format!("a message of {} bytes is too large", bytes.len())))?;
    Ok(sys::CoProcessMessage { p_data: bytes.as_ptr() as *mut c_void, length })
}

/// A message in the making. Adding never fails by itself: the first fault is kept, and [`finish`](Builder::finish)
/// answers it.
///
/// ```
/// use tykbridge::{Builder, Path};
///
/// # fn main() -> tykbridge::Result<()> {
/// let message = Builder::new()
///     .text(Path::HOOK_NAME, "Hello")
///     .pair(Path::REQUEST_HEADERS, "X-Name", "Ada")
///     .finish()?;
/// assert_eq!(&message[..7], b"\x12\x05Hello");
/// # Ok(())
/// # }
/// ```
pub struct Builder(*mut sys::tykb_builder);

// SAFETY: one thread at a time may use a builder, whichever that is; there is no method that a shared reference can
// call.
unsafe impl Send for Builder {}

impl Builder {
    /// An empty builder. Without memory for one, `finish` fails.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Builder {
        // SAFETY: it takes nothing. NULL is a builder that every function accepts.
        Builder(unsafe { sys::tykb_builder_new() })
    }

    /// A string or bytes field; of a repeated one, one more value; of a message, its serialised bytes, which are merged
    /// in.
    pub fn text(&mut self, path: Path, value: impl AsRef<[u8]>) -> &mut Builder {
        let value = value.as_ref();
        // SAFETY: pointer and length are those of a slice, which is copied.
        unsafe { sys::tykb_builder_text(self.0, path.0, value.as_ptr().cast(), value.len()) };
        self
    }

    /// An integer, enum or bool field.
    pub fn number(&mut self, path: Path, value: i64) -> &mut Builder {
        // SAFETY: the builder is this value's.
        unsafe { sys::tykb_builder_number(self.0, path.0, value) };
        self
    }

    /// A double field.
    pub fn real(&mut self, path: Path, value: f64) -> &mut Builder {
        // SAFETY: the builder is this value's.
        unsafe { sys::tykb_builder_real(self.0, path.0, value) };
        self
    }

    /// An entry of a map; a key again replaces its value, or adds one where the path is RESPONSE_MULTIVALUE_HEADERS.
    pub fn pair(&mut self, path: Path, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Builder {
        let (key, value) = (key.as_ref(), value.as_ref());
        let (key_data, value_data) = (key.as_ptr().cast(), value.as_ptr().cast());
        // SAFETY: pointers and lengths are those of slices, which are copied.
        unsafe { sys::tykb_builder_pair(self.0, path.0, key_data, key.len(), value_data, value.len()) };
        self
    }

    /// A field of another message as it stands there, whole, and merged in: [`Path::SESSION`] and [`Path::SPEC`], say.
    /// Where the message has no such field, nothing is added.
    pub fn copy(&mut self, path: Path, message: &[u8]) -> &mut Builder {
        let sent = borrowed(message);
        // More bytes than an int counts are no message: the library keeps a NULL as a fault.
        let sent = sent.as_ref().map_or(ptr::null(), |sent| sent as *const _);
        // SAFETY: the message is borrowed for the call, and what is copied is the builder's own.
        unsafe { sys::tykb_builder_copy(self.0, path.0, sent) };
        self
    }

    /// The message. The builder is empty afterwards and may be used again.
    ///
    /// # Errors
    ///
    /// The first fault of what was added, such as a path that is none or text that is not UTF-8.
    pub fn finish(&mut self) -> Result<Message> {
        // SAFETY: the builder is this value's.
        match Message::out_of(|out| unsafe { sys::tykb_builder_finish(self.0, out) }) {
            (sys::TYKB_OK, message) => Ok(message),
            (code, words) => Err(words.into_error(code)),
        }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        // SAFETY: nobody else frees it.
        unsafe { sys::tykb_builder_free(self.0) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Builder")
    }
}

/// One thing that a message says. Which members count depends on the field, as api.h has it; one that does not is
/// empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item<'m> {
    /// The field.
    pub path: Path,
    /// The key of an entry of a map, or the name of a header.
    pub key: &'m [u8],
    /// Text, bytes, or a serialised message.
    pub value: &'m [u8],
    /// A number, enum or bool.
    pub number: i64,
    /// A double.
    pub real: f64,
}

impl<'m> Item<'m> {
    /// The key as text.
    ///
    /// # Errors
    ///
    /// [`Status::Malformed`]: it is not UTF-8.
    pub fn key(&self) -> Result<&'m str> {
        self.utf8(self.key)
    }

    /// The value as text.
    ///
    /// # Errors
    ///
    /// [`Status::Malformed`]: it is not UTF-8.
    pub fn text(&self) -> Result<&'m str> {
        self.utf8(self.value)
    }

    /// The field to empty, where `path` is [`Path::CLEARED`].
    pub fn cleared(&self) -> Option<Path> {
        (self.path == Path::CLEARED).then_some(Path(self.number as u32))
    }

    fn utf8(&self, bytes: &'m [u8]) -> Result<&'m str> {
        str::from_utf8(bytes).map_err(|error| Error::new(Status::Malformed, format!("{:?}: {error}", self.path)))
    }
}

/// A walk through a message, which it borrows: the items point into it.
///
/// ```
/// use tykbridge::{Builder, Path, Reader};
///
/// # fn main() -> tykbridge::Result<()> {
/// let message = Builder::new().pair(Path::REQUEST_HEADERS, "X-Name", "Ada").finish()?;
/// for item in Reader::new(&message)? {
///     let item = item?;
///     assert_eq!((item.path, item.key()?, item.text()?), (Path::REQUEST_HEADERS, "X-Name", "Ada"));
/// }
/// # Ok(())
/// # }
/// ```
///
/// An item does not outlive its message:
///
/// ```compile_fail,E0505
/// # use tykbridge::{Builder, Path, Reader};
/// let message = Builder::new().text(Path::HOOK_NAME, "Hello").finish().unwrap();
/// let item = Reader::new(&message).unwrap().next();
/// drop(message);
/// println!("{item:?}");
/// ```
///
/// A clone goes on by itself from where the reader is.
#[derive(Clone, Debug)]
pub struct Reader<'m> {
    raw: sys::tykb_reader,
    done: bool,
    message: PhantomData<&'m [u8]>,
}

impl<'m> Reader<'m> {
    /// A walk that starts at the beginning.
    ///
    /// # Errors
    ///
    /// [`Status::TooLarge`]: the message has more bytes than an `int` counts.
    pub fn new(message: &'m [u8]) -> Result<Reader<'m>> {
        let mut raw = sys::tykb_reader { private_: [0; 24] };
        // SAFETY: the bytes stay as they are while 'm lasts, which no item outlives.
        unsafe { sys::tykb_reader_init(&mut raw, &borrowed(message)?) };
        Ok(Reader { raw, done: false, message: PhantomData })
    }
}

impl<'m> Iterator for Reader<'m> {
    type Item = Result<Item<'m>>;

    fn next(&mut self) -> Option<Result<Item<'m>>> {
        if self.done {
            return None;
        }
        let nothing = sys::tykb_slice { data: ptr::null(), size: 0 };
        let mut item = sys::tykb_item { path: 0, key: nothing, value: nothing, number: 0, real: 0.0 };
        // SAFETY: the reader was made by tykb_reader_init and its message is still borrowed.
        match unsafe { sys::tykb_reader_next(&mut self.raw, &mut item) } {
            1 => {
                // SAFETY: after a 1 no slice's data is NULL, and both point into the message or to a constant.
                let (key, value) = unsafe { (bytes(item.key), bytes(item.value)) };
                Some(Ok(Item { path: Path(item.path), key, value, number: item.number, real: item.real }))
            }
            code => {
                self.done = true;
                (code != 0).then(|| Err(Error::new(Status::from_code(code), "the bytes are no coprocess.Object")))
            }
        }
    }
}

impl std::iter::FusedIterator for Reader<'_> {}

/// # Safety
///
/// The slice is not NULL and lives as long as 'm.
unsafe fn bytes<'m>(slice: sys::tykb_slice) -> &'m [u8] {
    // SAFETY: the caller's word.
    unsafe { slice::from_raw_parts(slice.data.cast(), slice.size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field_comes_back() {
        let mut builder = Builder::new();
        builder.number(Path::HOOK_TYPE, -1).real(Path::new(4, 3, 0), 0.5);
        builder.text(Path::REQUEST_DELETE_HEADERS, "a").text(Path::REQUEST_DELETE_HEADERS, "b");
        builder.pair(Path::REQUEST_HEADERS, "A", "1").pair(Path::REQUEST_HEADERS, "A", "2");
        builder.pair(Path::RESPONSE_MULTIVALUE_HEADERS, "A", "1").pair(Path::RESPONSE_MULTIVALUE_HEADERS, "A", "2");
        let message = builder.finish().unwrap();
        let mut seen: Vec<_> = Reader::new(&message)
            .unwrap()
            .map(Result::unwrap)
            .map(|item| (item.path, item.key().unwrap(), item.text().unwrap(), item.number, item.real))
            .collect();
        seen.sort_by_key(|item| item.0 .0.to_le_bytes()); // a builder promises no order of fields
        let expected = [
            (Path::HOOK_TYPE, "", "", -1, 0.0),
            (Path::REQUEST_HEADERS, "A", "2", 0, 0.0),
            (Path::REQUEST_DELETE_HEADERS, "", "a", 0, 0.0),
            (Path::REQUEST_DELETE_HEADERS, "", "b", 0, 0.0),
            (Path::new(4, 3, 0), "", "", 0, 0.5),
            (Path::RESPONSE_MULTIVALUE_HEADERS, "A", "1", 0, 0.0),
            (Path::RESPONSE_MULTIVALUE_HEADERS, "A", "2", 0, 0.0),
        ];
        assert_eq!(seen, expected);
        assert!(builder.finish().unwrap().is_empty(), "a builder starts anew");
    }

    #[test]
    fn the_first_fault_is_what_finish_tells() {
        let mut builder = Builder::new();
        builder.text(Path::HOOK_NAME, b"\xff").number(Path::new(99, 0, 0), 1);
        let error = builder.finish().unwrap_err();
        assert_eq!(error.status(), Status::Argument);
        assert!(error.words().contains("UTF-8"), "{error}");
        assert!(builder.text(Path::HOOK_NAME, "good").finish().is_ok());
    }

    #[test]
    fn a_field_is_copied_whole_and_merged_in() {
        let other = b"\x12\x01h\x22\x05\xca\x01\x02ab\x22\x00\x32\x04\x0a\x00\x12\x00";
        let mut builder = Builder::new();
        builder.text(Path::new(4, 11, 0), "org").copy(Path::SESSION, other).copy(Path::RESPONSE, other);
        let message = builder.finish().unwrap();
        let mut seen: Vec<_> =
            Reader::new(&message).unwrap().map(Result::unwrap).map(|item| (item.path, item.text().unwrap())).collect();
        seen.sort_by_key(|item| item.0 .0);
        assert_eq!(seen, [(Path::new(4, 11, 0), "org"), (Path::new(4, 25, 0), "ab")]);
    }

    #[test]
    fn what_cannot_be_copied_is_what_finish_tells() {
        let too_large = vec![0; c_int::MAX as usize + 1]; // nobody touches it
        for (path, message, status) in [
            (Path::SESSION, &b"\x22\x09"[..], Status::Malformed),
            (Path::SESSION_METADATA, b"", Status::Argument),
            (Path::SESSION, &too_large, Status::Argument),
        ] {
            let error = Builder::new().copy(path, message).finish().unwrap_err();
            assert_eq!(error.status(), status, "{path:?}");
            assert!(error.words().starts_with("session"), "{error}");
        }
    }

    #[test]
    fn a_walk_goes_on_where_its_reader_is_moved_or_cloned() {
        let message = b"\x12\x01a\x1a\x04\x2a\x02/b\x12\x01c";
        let mut walk = Box::new(Reader::new(message).unwrap());
        let values = |walk: Reader<'static>| -> Vec<_> { walk.map(|item| item.unwrap().value).collect() };
        assert_eq!(walk.next().unwrap().unwrap().value, b"a");
        let clone = Reader::clone(&walk);
        assert_eq!(values(*walk), [&b"/b"[..], b"c"]);
        assert_eq!(values(clone), [&b"/b"[..], b"c"]);
    }

    #[test]
    fn a_walk_that_fails_ends() {
        let mut walk = Reader::new(b"\x12\x01ab").unwrap();
        assert_eq!(walk.next().unwrap().unwrap().value, b"a");
        assert_eq!(walk.next().unwrap().unwrap_err().status(), Status::Malformed);
        assert_eq!((walk.next(), walk.next()), (None, None));
        assert_eq!(Reader::new(b"").unwrap().next(), None);
    }

    #[test]
    fn text_that_is_not_utf8_is_told_from_text() {
        let item = Item { path: Path::HOOK_NAME, key: b"\xff", value: b"\xff", number: 0, real: 0.0 };
        assert_eq!(item.key().unwrap_err().status(), Status::Malformed);
        assert!(item.text().unwrap_err().words().starts_with("Path(2, 0, 0): "));
    }
}
