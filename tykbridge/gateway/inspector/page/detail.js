// All that is known of one request: its steps on a common time line, each with what it changed and said.

import { changes, texts } from "./diff.js";
import { byId, family, made, time } from "./dom.js";

const PHASES = {
  pre: "pre",
  auth_check: "auth",
  post_key_auth: "post auth",
  post: "post",
  response: "response",
};
const opened = new Map(); // what the reader opened or closed: "number/place" to whether it is open

/** Show a request. `acts` has resend() and reveal(). */
export function show(record, acts) {
  const detail = byId("detail");
  detail.replaceChildren(
    head(record, acts),
    made(
      "div",
      { class: "steps" },
      made(
        "div",
        { class: "scale", "aria-hidden": "true" },
        made("span", {}, "0"),
        made("span", {}, time(record.length / 2)),
        made("span", {}, time(record.length)),
      ),
      came(record),
      record.steps.map((step, at) => stations[step.kind](record, step, at)),
      record.failure
        ? made("p", { class: record.status && record.status < 500 ? "warning" : "failure" }, sentence(record.failure))
        : null,
      record.seconds === null ? made("p", { class: "quiet wait" }, "On its way.") : null,
    ),
  );
}

/** Show that nothing is selected. */
export function none() {
  byId("detail").replaceChildren(
    made(
      "div",
      { class: "nothing" },
      made("p", {}, "Choose a request to see what each hook did to it."),
      made("p", { class: "quiet" }, made("kbd", {}, "j"), " ", made("kbd", {}, "k"), " move, ", made("kbd", {}, "?"), " lists all keys."),
    ),
  );
}

/** Say why a request cannot be shown. */
export function wrong(words) {
  byId("detail").replaceChildren(made("div", { class: "nothing" }, made("p", { role: "alert" }, words)));
}

function head(record, acts) {
  const facts = [
    record.api || "no API listens there",
    record.hooks === 1 ? "1 hook" : `${record.hooks} hooks`,
    record.client ? `from ${record.client}` : null,
    record.id,
    new Date(record.began * 1000).toLocaleTimeString(),
    record.resent ? `repeats request ${record.resent}` : null,
  ].filter(Boolean);
  return made(
    "header",
    { class: "head" },
    made(
      "h2",
      { id: "heading", tabindex: "-1" },
      made("span", { class: "method" }, record.method),
      " ",
      made("span", { class: "url" }, record.url),
    ),
    made(
      "div",
      { class: "facts" },
      made("span", { class: `status ${family(record.status)}` }, record.status ?? (record.failure ? "no answer" : "on its way")),
      made("span", { class: "took" }, time(record.seconds)),
      made("span", { class: "quiet" }, facts.join("  ·  ")),
    ),
    made(
      "div",
      { class: "acts" },
      made("button", { type: "button", id: "again", onclick: acts.resend, title: "Edit it, and send it again (r)" }, "Send again"),
      record.hidden
        ? made(
            "button",
            { type: "button", id: "reveal", "aria-pressed": String(record.revealed), onclick: acts.reveal, title: "Tokens, passwords, cookies (s)" },
            record.revealed ? "Mask secrets" : "Show secrets",
          )
        : null,
    ),
  );
}

// ---- Steps

function station(record, at, { kind, phase, name, about = "", badges = [], step = null, open = false }, ...content) {
  const key = `${record.number}/${at}`;
  const inner = content.flat().filter(Boolean);
  const line = [
    made("span", { class: "phase" }, phase),
    made(
      "span",
      { class: "who" },
      made("span", { class: "name" }, name),
      about ? made("span", { class: "quiet" }, about) : null,
      badges.filter(Boolean).map(([words, tone]) => made("span", { class: `tag ${tone}` }, words)),
    ),
    made("span", { class: "track", "aria-hidden": "true" }, step && step.seconds !== null ? bar(record, step) : null),
    made("span", { class: "time" }, step && step.seconds !== null ? time(step.seconds) : ""),
  ];
  const details = made(
    "details",
    { class: `step ${kind}`, "data-phase": phase, "data-name": name, open: opened.get(key) ?? open },
    made("summary", {}, line),
    made("div", { class: "content" }, inner.length ? inner : made("p", { class: "quiet" }, "Changes nothing.")),
  );
  details.addEventListener("toggle", () => opened.set(key, details.open));
  return details;
}

function bar(record, step) {
  const share = (seconds) => (record.length > 0 ? Math.min(100, Math.max(0, (100 * seconds) / record.length)) : 0);
  const element = made("span", { class: "span" });
  element.style.setProperty("--from", `${share(step.offset)}%`);
  element.style.setProperty("--long", `${share(step.seconds)}%`);
  return element;
}

function came(record) {
  return station(
    record,
    "came",
    { kind: "client", phase: "client", name: "sends the request", about: size(record.request.body) },
    http(record.request, record.remark),
  );
}

