// A library's door in JavaScript; README.md tells what it does.

var CARDS = { "L-1815": "Ada", "L-1906": "Grace" };

var tidy = new TykJS.TykMiddleware.NewMiddleware({});
tidy.NewProcessRequest(function (request, session, config) {
  request.SetHeaders["X-Plugin"] = "library";
  if ("q" in request.Params) {
    request.DeleteParams.push("q");
    request.AddParams["query"] = request.Params["q"][0];
  }
  return tidy.ReturnData(request, {});
});

var check_card = new TykJS.TykMiddleware.NewMiddleware({});
check_card.NewProcessRequest(function (request, session, config) {
  var card = (request.Headers["X-Library-Card"] || [])[0];
  var reader = CARDS[card];
  if (!reader) {
    request.ReturnOverrides.ResponseCode = 401;
    request.ReturnOverrides.ResponseError = "Please show your library card";
    request.ReturnOverrides.ResponseHeaders["WWW-Authenticate"] = "LibraryCard";
    return check_card.ReturnAuthData(request, session);
  }
  session.alias = reader;
  session.tags = ["reader"];
  session.meta_data = { token: card, reader: reader };
  return check_card.ReturnAuthData(request, session);
});

var stamp = new TykJS.TykMiddleware.NewMiddleware({});
stamp.NewProcessResponse(function (response, request, session, config) {
  var reader = session.meta_data.reader || "nobody";
  response.SetHeaders["X-Reader"] = reader;
  response.Body += "Read by " + reader + ".\n";
  return stamp.ReturnResponseData(response, session.meta_data);
});

var on_stranger = new TykJS.TykEventHandlers.NewEventHandler({});
on_stranger.NewHandler(function (event, context) {
  log("a stranger: " + event.Type + " in " + context.APIID);
});
