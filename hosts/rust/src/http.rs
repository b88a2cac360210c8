//! Requests and responses as a host has them, and how they become messages and come back.

use crate::error::{Error, Result, Status};
use crate::message::{Builder, Message, Path, Reader};

/// Names and values in the order of the wire, repeats included. Names are compared without regard to case.
pub type Headers = Vec<(String, String)>;

/// A request on its way to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The API that [`run_request`](crate::Bridge::run_request) takes; without one, the Host header and the url say.
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
        if let Some(api_id) = &self.api_id {
            builder.pair(Path::SPEC, "APIID", api_id);
        }
        builder.finish()
    }

    fn put(&self, builder: &mut Builder) {
        builder
            .text(Path::REQUEST_METHOD, &self.method)
            .text(Path::REQUEST_URL, &self.url)
            .text(Path::REQUEST_SCHEME, &self.scheme)
            .text(Path::REQUEST_REQUEST_URI, self.request_uri.as_ref().unwrap_or(&self.url))
            .text(Path::REQUEST_RAW_BODY, &self.body);
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
    pub(crate) fn message(&self, request: &Request, ticket: &Ticket) -> Result<Message> {
        if ticket.0.is_empty() {
            // No bytes are a message that names no API, which would then be looked for by the url.
            return Err(Error::new(Status::Malformed, "the ticket is empty"));
        }
        let mut builder = Builder::new();
        request.put(&mut builder);
        put_ticket(&mut builder, &ticket.0);
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
        /// For [`Bridge::run_response`](crate::Bridge::run_response).
        ticket: Ticket,
    },
    /// It does not go on.
    Respond {
        /// What the client gets.
        response: Response,
    },
}

impl Outcome {
    pub(crate) fn go_on(reply: &[u8]) -> Result<Outcome> {
        Ok(Outcome::Continue { changes: Changes::read(reply)?, ticket: Ticket::read(reply)? })
    }
}

/// What the response's call needs of the request's: who sent it, and which API it was.
///
/// Bytes that mean something to the library alone, and to another process with the same configuration too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket(Vec<u8>);

impl Ticket {
    /// A ticket that `as_bytes` gave. Bytes that are none make [`run_response`](crate::Bridge::run_response) fail.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Ticket {
        Ticket(bytes.into())
    }

    /// A serialised `coprocess.Object` with a session, if the request had one, and a spec.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(reply: &[u8]) -> Result<Ticket> {
        let mut builder = Builder::new();
        put_ticket(&mut builder, reply);
        builder.finish().map(|message| Ticket(message.to_vec()))
    }
}

fn put_ticket(builder: &mut Builder, message: &[u8]) {
    builder.copy(Path::SESSION, message).copy(Path::SPEC, message);
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
                Path::REQUEST | Path::REQUEST_BODY => {} // the body is raw_body, too
                path if item.cleared().unwrap_or(path).is_of_request() => {
                    let words = format!("{path:?} is no change that this crate knows: the request must not go on");
                    return Err(Error::new(Status::Abi, words));
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
    fn a_ticket_has_session_and_spec_whole_and_nothing_else() {
        let mut builder = Builder::new();
        builder.text(Path::new(4, 25, 0), "alice").real(Path::new(4, 3, 0), 2.5);
        builder.pair(Path::SESSION_METADATA, "token", "t".repeat(300)).pair(Path::SPEC, "APIID", "api");
        let alone = builder.finish().unwrap();
        let reply = builder
            .text(Path::REQUEST_URL, "/")
            .copy(Path::SESSION, &alone)
            .copy(Path::SPEC, &alone)
            .pair(Path::METADATA, "a", "b")
            .finish()
            .unwrap();
        let ticket = Ticket::read(&reply).unwrap();
        assert_eq!(ticket.as_bytes(), &alone[..]);
        let mut request = request(&[]);
        request.api_id = Some("other".into());
        let message = Response::default().message(&request, &ticket).unwrap();
        assert_eq!(Ticket::read(&message), Ok(ticket), "the API is that of the ticket");
    }

    #[test]
    fn changes_are_read_and_the_body_as_text_is_one_of_them_already() {
        let mut builder = Builder::new();
        builder.text(Path::REQUEST_URL, "/b").text(Path::REQUEST_METHOD, "PUT");
        builder.text(Path::REQUEST_RAW_BODY, "new").text(Path::REQUEST_BODY, "new");
        builder.text(Path::REQUEST_DELETE_HEADERS, "A").pair(Path::REQUEST_SET_HEADERS, "B", "1");
        let expected = Changes {
            url: Some("/b".into()),
            method: Some("PUT".into()),
            body: Some(b"new".to_vec()),
            delete_headers: vec!["A".into()],
            set_headers: headers(&[("B", "1")]),
        };
        assert_eq!(Changes::read(&builder.finish().unwrap()), Ok(expected));
        // No request, an empty one, and what is none of its items.
        for bytes in [&b""[..], b"\x1a\x00", b"\x12\x01h\x22\x00\x32\x00"] {
            assert_eq!(Changes::read(bytes), Ok(Changes::default()), "{bytes:?}");
        }
    }

    #[test]
    fn a_request_does_not_go_on_without_a_change_that_is_not_known() {
        let unknown = [
            &b"\x1a\x06\x0a\x04\x0a\x00\x12\x00"[..], // headers
            b"\x1a\x06\x32\x04\x0a\x00\x12\x00",      // params
            b"\x1a\x03\x6a\x01x",                     // scheme
            b"\x1a\x02\x52\x00",                      // return_overrides, empty
            b"\x1a\x05\x52\x03\x08\xc8\x01",          // a field in it
            b"\x1a\x07\x2a\x02/b\x6a\x01x",           // one behind one that is known
            b"\x1a\x03\x6a\x01x\x1a\x04\x2a\x02/b",   // and before one
            b"\xc2\x3e\x0brequest.url",               // a url that is to be emptied
        ];
        for bytes in unknown {
            let error = Outcome::go_on(bytes).expect_err("it would go on unchanged");
            assert_eq!(error.status(), Status::Abi, "{bytes:?}");
            assert!(error.words().contains("must not go on"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        for bytes in [&[0x22][..], &[0x22, 2, 0], &[0x80; 11], &[0x22, 0xff, 0xff], &[0x23], &[0x11, 0], &[8]] {
            assert_eq!(Ticket::read(bytes).map_err(|error| error.status()), Err(Status::Malformed), "{bytes:?}");
            let forged = Response::default().message(&Request::default(), &Ticket::from_bytes(bytes));
            assert_eq!(forged.expect_err("no ticket").status(), Status::Malformed, "{bytes:?}");
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
