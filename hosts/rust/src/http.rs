//! Requests and responses as a host has them, and how they become messages and come back.

use crate::error::{Error, Result, Status};
use crate::message::{Builder, Message, Path, Reader};

/// Names and values in the order of the wire, repeats included. Names are compared without regard to case.
pub type Headers = Vec<(String, String)>;

/// A request on its way to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The API it goes through; without one, the Host header and the url say.
    pub api_id: Option<String>,
    /// Such as GET.
    pub method: String,
    /// Path and query, as the client sent them.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// What hooks see as the request's URI, where that is not `url`.
    pub request_uri: Option<String>,
    /// All headers.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request over http, without headers and without a body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Request {
        Request { method: method.into(), url: url.into(), scheme: "http".into(), ..Request::default() }
    }

    pub(crate) fn message(&self) -> Result<Message> {
        let mut builder = Builder::new();
        self.put(&mut builder);
        builder.finish()
    }

    fn put(&self, builder: &mut Builder) {
        builder
            .text(Path::REQUEST_METHOD, &self.method)
            .text(Path::REQUEST_URL, &self.url)
            .text(Path::REQUEST_SCHEME, &self.scheme)
            .text(Path::REQUEST_REQUEST_URI, self.request_uri.as_ref().unwrap_or(&self.url))
            .text(Path::REQUEST_RAW_BODY, &self.body);
        if let Some(api_id) = &self.api_id {
            builder.pair(Path::SPEC, "APIID", api_id);
        }
        // A message holds the first value of each; a map of its own would have one entry for each spelling.
        for (at, (name, value)) in self.headers.iter().enumerate() {
            if !self.headers[..at].iter().any(|(before, _)| same(before, name)) {
                builder.pair(Path::REQUEST_HEADERS, name, value);
            }
        }
    }
}

