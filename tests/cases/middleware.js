// The hooks that the table of cases puts together, in JavaScript.

function none(value) {
  return value === undefined ? "None" : value;
}

function joined(map) {
  return Object.keys(map).sort().map(function (name) { return name + "=" + map[name]; }).join(" ");
}

function report(request, text) {
  request.SetHeaders["X-Report"] = text;
}

// Makes a middleware whose function changes the request, which it then returns.
function onRequest(change) {
  var made = new TykJS.TykMiddleware.NewMiddleware({});
  made.NewProcessRequest(function (request, session, config) {
    var meta = change(request, session, config);
    return made.ReturnData(request, meta || {});
  });
  return made;
}

function onResponse(change) {
  var made = new TykJS.TykMiddleware.NewMiddleware({});
  made.NewProcessResponse(function (response, request, session, config) {
    change(response, request, session, config);
    return made.ReturnResponseData(response, session.meta_data);
  });
  return made;
}

function onAuth(identify) {
  var made = new TykJS.TykMiddleware.NewMiddleware({});
  made.NewProcessRequest(function (request, session, config) {
    var other = identify(request, session, config);
    return made.ReturnAuthData(request, other || session);
  });
  return made;
}

// ---- Requests

var nothing = onRequest(function () {});

// As plugins write it.
var add_header = new TykJS.TykMiddleware.NewMiddleware({});
add_header.NewProcessRequest(function(request, session, config) {
  request.SetHeaders["X-Added"] = "yes";
  return add_header.ReturnData(request, session.meta_data);
});

var replace_header = onRequest(function (request) {
  request.SetHeaders["x-old"] = "new";
});

var delete_header = onRequest(function (request) {
  i = 0;
  request.DeleteHeaders[i++] = "X-OLD";
});

var report_header = onRequest(function (request) {
  report(request, "" + none(request.Headers["X-Added"]));
});

var see_own_header = onRequest(function (request) {
  request.SetHeaders["X-Added"] = "yes";
  report(request, none(request.Headers["X-Added"]));
});

var write_headers_map = onRequest(function (request) {
  request.Headers["X-Added"] = ["not applied"];
});

var set_body = onRequest(function (request) {
  request.Body = "from the hook";
});

const set_raw_body = onRequest((request) => {
  request.Body = new Uint8Array([0xff, 0, 0x72, 0x61, 0x77]);
});

var clear_body = onRequest(function (request) {
  request.Body = "";
});

var body_twice = onRequest(function (request) {
  request.Body = "first";
  request.Body = "second";
});

var report_body = onRequest(function (request) {
  // What is not UTF-8 reads as U+FFFD.
  report(request, "'" + (request.Body.indexOf("\ufffd") < 0 ? request.Body : "") + "' " + request.Body.length);
});

var add_param = onRequest(function (request) {
  request.AddParams.added = "a b&c";
});

var delete_param = onRequest(function (request) {
  request.DeleteParams.push("a");
});

var extend_param = onRequest(function (request) {
  request.ExtendedParams["b"] = ["again"];
});

var report_params = onRequest(function (request) {
  report(request, joined(request.Params));
});

var rewrite_path = onRequest(function (request) {
  request.URL = "/rewritten";
});

var rewrite_query = onRequest(function (request) {
  request.URL = request.URL.replace("a=2", "a=two");
});

var set_method = onRequest(function (request) {
  request.Method = "PUT";
});

var report_request = onRequest(function (request) {
  report(request, [request.Method, request.URL, request.RequestURI, request.Scheme].join(" "));
});

var report_spec = onRequest(function (request, session, config) {
  var told = { APIID: config.APIID, OrgID: config.OrgID };
  if (Object.keys(config.config_data).length) {
    told.config_data = JSON.stringify(config.config_data);
  }
  report(request, joined(told));
});

var report_overrides = onRequest(function (request) {
  report(request, request.ReturnOverrides.ResponseCode);
});

function reportSession(request, session) {
  report(request, [session.org_id, session.alias, none(session.meta_data.token), session.rate].join(" "));
}

var report_session = onRequest(reportSession);

