// Greets whoever calls: one header for the upstream, and one for the client.

// Tell the upstream who calls, in the words of the API's config_data.
var greet = new TykJS.TykMiddleware.NewMiddleware({});
greet.NewProcessRequest(function (request, session, config) {
  var name = (request.Headers["X-Name"] || ["stranger"])[0];
  var greeting = (config.config_data || {}).greeting || "Hello";
  request.SetHeaders["X-Greeting"] = greeting + ", " + name;
  log("greeted " + name);
  return greet.ReturnData(request, {});
});

// Tell the client whose answer this is.
var sign = new TykJS.TykMiddleware.NewMiddleware({});
sign.NewProcessResponse(function (response, request, session, config) {
  response.SetHeaders["X-Signed-By"] = "my-plugin";
  return sign.ReturnResponseData(response, {});
});