const stations = {
  hook(record, step, at) {
    const count = step.changes?.length ?? 0;
    const lines = step.log.length + step.printed.length;
    return station(
      record,
      at,
      {
        kind: `hook${step.failure || step.fault ? " bad" : ""}`,
        phase: PHASES[step.phase] ?? step.phase,
        name: step.name,
        about: step.driver,
        badges: [
          step.failure ? ["failed", "bad"] : null,
          step.fault ? ["refused", "bad"] : null,
          step.lacks_token ? ["no token", "warn"] : null,
          step.warnings.length ? ["warning", "warn"] : null,
          count ? [`${count} change${count === 1 ? "" : "s"}`, "some"] : null,
          lines ? [`${lines} line${lines === 1 ? "" : "s"}`, ""] : null,
        ],
        step,
        open: Boolean(step.failure || step.fault || step.warnings.length || count || lines),
      },
      step.failure && !step.log.some(({ message }) => message.startsWith(step.failure))
        ? made("p", { class: "failure" }, step.failure)
        : null,
      step.fault ? made("p", { class: "failure" }, `Refused: ${step.fault}`) : null,
      step.warnings.map((words) => made("p", { class: "warning" }, words)),
      step.token ? made("p", { class: "token" }, "Let in under the token ", made("code", {}, step.token)) : null,
      step.lacks_token ? made("p", { class: "warning" }, "Let nobody in: the hook left no token.") : null,
      said(step),
      step.changes ? changes(step.changes) : null,
    );
  },

  upstream(record, step, at) {
    const answer = step.response;
    return station(
      record,
      at,
      {
        kind: `upstream${step.failure ? " bad" : ""}`,
        phase: "upstream",
        name: answer ? String(answer.status) : "no answer",
        about: step.request ? step.request.url : "",
        badges: [step.failure ? ["failed", "bad"] : null],
        step,
        open: Boolean(step.failure),
      },
      step.failure ? made("p", { class: "failure" }, step.failure) : null,
      step.request ? [made("h4", {}, "Request"), http(step.request)] : null,
      answer ? [made("h4", {}, "Answer"), http(answer, step.remark)] : null,
    );
  },

  client(record, step, at) {
    return station(
      record,
      at,
      {
        kind: "client",
        phase: "client",
        name: `gets ${step.response.status}`,
        about: size(step.response.body),
        badges: [step.asked_upstream ? null : ["the upstream was not asked", ""], step.event ? [step.event, "warn"] : null],
        open: true,
      },
      http(step.response, step.remark),
    );
  },

  note(record, step, at) {
    return station(
      record,
      at,
      { kind: "note", phase: step.about, name: step.log[0]?.message.split("\n")[0] ?? "", open: false },
      said(step),
    );
  },
};

const size = (body) => {
  if (!body) return "";
  const bytes = typeof body === "string" ? new TextEncoder().encode(body).length : atob(body.base64).length;
  return bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KiB`;
};

/** What a step printed, logged and fired. */
function said(step) {
  const lines = [
    ...step.log.map(({ level, message }) => entry(level, message)),
    ...step.printed.map((words) => entry("print", words)),
    ...step.events.map(({ name, payload }) => entry("event", `${name}  ${payload}`)),
  ];
  return lines.length ? made("div", { class: "log", role: "group", "aria-label": "Log" }, lines) : null;
}

function entry(level, message) {
  const [first, ...rest] = message.trimEnd().split("\n");
  return made(
    "div",
    { class: `entry ${["error", "warning", "info", "debug", "print", "event"].includes(level) ? level : "info"}` },
    made("span", { class: "level" }, level),
    made("span", { class: "words" }, first, rest.length ? made("pre", { class: "trace" }, rest.join("\n")) : null),
  );
}

/** A message's headers and body; headers that differ from those before are marked. */
function http(message, remark = "") {
  const first = message.url ? `${message.method} ${message.url}` : null;
  return made(
    "div",
    { class: "http" },
    first ? made("p", { class: "first" }, made("code", {}, first)) : null,
    message.headers.length
      ? made(
          "div",
          { class: "headers" },
          message.headers.map(([mark, name, value]) =>
            made(
              "div",
              { class: `diff header ${{ "+": "added", "-": "removed" }[mark] ?? "same"}` },
              made("span", { class: "sign" }, { "+": "+", "-": "−" }[mark] ?? " "),
              made("span", { class: "text" }, made("span", { class: "key" }, `${name}: `), value),
            ),
          ),
        )
      : null,
    message.body ? body(message.body) : null,
    remark ? made("p", { class: "quiet remark" }, sentence(remark)) : null,
  );
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;

function body(value) {
  if (typeof value !== "string") return made("div", { class: "diffs" }, texts(null, value));
  let shown = value;
  try {
    shown = JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    // It is no JSON: it is shown as it came.
  }
  return made("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, shown);
}
