// Says of which version it is and whose request it has; what throws and what never ends stand beside.
var VERSION = "000000";

var before = new TykJS.TykMiddleware.NewMiddleware({});
var fails = new TykJS.TykMiddleware.NewMiddleware({});
var loops = new TykJS.TykMiddleware.NewMiddleware({});
var answer = new TykJS.TykMiddleware.NewMiddleware({});

before.NewProcessRequest(function (request, session, config) {
  var id = request.Headers["X-Id"][0];
  var key = "soak-" + id.split("-")[0]; // of one thread
  TykStorageSet(key, id, 60);
  request.SetHeaders["X-JavaScript"] = VERSION + " " + TykStorageGet(key);
  return before.ReturnData(request, {});
});

fails.NewProcessRequest(function (request, session, config) {
  throw new Error("it fails for " + request.Headers["X-Id"][0]);
});

loops.NewProcessRequest(function (request, session, config) {
  for (;;) {}
});

answer.NewProcessResponse(function (response, request, session, config) {
  response.SetHeaders["X-Answer"] = VERSION + " " + request.Headers["X-Id"][0];
  return answer.ReturnResponseData(response, {});
});