var report_metadata = onRequest(function (request, session) {
  report(request, joined(session.meta_data));
});

var report_quota = onRequest(function (request, session) {
  request.SetHeaders["X-Quota"] = session.quota_remaining;
});

function writeSession(request, session) {
  session.rate = 1000000;
  session.meta_data.grade = "gold";
}

var write_session = onRequest(writeSession);

var same_session = onRequest(function (request, session) {
  session.alias = session.alias;
  return session.meta_data;
});

var context_variables = onRequest(function (request) {
  var names = ["path", "token", "headers_Accept", "none"];
  request.SetHeaders["X-Context"] = names.map((name) => `$tyk_context.${name}`).join("|");
  request.URL = "/to?all=$tyk_context.request_data";
});

var context_in_header = onRequest(function (request) {
  request.SetHeaders["X-Context"] = "$tyk_context.request_data";
});

// ---- Overrides

var respond_200 = onRequest(function (request) {
  request.ReturnOverrides.ResponseHeaders["content-type"] = "application/json";
  request.ReturnOverrides.ResponseCode = 200;
  request.ReturnOverrides.ResponseError = '{"key": "value"}\n';
});

var respond_body = onRequest(function (request) {
  request.ReturnOverrides = { ResponseCode: 201, ResponseBody: "made" };
});

var refuse_400 = onRequest(function (request) {
  request.ReturnOverrides.ResponseHeaders = { "X-Why": "because" };
  request.ReturnOverrides.ResponseCode = 400;
  request.ReturnOverrides.ResponseError = 'bad "thing"';
});

var refuse_silently = onRequest(function (request) {
  request.ReturnOverrides.ResponseCode = 401;
});

var override_error = onRequest(function (request) {
  request.ReturnOverrides.ResponseCode = 418;
  request.ReturnOverrides.OverrideError = true;
  request.ReturnOverrides.ResponseBody = "teapot";
});

// ---- Forms of return, and failures

var return_message = new TykJS.TykMiddleware.NewMiddleware({});
return_message.NewProcessRequest(function (request, session) {
  return return_message.ReturnData({ SetHeaders: { "X-Added": "yes" } }, {});
});

var return_list = new TykJS.TykMiddleware.NewMiddleware({});
return_list.NewProcessRequest(async function (request, session) {
  request.SetHeaders = { "X-Added": "yes" };
  return await return_list.ReturnData(request);
});

var return_none = new TykJS.TykMiddleware.NewMiddleware({});
return_none.NewProcessRequest(function () {});

var return_text = new TykJS.TykMiddleware.NewMiddleware({});
return_text.NewProcessRequest(function () { return "x"; });

var fail = onRequest(function (request) {
  request.SetHeaders["X-Added"] = "before it failed";
  throw new Error("boom");
});

var exit = onRequest(function () {
  process.exit(3);
});

var bad_header_name = onRequest(function (request) {
  request.SetHeaders["X Bad"] = "1";
});

var bad_header_value = onRequest(function (request) {
  request.SetHeaders["X-Bad"] = "1\r\nX-Smuggled: 1";
});

var bad_method = onRequest(function (request) {
  request.Method = "GET / HTTP/1.1";
});

var bad_url = onRequest(function (request) {
  request.URL = "no slash";
});

var bad_status = onRequest(function (request) {
  request.ReturnOverrides.ResponseCode = 101;
});

var framing = onRequest(function (request) {
  request.SetHeaders["Content-Length"] = "7";
  request.SetHeaders["Transfer-Encoding"] = "chunked";
  request.SetHeaders["X-Added"] = "yes";
});

// ---- Authentication

var allow = onAuth(function (request, session) {
  var token = request.Headers["Authorization"];
  if (token) {
    session.rate = 1000;
    session.per = 1;
    session.alias = "alice";
    session.meta_data.token = token[0];
  }
});

var allow_session_token = onAuth(function (request, session) {
  session.meta_data.token = "token-in-session";
});

var allow_dict = onAuth(function () {
  return { meta_data: { token: "token-in-dict", colour: "red" } };
});

