// A library's door, shelves and stamp: the plugin of examples/tour, in JavaScript.
//
// A reader shows a library card. The cards are in the API's config_data, so no code changes when one is issued. Visits
// are counted in the gateway's data store, and the second one fires an event, which this bundle hears as well. Besides, it
// answers a path itself, and hears of who was turned away.

const HOUR = 3600;

// Authenticate: whoever shows a card that config_data knows gets a session.
const checkCard = new TykJS.TykMiddleware.NewMiddleware({});
checkCard.NewProcessRequest((request, session, config) => {
  const [number] = request.Headers["X-Library-Card"] || [""];
  const card = config.config_data.cards[number];
  if (!card) {
    console.warn("a visitor without a card");
    request.ReturnOverrides.ResponseHeaders = { "WWW-Authenticate": "LibraryCard" };
    request.ReturnOverrides.ResponseCode = 401;
    request.ReturnOverrides.ResponseError = "Please show your library card";
    return checkCard.ReturnAuthData(request, session);
  }

  session.alias = card.name;
  session.rate = card.books;
  session.per = 60;
  session.tags = ["reader"];
  // The gateway keeps the session under the token.
  session.meta_data = { token: number, language: card.language };
  return checkCard.ReturnAuthData(request, session);
});

// Count, in data that outlives the request, and tell the world when a reader comes back.
const countVisits = new TykJS.TykMiddleware.NewMiddleware({});
countVisits.NewProcessRequest((request, session) => {
  const visits = TykStorageIncr("visits:" + session.meta_data.token, HOUR);
  request.SetHeaders["X-Visits"] = visits;
  if (visits === "2") {
    TykTriggerEvent("ReaderReturned", JSON.stringify({ reader: session.alias }));
  }
  return countVisits.ReturnData(request);
});

// Make the request what the upstream expects: no card, a language, a shelf.
const prepare = new TykJS.TykMiddleware.NewMiddleware({});
prepare.NewProcessRequest((request, session) => {
  request.DeleteHeaders.push("X-Library-Card");
  request.SetHeaders["Accept-Language"] = session.meta_data.language;
  request.AddParams.shelf = shelfOf(request.URL.split("?")[0]);
  request.DeleteParams.push("debug");
  request.URL = "/v2" + request.URL;
  return prepare.ReturnData(request);
});

// Stamp the answer. Its length follows by itself.
const sign = new TykJS.TykMiddleware.NewMiddleware({});
sign.NewProcessResponse((response, request, session) => {
  response.Body = JSON.stringify({ ...JSON.parse(response.Body), reader: session.alias });
  response.SetHeaders["Cache-Control"] = "private";
  return sign.ReturnResponseData(response);
});

// Answer a path: a virtual endpoint. What it answers is signed as well.
function openingHours(request, session, config) {
  const { weekday, sunday } = config.config_data.hours;
  const hours = request.Params.day && request.Params.day[0] === "sunday" ? sunday : weekday;
  return TykJsResponse({ Code: 200, Headers: { "Content-Type": "application/json" }, Body: JSON.stringify({ hours }) });
}

// Hear of the event, as a bundle of somebody else's could.
const onReaderReturned = new TykJS.TykEventHandlers.NewEventHandler({});
onReaderReturned.NewHandler((event) => {
  log(JSON.parse(event.Meta.Message || "{}").reader + " is back: send a bookmark");
});

// Hear of those who were turned away.
const onRefused = new TykJS.TykEventHandlers.NewEventHandler({});
onRefused.NewHandler((event, context) => {
  log(`${context.APIID}: nobody reads ${event.Meta.Path} without a card`);
});
