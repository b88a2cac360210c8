// The form that sends a request again, with edits.

import { ask, byId } from "./dom.js";

const dialog = byId("resend");
const [method, url, headers, body] = ["method", "url", "headers", "body"].map((name) => byId(`resend-${name}`));
const send = byId("resend-send");
let record = null;
let before = "";
let done = () => {};

/** Open the form for a request; `sent` hears the number of the new one. */
export function open(of, sent) {
  [record, done] = [of, sent];
  method.value = record.request.method;
  url.value = record.request.url;
  headers.value = record.request.headers.map(([, name, value]) => `${name}: ${value}`).join("\n");
  before = typeof record.request.body === "string" ? record.request.body : "";
  body.value = before;
  byId("resend-about").textContent = record.whole
    ? typeof record.request.body === "string"
      ? ""
      : "no text: sent as it came, unless you write one"
    : "not all of it is kept: write one";
  if (!record.whole) body.value = before = "";
  say("");
  dialog.showModal();
  url.focus();
}

function say(words) {
  const error = byId("resend-error");
  error.textContent = words;
  error.hidden = !words;
}

function pairs() {
  return headers.value
    .split("\n")
    .filter((line) => line.trim())
    .map((line) => {
      const at = line.indexOf(":");
      if (at < 1) throw new Error(`"${line}" is no header: expected "Name: value"`);
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    });
}

async function submit(event) {
  event.preventDefault();
  if (send.disabled) return;
  send.disabled = true;
  say("");
  try {
    const { number } = await ask("resend", {
      number: record.number,
      method: method.value.trim(),
      url: url.value,
      headers: pairs(),
      body: body.value === before && (record.whole || !body.value) ? null : body.value,
    });
    dialog.close();
    done(number);
  } catch (error) {
    say(error.message);
  } finally {
    send.disabled = false;
  }
}

dialog.querySelector("form").addEventListener("submit", submit);
byId("resend-cancel").addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
});
