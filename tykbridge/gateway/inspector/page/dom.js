// Makes elements. What is shown becomes text, never markup: the page's policy forbids anything else, too.

/** Make an element: `made("p", {class: "x", title: "y"}, "text", other)`. null and false are left out. */
export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Give a time in seconds as people write it. */
export function time(seconds) {
  if (seconds === null || seconds === undefined) return "…";
  if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
  return `${seconds.toFixed(2)} s`;
}

/** The class of a status: "s2" to "s5", "s0" for none. */
export const family = (status) => `s${status ? Math.floor(status / 100) : 0}`;

/** Ask the gateway for something; gives its JSON. Throws an Error with its words. */
export async function ask(path, document_) {
  const options =
    document_ === undefined
      ? {}
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document_) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the gateway does not answer: has it ended?");
  }
  const found = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Error(found.error ?? `${answer.status}`);
  return found;
}
