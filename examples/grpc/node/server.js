// A library's door as a gRPC plugin server in JavaScript; examples/grpc/README.md tells what it does.
"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const proto = protoLoader.loadSync("coprocess_object.proto", {
  includeDirs: [path.join(__dirname, "../../../proto")],
  keepCase: true, // set_headers, as everywhere else, rather than setHeaders
  defaults: true, // maps and lists are there where they are empty
  longs: String, // 64 bits do not fit a number
});
const { coprocess } = grpc.loadPackageDefinition(proto);

const CARDS = new Map([["L-1815", "Ada"], ["L-1906", "Grace"]]);

const hooks = {
  tidy(object) {
    const request = object.request;
    request.set_headers["X-Plugin"] = "library";
    if ("q" in request.params) {
      request.delete_params.push("q");
      request.add_params.query = request.params.q;
    }
  },

  check_card(object) {
    const card = object.request.headers["X-Library-Card"];
    const reader = CARDS.get(card);
    if (!reader) {
      Object.assign(object.request.return_overrides, {
        response_code: 401,
        response_error: "Please show your library card",
        headers: { "WWW-Authenticate": "LibraryCard" },
      });
      return;
    }
    const session = (object.session ??= {});
    session.alias = reader;
    session.tags = [...(session.tags ?? []), "reader"];
    session.metadata = { ...session.metadata, token: card, reader };
  },

  stamp(object) {
    const reader = object.session?.metadata.reader ?? "nobody";
    const response = object.response;
    response.headers["X-Reader"] = reader;
    response.raw_body = Buffer.concat([response.raw_body, Buffer.from(`Read by ${reader}.\n`)]);
  },
};

const handlers = {
  on_stranger({ message, spec }) {
    console.log(`a stranger: ${message.Type} in ${spec.APIID}`);
  },
};

function notThere(what, name) {
  return { code: grpc.status.NOT_FOUND, details: `there is no ${what} "${name}" here` };
}

const server = new grpc.Server();
server.addService(coprocess.Dispatcher.service, {
  Dispatch({ request: object }, reply) {
    const name = object.hook_name;
    if (!Object.hasOwn(hooks, name)) return reply(notThere("hook", name));
    hooks[name](object);
    reply(null, object);
  },

  DispatchEvent({ request }, reply) {
    const event = JSON.parse(request.payload);
    const name = event.handler_name;
    if (!Object.hasOwn(handlers, name)) return reply(notThere("event handler", name));
    handlers[name](event);
    reply(null, {});
  },
});

const port = process.argv[2] ?? "5555";
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) => {
  if (error) throw error;
  console.log(`serving tcp://127.0.0.1:${bound}`);
});
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => server.tryShutdown(() => process.exit()));
}
