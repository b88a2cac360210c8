// Puts the page together: what the gateway tells, what the reader does.

import * as detail from "./detail.js";
import { ask, byId } from "./dom.js";
import * as list from "./list.js";
import * as resend from "./resend.js";

let record = null; // what the detail shows
let revealed = false;
let paused = false;
const held = []; // events that came while the list is held still
let awaited = null; // the number of a request that was sent from here

// ---- What the gateway tells

const source = new EventSource("events");
for (const name of ["all", "request", "cleared"]) {
  source.addEventListener(name, (event) => {
    const { data } = JSON.parse(event.data);
    if (name === "cleared") held.length = 0;
    if (paused && name !== "cleared") held.push([name, data]);
    else hear(name, data);
    count();
  });
}
source.addEventListener("open", () => state("live"));
source.addEventListener("error", () => state("away"));

function state(name) {
  const words = { live: "live", away: "not connected", paused: "paused" };
  const shown = name === "live" && paused ? "paused" : name;
  byId("state").dataset.state = shown;
  byId("state").textContent = words[shown];
}

function hear(name, data) {
  if (name === "request") {
    list.take([data]);
    if (data.number === awaited) {
      awaited = null;
      list.choose(data.number);
    } else if (data.number === list.selected) {
      load();
    }
    return;
  }
  const before = list.selected;
  list.clear();
  if (name === "all") {
    byId("gateway").textContent = data.gateway;
    list.take(data.requests);
    if (before !== null && list.find(before)) {
      list.choose(before);
      return;
    }
  }
  choose(null);
}

// ---- The detail

list.onSelect(choose);

function choose(number) {
  revealed = false;
  record = null;
  if (number === null) detail.none();
  else load();
}

async function load() {
  const number = list.selected;
  try {
    const found = await ask(`requests/${number}${revealed ? "?revealed=yes" : ""}`);
    if (number !== list.selected) return;
    const focused = document.activeElement?.id;
    record = found;
    detail.show(record, { resend: again, reveal });
    if (["again", "reveal", "heading"].includes(focused)) byId(focused)?.focus();
  } catch (error) {
    if (number === list.selected) detail.wrong(error.message);
  }
}

function reveal() {
  if (!record?.hidden) return;
  revealed = !revealed;
  load();
}

function again() {
  if (record === null) return;
  resend.open(record, (number) => {
    if (paused) pause();
    if (list.find(number)) list.choose(number);
    else awaited = number;
    byId("list").focus();
  });
}

// ---- The tools

function pause() {
  paused = !paused;
  if (!paused) for (const [name, data] of held.splice(0)) hear(name, data);
  byId("pause").setAttribute("aria-pressed", String(paused));
  state(source.readyState === EventSource.OPEN ? "live" : "away");
  count();
}

function count() {
  const fresh = held.filter(([name, data]) => name === "request" && data.seconds !== null).length;
  byId("pause").textContent = paused ? (fresh ? `Resume (${fresh})` : "Resume") : "Pause";
}

function notice(words, tone) {
  const place = byId("notice");
  const close = document.createElement("button");
  const text = document.createElement("pre");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => {
    place.hidden = true;
    byId("reload").focus();
  });
  text.textContent = words;
  place.replaceChildren(text, close);
  place.dataset.tone = tone;
  place.hidden = false;
}

async function reload() {
  const button = byId("reload");
  button.disabled = true;
  try {
    await ask("reload", {});
    notice("Everything was loaded again.", "good");
  } catch (error) {
    notice(error.message, "bad");
  } finally {
    button.disabled = false;
    button.focus();
  }
}

async function forget() {
  try {
    await ask("clear", {});
  } catch (error) {
    notice(error.message, "bad");
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");

function paint() {
  document.documentElement.dataset.theme = theme();
  byId("theme").setAttribute("aria-pressed", String(theme() === "dark"));
}

dark.addEventListener("change", paint);
byId("theme").addEventListener("click", () => {
  localStorage.setItem("theme", theme() === "dark" ? "light" : "dark");
  paint();
});
byId("pause").addEventListener("click", pause);
byId("clear").addEventListener("click", forget);
byId("reload").addEventListener("click", reload);
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("filter").addEventListener("input", (event) => list.search(event.target.value));

// ---- Keys

const inList = () => [byId("list"), document.body, document.documentElement].includes(document.activeElement);

// What has the focus, a button say, must not get the next Enter.
function move(...how) {
  list.move(...how);
  byId("list").focus();
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => byId("filter").focus(),
  r: again,
  s: reveal,
  p: pause,
  "?": () => byId("help").showModal(),
};
const listKeys = { Enter: () => byId("heading")?.focus() };
// In the detail they scroll.
const outside = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Home: () => move(-1, true),
  End: () => move(1, true),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, textarea")) {
    if (event.target.id === "filter" && ["Escape", "Enter", "ArrowDown"].includes(event.key)) {
      event.preventDefault();
      byId("list").focus();
      if (event.key !== "Escape" && !list.find(list.selected)) list.move(1);
    }
    return;
  }
  const does =
    (event.key === "Escape" ? () => byId("list").focus() : null) ??
    keys[event.key] ??
    (inList() ? listKeys[event.key] : null) ??
    (byId("detail").contains(event.target) ? null : outside[event.key]);
  if (!does) return;
  event.preventDefault();
  does();
});

paint();
detail.none();
list.search("");