/// A response on its way to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// All headers.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn message(&self, request: &Request, session: Option<&Session>) -> Result<Message> {
        let mut builder = Builder::new();
        request.put(&mut builder);
        if let Some(session) = session {
            builder.text(Path::SESSION, &session.0);
        }
        builder.number(Path::RESPONSE_STATUS_CODE, self.status.into()).text(Path::RESPONSE_RAW_BODY, &self.body);
        for (name, value) in &self.headers {
            builder.pair(Path::RESPONSE_MULTIVALUE_HEADERS, name, value);
        }
        builder.finish()
    }

    pub(crate) fn read(reply: &[u8]) -> Result<Response> {
        let mut response = Response::default();
        for item in Reader::new(reply)? {
            let item = item?;
            match item.path {
                Path::RESPONSE_STATUS_CODE => {
                    response.status = u16::try_from(item.number)
                        .map_err(|_| Error::new(Status::Malformed, format!("{} is no HTTP status", item.number)))?
                }
                Path::RESPONSE_RAW_BODY => response.body = item.value.to_vec(),
                Path::RESPONSE_MULTIVALUE_HEADERS => {
                    response.headers.push((item.key()?.to_owned(), item.text()?.to_owned()))
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request goes on only where this says so"]
pub enum Outcome {
    /// It goes on to the upstream.
    Continue {
        /// What is to be changed in it before.
        changes: Changes,
        /// Who sent it, for [`Bridge::run_response`](crate::Bridge::run_response).
        session: Option<Session>,
    },
    /// It does not go on.
    Respond {
        /// What the client gets.
        response: Response,
    },
}

impl Outcome {
    pub(crate) fn go_on(reply: &[u8]) -> Result<Outcome> {
        Ok(Outcome::Continue { changes: Changes::read(reply)?, session: Session::cut_from(reply)? })
    }
}

/// The session of whoever sent a request: bytes that mean something to the library alone, and to another process with
/// the same configuration too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session(Vec<u8>);

impl Session {
    /// A session that `as_bytes` gave.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Session {
        Session(bytes.into())
    }

    /// The serialised `coprocess.SessionState`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The library's reader hands out a session's fields, each by itself; what a host has to keep is the whole.
    fn cut_from(reply: &[u8]) -> Result<Option<Session>> {
        const SESSION: u64 = 4 << 3 | 2; // field 4, by length
        cut(reply, SESSION)
            .map(|found| found.map(Session))
            .ok_or_else(|| Error::new(Status::Malformed, "the reply is no coprocess.Object"))
    }
}

/// The payloads of all fields with this tag, one behind the other, which is how protobuf merges messages. The outer
/// None: the bytes are no message.
fn cut(mut rest: &[u8], wanted: u64) -> Option<Option<Vec<u8>>> {
    let mut found = None;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let size = match tag & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        if size > rest.len() {
            return None;
        }
        let (payload, after) = rest.split_at(size);
        if tag == wanted {
            found.get_or_insert_with(Vec::new).extend_from_slice(payload);
        }
        rest = after;
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// What hooks changed in a request. What is not named stays as it came: repeated headers, their order, the query's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Path and query, whole.
    pub url: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The body; empty where it was taken away.
    pub body: Option<Vec<u8>>,
    /// Names whose values all go. First of the two.
    pub delete_headers: Vec<String>,
    /// One value instead of all of that name.
    pub set_headers: Headers,
}

impl Changes {
    /// Whether the request stays as it came.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// Makes the changes. A header that is set stands where the first of its name stood, a new one at the end.
    ///
    /// A new body is framed by Content-Length, in place of what framed the old one. A host whose HTTP library frames by
    /// itself drops that header.
    pub fn apply(self, request: &mut Request) {
        request.url = self.url.unwrap_or_else(|| std::mem::take(&mut request.url));
        request.method = self.method.unwrap_or_else(|| std::mem::take(&mut request.method));
        for name in &self.delete_headers {
            delete(&mut request.headers, name);
        }
        for (name, value) in self.set_headers {
            set(&mut request.headers, name, value);
        }
        if let Some(body) = self.body {
            request.body = body;
            delete(&mut request.headers, "Transfer-Encoding");
            set(&mut request.headers, "Content-Length".into(), request.body.len().to_string());
        }
    }

    fn read(reply: &[u8]) -> Result<Changes> {
        let mut changes = Changes::default();
        for item in Reader::new(reply)? {
            let item = item?;
            match item.path {
                Path::REQUEST_URL => changes.url = Some(item.text()?.to_owned()),
                Path::REQUEST_METHOD => changes.method = Some(item.text()?.to_owned()),
                Path::REQUEST_RAW_BODY => changes.body = Some(item.value.to_vec()),
                Path::REQUEST_DELETE_HEADERS => changes.delete_headers.push(item.text()?.to_owned()),
                Path::REQUEST_SET_HEADERS => {
                    changes.set_headers.push((item.key()?.to_owned(), item.text()?.to_owned()))
                }
                _ => {}
            }
        }
        Ok(changes)
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn delete(headers: &mut Headers, name: &str) {
    headers.retain(|(other, _)| !same(other, name));
}

fn set(headers: &mut Headers, name: String, value: String) {
    match headers.iter().position(|(other, _)| same(other, &name)) {
        None => headers.push((name, value)),
        Some(first) => {
            let mut after = headers.split_off(first);
            delete(&mut after, &name);
            headers.push((name, value));
            headers.append(&mut after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn request(pairs: &[(&str, &str)]) -> Request {
        Request { headers: headers(pairs), body: b"old".to_vec(), ..Request::new("POST", "/a?b=1&b=2") }
    }

    fn applied(changes: Changes) -> Request {
        let mut changed = request(&[("A", "1"), ("X-Old", "1"), ("B", "1"), ("x-old", "2"), ("A", "2")]);
        changes.apply(&mut changed);
        changed
    }

    #[test]
    fn no_change_leaves_everything_where_it_was() {
        let before = request(&[("A", "1"), ("X-Old", "1"), ("B", "1"), ("x-old", "2"), ("A", "2")]);
        assert!(Changes::default().is_empty());
        assert_eq!(applied(Changes::default()), before);
    }

    #[test]
    fn a_set_header_stands_where_the_first_of_its_name_stood() {
        let set_headers = headers(&[("X-OLD", "new"), ("C", "1")]);
        let changed = applied(Changes { set_headers, ..Changes::default() });
        assert_eq!(changed.headers, headers(&[("A", "1"), ("X-OLD", "new"), ("B", "1"), ("A", "2"), ("C", "1")]));
    }

    #[test]
    fn a_deleted_header_goes_with_all_its_values_before_others_are_set() {
        let delete_headers = vec!["a".to_string(), "x-OLD".to_string()];
        let set_headers = headers(&[("A", "new")]);
        let changed = applied(Changes { delete_headers, set_headers, ..Changes::default() });
        assert_eq!(changed.headers, headers(&[("B", "1"), ("A", "new")]));
    }

    #[test]
    fn a_new_body_is_framed_anew() {
        let mut changed = request(&[("transfer-encoding", "chunked"), ("content-length", "3"), ("A", "1")]);
        Changes { body: Some(b"longer".to_vec()), ..Changes::default() }.apply(&mut changed);
        assert_eq!(changed.headers, headers(&[("Content-Length", "6"), ("A", "1")]));
        assert_eq!(changed.body, b"longer");
        Changes { body: Some(Vec::new()), ..Changes::default() }.apply(&mut changed);
        assert_eq!(changed.headers, headers(&[("Content-Length", "0"), ("A", "1")]));
        assert_eq!(changed.body, b"");
    }

    #[test]
    fn a_message_has_the_first_value_of_each_header() {
        let message = request(&[("X-A", "1"), ("x-a", "2"), ("B", "3")]).message().unwrap();
        let mut sent = Headers::new();
        for item in Reader::new(&message).unwrap().map(Result::unwrap) {
            if item.path == Path::REQUEST_HEADERS {
                sent.push((item.key().unwrap().into(), item.text().unwrap().into()));
            }
        }
        assert_eq!(sent, headers(&[("X-A", "1"), ("B", "3")]));
    }

    #[test]
    fn a_session_is_cut_out_whole_and_put_back() {
        let mut builder = Builder::new();
        let alias = Path::new(4, 25, 0);
        builder.text(Path::REQUEST_URL, "/").real(Path::new(4, 3, 0), 2.5).text(alias, "alice");
        builder.pair(Path::SESSION_METADATA, "token", "t".repeat(300)).text(Path::RESPONSE_BODY, "x");
        let reply = builder.finish().unwrap();
        let session = Session::cut_from(&reply).unwrap().expect("there is one");
        let again = builder.text(Path::SESSION, session.as_bytes()).finish().unwrap();
        assert_eq!(Session::cut_from(&again).unwrap(), Some(session));
        let alias = Reader::new(&again).unwrap().map(Result::unwrap).find(|item| item.path == alias);
        assert_eq!(alias.map(|item| item.value), Some(&b"alice"[..]));
    }

    #[test]
    fn sessions_that_come_in_parts_are_merged_and_an_empty_one_is_there() {
        const TAG: u8 = 4 << 3 | 2;
        assert_eq!(Session::cut_from(&[]).unwrap(), None);
        assert_eq!(Session::cut_from(&[TAG, 0]).unwrap(), Some(Session(vec![])));
        // Between the parts, a field of every wire type: a varint, eight bytes, four bytes.
        let reply = [&[TAG, 1, 7, 8, 0x80, 1, 0x11][..], &[1; 8], &[0x15], &[1; 4], &[TAG, 2, 8, 9]].concat();
        assert_eq!(Session::cut_from(&reply).unwrap(), Some(Session(vec![7, 8, 9])));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        for bytes in [&[0x22][..], &[0x22, 2, 0], &[0x80; 11], &[0x22, 0xff, 0xff], &[0x23], &[0x11, 0], &[8]] {
            let error = Session::cut_from(bytes).expect_err("no message");
            assert_eq!(error.status(), Status::Malformed, "{bytes:?}");
            assert!(Response::read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_status_that_no_client_understands_is_refused() {
        for number in [-1, 70_000] {
            let reply = Builder::new().number(Path::RESPONSE_STATUS_CODE, number).finish().unwrap();
            assert_eq!(Response::read(&reply).map_err(|error| error.status()), Err(Status::Malformed));
        }
    }
}
