//! The table of cases, `tests/cases` of the project: what becomes of a request, judged as every other host's runner
//! does.

mod support;

use std::fs;

use support::json::Json;
use support::Recorder;
use tykbridge::{Bridge, Configuration, Headers, Outcome, Request, Response};

/// What does not hold for a case.
type Check = Result<(), String>;

#[test]
fn table_of_cases() {
    let (bridge, recorder, _one) = support::started();
    let folder = support::folder("table").join("cases");
    let done = support::python().args(["-m", "tests.cases"]).arg(&folder).current_dir(support::project()).output();
    let done = done.expect("the library's Python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let cases = Json::parse(&fs::read_to_string(folder.join("cases.json")).unwrap());

    let mut failed = Vec::new();
    let mut modes = [("compatible", 0), ("strict", 0)];
    for (mode, count) in &mut modes {
        let configuration = Configuration::new(folder.join("apis")).strict(*mode == "strict");
        let loaded = bridge.load_configuration(&configuration).unwrap();
        assert_eq!((loaded.refused, loaded.reasons.as_str()), (0, ""));
        for case in cases.list().iter().filter(|case| case.get("mode") == Some(&Json::Text(mode.to_string()))) {
            *count += 1;
            if let Err(reason) = check_case(bridge, &recorder, case) {
                failed.push(format!("{}: {reason}", case.get("name").unwrap().text()));
            }
        }
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
    assert!(modes.iter().all(|&(_, count)| count > 20), "{modes:?}");
}

fn check_case(bridge: Bridge, recorder: &Recorder, case: &Json) -> Check {
    let api_id = case.get("definition").unwrap().get("api_id").unwrap().text();
    for exchange in case.get("exchanges").unwrap().list() {
        recorder.logs.lock().unwrap().clear();
        recorder.events.lock().unwrap().clear();
        check_exchange(bridge, api_id, exchange)?;
        if let Some(events) = exchange.get("events") {
            let fired = recorder.events.lock().unwrap().iter().map(|(name, _)| Json::Text(name.clone())).collect();
            equal("events", &Json::List(fired), events)?;
        }
        if let Some(words) = exchange.get("log") {
            let logs = recorder.logs.lock().unwrap();
            if !logs.iter().any(|(_, line)| line.contains(words.text())) {
                return Err(format!("no line of the log has {words:?}: {logs:?}"));
            }
        }
    }
    Ok(())
}

fn check_exchange(bridge: Bridge, api_id: &str, exchange: &Json) -> Check {
    let sent = exchange.get("request").unwrap();
    let mut request = patched(&Request { api_id: Some(api_id.into()), ..Request::new("", "") }, sent);
    let outcome = bridge.run_request(&request).map_err(|error| error.to_string())?;

    let (client, ticket) = match (outcome, exchange.get("upstream")) {
        (Outcome::Continue { changes, ticket }, Some(upstream)) => {
            let expected = patched(&request, upstream);
            changes.apply(&mut request);
            equal("headers", &unordered(&request.headers), &unordered(&expected.headers))?;
            request.headers = expected.headers.clone();
            equal("request", &request, &expected)?;
            (None, Some(ticket))
        }
        (Outcome::Respond { response }, None) => (Some(response), None),
        (outcome, _) => return Err(format!("{outcome:?}")),
    };
    let (client, before) = match (exchange.get("response"), ticket) {
        (Some(response), Some(ticket)) => {
            let upstream = response_of(&Response::default(), response);
            let client = bridge.run_response(&request, &ticket, &upstream);
            (Some(client.map_err(|error| error.to_string())?), upstream)
        }
        (None, _) => (client, Response::default()),
        (Some(_), None) => return Err("it does not go on, and the upstream answers".into()),
    };
    match (exchange.get("client"), client) {
        (Some(expected), Some(client)) => check_client(&client, expected, &before),
        (Some(_), None) => Err("the client gets nothing".into()),
        (None, _) => Ok(()),
    }
}

/// Holds a response against what a case says of it; what it does not say is that of the upstream's, if there was one.
fn check_client(client: &Response, expected: &Json, before: &Response) -> Check {
    let whole = response_of(before, expected);
    equal("status", &client.status, &whole.status)?;
    let template = expected.get("body").filter(|body| matches!(body, Json::Map(_)));
    let relayed = template.is_none() && before.status != 0;
    if relayed || expected.get("headers").is_some() {
        equal("headers", &unordered(&client.headers), &unordered(&whole.headers))?;
    }
    match template {
        Some(body) => equal("body", &Json::parse(&String::from_utf8_lossy(&client.body)), body),
        None if relayed || expected.get("body").is_some() => equal("body", &client.body, &whole.body),
        None => Ok(()),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}:\n  got      {got:?}\n  expected {expected:?}"))
}

/// Headers whose order does not tell anything.
fn unordered(headers: &Headers) -> Headers {
    let mut sorted = headers.clone();
    sorted.sort();
    sorted
}

/// A request, but for what the item says.
fn patched(request: &Request, item: &Json) -> Request {
    let text = |key: &str| item.get(key).map(|value| value.text().to_owned());
    Request {
        method: text("method").unwrap_or_else(|| request.method.clone()),
        url: text("url").unwrap_or_else(|| request.url.clone()),
        request_uri: text("request_uri").or_else(|| request.request_uri.clone()),
        headers: headers_of(item).unwrap_or_else(|| request.headers.clone()),
        body: body_of(item).unwrap_or_else(|| request.body.clone()),
        ..request.clone()
    }
}

fn response_of(before: &Response, item: &Json) -> Response {
    Response {
        status: item.get("status").map_or(before.status, |status| status.number() as u16),
        headers: headers_of(item).unwrap_or_else(|| before.headers.clone()),
        body: body_of(item).unwrap_or_else(|| before.body.clone()),
    }
}

fn headers_of(item: &Json) -> Option<Headers> {
    let pair = |pair: &Json| (pair.list()[0].text().to_owned(), pair.list()[1].text().to_owned());
    Some(item.get("headers")?.list().iter().map(pair).collect())
}

fn body_of(item: &Json) -> Option<Vec<u8>> {
    match (item.get("body_base64"), item.get("body")) {
        (Some(encoded), _) => Some(base64(encoded.text())),
        (None, Some(Json::Text(body))) => Some(body.clone().into_bytes()),
        _ => None,
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<_> = text.trim_end_matches('=').chars().map(|c| DIGITS.find(c).expect("base64") as u32).collect();
    let group = |digits: &[u32]| {
        let bits = digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        bits.to_be_bytes()[1..digits.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