var allow_new_session = onAuth(function () {
  return { alias: "fresh", meta_data: { token: "token-of-fresh" } };
});

var allow_three = new TykJS.TykMiddleware.NewMiddleware({});
allow_three.NewProcessRequest(function (request, session) {
  return { Request: request, Session: session, AuthValue: "three" };
});

var allow_limited = onAuth(function (request, session) {
  // Without a token of its own the client's is taken.
  session.quota_max = 2;
  session.quota_renewal_rate = 3600;
});

var allow_rated = onAuth(function (request, session) {
  session.meta_data.token = request.Headers["Authorization"][0];
  session.rate = 2;
  session.per = 60;
});

var allow_expired = onAuth(function () {
  return { expires: 1000, meta_data: { token: "old" } };
});

var allow_inactive = onAuth(function () {
  return { is_inactive: true, meta_data: { token: "idle" } };
});

var allow_other_api = onAuth(function (request, session) {
  session.meta_data.token = "elsewhere";
  session.access_rights["another-api"] = { api_id: "another-api", versions: ["Default"] };
});

var allow_edited = onAuth(function (request, session) {
  request.SetHeaders["X-User"] = "alice";
  request.DeleteHeaders.push("Authorization");
  session.meta_data.token = "edited";
});

var allow_policy = onAuth(function (request, session) {
  session.meta_data.token = "under-policy";
  session.apply_policies.push(request.Headers["X-Policy"][0]);
});

var no_token = onAuth(function (request, session) {
  session.alias = "nobody";
});

// ---- Responses

var add_response_header = onResponse(function (response) {
  response.SetHeaders["injectedkey"] = "injectedvalue";
});

var two_cookies = onResponse(function (response) {
  response.SetHeaders["Set-Cookie"] = ["sessionToken=abc123; HttpOnly; Secure", "language=en-US; Secure"];
});

var change_response = onResponse(function (response) {
  response.StatusCode = 203;
  response.Body = response.Body.replace("old", "renewed");
});

var text_response = new TykJS.TykMiddleware.NewMiddleware({});
text_response.NewProcessResponse(function (response) {
  return text_response.ReturnResponseData({ Body: response.Body.toUpperCase() }, {});
});

var drop_response_header = onResponse(function (response) {
  response.DeleteHeaders.push("x-old");
});

var report_response = onResponse(function (response, request, session) {
  response.SetHeaders["X-Report"] =
    [request.URL, session.alias, none(session.meta_data.token), response.StatusCode].join(" ");
});

var return_nothing = new TykJS.TykMiddleware.NewMiddleware({});
return_nothing.NewProcessResponse(function (response) {
  response.SetHeaders["X-Added"] = "yes";
});

var fail_response = onResponse(function () {
  throw { code: "gone" };
});

var bad_response_header = onResponse(function (response) {
  response.SetHeaders["X-Bad"] = "a\nb";
});

var bad_response_status = onResponse(function (response) {
  response.StatusCode = 42;
});

var session_in_response = onResponse(function (response, request, session) {
  session.alias = "changed";
});

// ---- The matrix: what the hooks above do, in authentication

var auth_add_header = onAuth(function (request, session) {
  session.meta_data.token = "key";
  request.SetHeaders["X-Added"] = "yes";
});

var auth_set_body = onAuth(function (request, session) {
  session.meta_data.token = "key";
  request.Body = "from the hook";
});

var auth_add_param = onAuth(function (request, session) {
  session.meta_data.token = "key";
  request.AddParams.added = "a b&c";
});

var auth_report_session = onAuth(function (request, session) {
  reportSession(request, session);
  session.meta_data.token = "key";
});

var auth_write_session = onAuth(function (request, session) {
  session.meta_data.token = "key";
  writeSession(request, session);
});

// ---- ID extractors

function allowUntil(deadline) {
  return onAuth(function (request, session) {
    TykTriggerEvent("PluginCalled", request.URL);
    session.meta_data.token = "any";
    session.alias = String(request.Headers["Authorization"] || "form");
    session.id_extractor_deadline = deadline;
  });
}

var allow_cached = allowUntil(2000000000);
var allow_briefly = allowUntil(1);
