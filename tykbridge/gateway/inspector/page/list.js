// The list of requests: rows, the one that is selected, the filter.

import { byId, family, made, time } from "./dom.js";

const KEPT = 200; // as many as the gateway keeps

const list = byId("list");
const requests = new Map(); // number: summary, the newest last
const rows = new Map(); // number: element
let wanted = [];
let select = () => {};

export let selected = null;

export const find = (number) => requests.get(number);

/** Say who hears of a selection. */
export function onSelect(hears) {
  select = hears;
}

/** Take requests that are new, or that have changed. */
export function take(found) {
  for (const request of found) {
    const isNew = !requests.has(request.number);
    requests.set(request.number, request);
    const row = draw(request);
    if (isNew) list.prepend(row);
    else rows.get(request.number).replaceWith(row);
    rows.set(request.number, row);
  }
  while (requests.size > KEPT) forget(requests.keys().next().value);
  filter();
  mark();
}

/** Forget all requests. */
export function clear() {
  for (const number of [...requests.keys()]) forget(number);
  selected = null;
  filter();
  mark();
}

function forget(number) {
  requests.delete(number);
  rows.get(number)?.remove();
  rows.delete(number);
}

function draw(request) {
  const [path, query] = split(request.url);
  const outcome = request.status ?? (request.failure ? "failed" : "pending");
  return made(
    "div",
    {
      id: `request-${request.number}`,
      class: `row ${family(request.status)}${request.failed ? " failed" : ""}`,
      role: "option",
      "aria-selected": "false",
      "aria-label": `${request.method} ${request.url}, ${outcome}, ${time(request.seconds)}${request.failed ? ", a hook failed" : ""}`,
      title: `${request.method} ${request.url}`,
      onclick: () => choose(request.number),
    },
    made("span", { class: "method" }, request.method),
    made("span", { class: "url" }, path, query ? made("span", { class: "quiet" }, query) : null),
    request.resent ? made("span", { class: "tag", title: `Repeats request ${request.resent}` }, "again") : null,
    request.failed ? made("span", { class: "alarm", title: "A hook failed" }, "!") : null,
    made("span", { class: "status" }, request.status ?? (request.failure ? "—" : "…")),
    made("span", { class: "time" }, time(request.seconds)),
  );
}

const split = (url) => {
  const at = url.indexOf("?");
  return at < 0 ? [url, ""] : [url.slice(0, at), url.slice(at)];
};

/** Select a request; null: none. */
export function choose(number) {
  selected = number;
  mark();
  rows.get(number)?.scrollIntoView({ block: "nearest" });
  select(number);
}

function mark() {
  for (const [number, row] of rows) row.setAttribute("aria-selected", String(number === selected));
  const row = rows.get(selected);
  if (row && !row.hidden) list.setAttribute("aria-activedescendant", row.id);
  else list.removeAttribute("aria-activedescendant");
}

/** Go up or down from the request that is selected; far: to the end. */
export function move(step, far = false) {
  const shown = [...list.children].filter((row) => !row.hidden).map((row) => Number(row.id.slice("request-".length)));
  if (!shown.length) return;
  const at = shown.indexOf(selected);
  const next = far ? (step < 0 ? 0 : shown.length - 1) : at < 0 ? 0 : at + step;
  choose(shown[Math.min(shown.length - 1, Math.max(0, next))]);
}

/** Show the requests that have each of the words. */
export function search(text) {
  wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  filter();
  mark();
}

function has(request, word) {
  if (word === "failed") return request.failed;
  if (/^[1-5]xx$/.test(word)) return family(request.status) === `s${word[0]}`;
  if (/^[1-5]\d\d$/.test(word) && String(request.status) === word) return true;
  return `${request.method} ${request.url} ${request.api} ${request.id}`.toLowerCase().includes(word);
}

function filter() {
  let shown = 0;
  for (const [number, request] of requests) {
    const fits = wanted.every((word) => has(request, word));
    rows.get(number).hidden = !fits;
    shown += fits;
  }
  byId("count").textContent = wanted.length ? `${shown} of ${requests.size}` : `${requests.size}`;
  const empty = byId("empty");
  empty.hidden = shown > 0;
  empty.textContent = requests.size ? "No request has all of these words." : "Requests show up here as they come.";
}
