// What plugins find in their global scope besides the host's functions, and what the driver asks of their code.
//
// Everything of the language that is used after a plugin's code has run is taken here: a plugin may replace it.
(function () {
  "use strict";
  const { create, defineProperty, getOwnPropertyNames, hasOwn } = Object;
  const { parse, stringify } = JSON;
  const { isInteger } = Number;
  const { String, decodeURIComponent } = globalThis;
  const evaluate = eval;
  const known = new Set(getOwnPropertyNames(globalThis));
  const isKnown = known.has.bind(known);
  const made = new WeakMap(); // middlewares and handlers: where they were made
  const placeOf = made.get.bind(made), isMade = made.has.bind(made), remember = made.set.bind(made);
  const { tykbridge_log: write, tykbridge_underscore: underscore } = globalThis;
  delete globalThis.tykbridge_log;
  delete globalThis.tykbridge_underscore;

  function hidden(place, name, value) {
    defineProperty(place, name, { value, writable: true, configurable: true, enumerable: false });
  }

  function NewMiddleware(configuration) {
    this.configuration = configuration;
    remember(this, new Error().stack);
  }
  NewMiddleware.prototype.NewProcessRequest = function (callback) {
    this.ProcessRequest = callback;
  };
  NewMiddleware.prototype.NewProcessResponse = function (callback) {
    this.ProcessResponse = callback;
  };
  NewMiddleware.prototype.ReturnData = function (request, meta) {
    return { Request: request, SessionMeta: meta };
  };
  NewMiddleware.prototype.ReturnResponseData = function (response, meta) {
    return { Response: response, SessionMeta: meta };
  };
  NewMiddleware.prototype.ReturnAuthData = function (request, session) {
    return { Request: request, Session: session };
  };

  function NewEventHandler(configuration) {
    this.configuration = configuration;
    remember(this, new Error().stack);
  }
  NewEventHandler.prototype.NewHandler = function (callback) {
    this.Handle = callback;
  };

  hidden(globalThis, "TykJS", { TykMiddleware: { NewMiddleware }, TykEventHandlers: { NewEventHandler } });

  function words(values) {
    const shown = [];
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      let text;
      if (typeof value === "object" && value !== null && !(value instanceof Error)) {
        try {
          text = stringify(value);
        } catch {}
      }
      shown[i] = text === undefined ? String(value) : text;
    }
    return shown.join(" ");
  }

  const levels = { log: "info", info: "info", debug: "debug", warn: "warning", error: "error" };
  const console = {};
  for (const name of getOwnPropertyNames(levels)) {
    console[name] = (...values) => write(words(values), levels[name]);
  }
  hidden(globalThis, "console", console);

  const read = globalThis.TykStorageGet;
  hidden(globalThis, "TykStorageGet", function TykStorageGet(key) {
    const value = read(key);
    return value === undefined ? null : value;
  });

  // Underscore is read by those who use it.
  defineProperty(globalThis, "_", {
    configurable: true,
    enumerable: false,
    get() {
      const source = underscore();
      delete globalThis._;
      evaluate(source);
      hidden(globalThis, "_", globalThis._);
      return globalThis._;
    },
    set(value) {
      defineProperty(globalThis, "_", { value, writable: true, configurable: true, enumerable: true });
    },
  });

  hidden(globalThis, "TykJsResponse", function TykJsResponse(response, meta) {
    return stringify({ Response: response, SessionMeta: meta });
  });
  known.add("TykJsResponse");

  // The parameters of a request, those of a form in its body first, as Go's Request.Form has them.
  function parametersOf(request) {
    const found = {};
    const put = (name, value) => {
      if (!hasOwn(found, name)) defineProperty(found, name, { value: [], enumerable: true, configurable: true, writable: true });
      found[name].push(value);
    };
    const { Headers: headers, Params: params } = request;
    const type = getOwnPropertyNames(headers).find((name) => name.toLowerCase() === "content-type");
    if (type && /^application\/x-www-form-urlencoded\s*(;|$)/i.test(headers[type][0])) {
      for (const pair of request.Body.split("&")) {
        const at = pair.indexOf("=");
        const [name, value] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
        try {
          if (pair) put(...[name, value].map((text) => decodeURIComponent(text.replaceAll("+", " "))));
        } catch {} // what no escape is, Go leaves out, too
      }
    }
    for (const name of getOwnPropertyNames(params)) params[name].forEach((value) => put(name, value));
    return found;
  }

  // Makes a middleware of a function that answers requests.
  function answering(name, callback) {
    return {
      ProcessRequest(request, session, config) {
        request.Params = parametersOf(request);
        const returned = callback(request, session, config);
        const told = typeof returned === "string" && returned.startsWith("{") ? parse(returned) : returned;
        const response = told && told.Response;
        if (typeof response !== "object" || response === null) {
          throw new TypeError(name + " must return TykJsResponse({Code, Headers, Body}, meta)");
        }
        const { Code: code, Headers: headers, Body: body } = response;
        if (!isInteger(code) || code < 200 || code > 599) {
          throw new RangeError(`${name} must answer with a Code from 200 to 599, not ${stringify(code)}`);
        }
        const told_headers = {};
        for (const header of headers ? getOwnPropertyNames(headers) : []) {
          const value = String(headers[header]);
          if (header.toLowerCase() === "location" && value.startsWith("tyk://")) {
            throw new Error(`${name} answers with a redirect to ${value}, and internal redirects are not built`);
          }
          told_headers[header] = value;
        }
        request.ReturnOverrides = {
          ResponseCode: code,
          ResponseError: "",
          ResponseBody: body === undefined || body === null ? "" : String(body),
          ResponseHeaders: told_headers,
          OverrideError: true,
        };
        return { Request: request, SessionMeta: told.SessionMeta };
      },
    };
  }

  function kind(value) {
    if (value instanceof NewEventHandler) {
      return typeof value.Handle === "function" ? "event" : "empty event";
    }
    const request = typeof value.ProcessRequest === "function";
    const response = typeof value.ProcessResponse === "function";
    return request && response ? "both" : request ? "request" : response ? "response" : "empty";
  }

  function valueOf(name) {
    // Not through globalThis: let and const are no properties of it.
    try {
      return (0, evaluate)(name);
    } catch {
      return undefined;
    }
  }

  return {
    // Tells of the names that the code made global, `candidates` (a JSON list) among them.
    find(candidates) {
      // Bare objects: the code may have given Object and Array a toJSON, setters, or an iterator of its own.
      const found = create(null);
      const look = (name) => {
        const value = isKnown(name) || name === "_" ? undefined : valueOf(name);
        const told = create(null);
        if (typeof value === "object" && value !== null && isMade(value)) {
          told.kind = kind(value);
          told.stack = `${placeOf(value)}`;
        } else if (typeof value === "function") {
          told.kind = "function";
          told.stack = `    at ${name} (${value.fileName}:${value.lineNumber}:${value.columnNumber})`;
        }
        if (told.kind) found[name] = told;
      };
      const names = getOwnPropertyNames(globalThis), others = parse(candidates);
      for (let i = 0; i < names.length; i++) look(names[i]);
      for (let i = 0; i < others.length; i++) look(others[i]);
      return stringify(found);
    },
    resolve(name) {
      const value = valueOf(name);
      if (typeof value === "function") {
        return answering(name, value);
      }
      if (typeof value !== "object" || value === null || !isMade(value)) {
        throw new Error(name + " is no middleware any more");
      }
      return value;
    },
    // Calls a handler of events with texts of JSON.
    event(name, event, context) {
      const handler = valueOf(name);
      handler.Handle(parse(event), parse(context));
    },
  };
})();
