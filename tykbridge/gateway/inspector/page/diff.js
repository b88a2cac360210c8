// Shows what changed, line by line.

import { made } from "./dom.js";

const CONTEXT = 3; // equal lines around a change
const MOST = 1500; // lines that are compared; what is longer is shown whole, before and after

const words = (value) => {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  if (value.base64 !== undefined) return `${atob(value.base64).length} bytes that are no text\n${value.base64}`;
  return JSON.stringify(value, null, Array.isArray(value) && value.length > 3 ? 2 : 0);
};

const line = (mark, ...content) =>
  made(
    "div",
    { class: `diff ${{ "+": "added", "-": "removed" }[mark] ?? "same"}` },
    made("span", { class: "sign" }, { "+": "+", "-": "−" }[mark] ?? " "),
    made("span", { class: "text" }, ...content),
  );

function short(change, old, now) {
  const row = (mark, ...content) => line(mark, made("span", { class: "key" }, change.path), " ", ...content);
  const idle = change.acts ? [] : [" ", made("span", { class: "tag" }, "has no effect")];
  if (old !== null && now !== null) return [row("-", ...marked(old, now)), row("+", ...marked(now, old), ...idle)];
  return old === null ? row("+", now, ...idle) : row("-", old, ...idle);
}

/** Show how one line became another. */
const pair = (before, after) => [line("-", ...marked(before, after)), line("+", ...marked(after, before))];

/** Mark what of a line another one has not. */
function marked(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    before[before.length - 1 - end] === after[after.length - 1 - end]
  ) {
    end += 1;
  }
  const middle = before.slice(start, before.length - end);
  if (!middle || start + end === 0) return [before];
  return [before.slice(0, start), made("mark", {}, middle), before.slice(before.length - end)];
}

/** Compare two lists of lines: [mark, line] each. The longest common subsequence, between what is equal at both ends. */
function compared(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    before[before.length - 1 - end] === after[after.length - 1 - end]
  ) {
    end += 1;
  }
  const a = before.slice(start, before.length - end);
  const b = after.slice(start, after.length - end);
  const middle = [];
  if (a.length * b.length > MOST * MOST) {
    middle.push(...a.map((text) => ["-", text]), ...b.map((text) => ["+", text]));
  } else {
    const width = b.length + 1;
    const longest = new Uint32Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        longest[i * width + j] =
          a[i] === b[j]
            ? longest[(i + 1) * width + j + 1] + 1
            : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) {
        middle.push([" ", a[i]]);
        [i, j] = [i + 1, j + 1];
      } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
        middle.push(["-", a[i]]);
        i += 1;
      } else {
        middle.push(["+", b[j]]);
        j += 1;
      }
    }
  }
  return [
    ...before.slice(0, start).map((text) => [" ", text]),
    ...middle,
    ...(end ? before.slice(-end).map((text) => [" ", text]) : []),
  ];
}

/** Show how one text became another. */
export function texts(before, after) {
  const [old, now] = [words(before), words(after)];
  if (old === null || now === null || old === "" || now === "") {
    const mark = now === null || now === "" ? "-" : "+";
    return (mark === "+" ? now : old ?? "").split("\n").map((text) => line(mark, text));
  }
  if (!old.includes("\n") && !now.includes("\n")) return pair(old, now);
  const lines = compared(old.split("\n"), now.split("\n"));
  const near = lines.map((_, at) =>
    lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(([mark]) => mark !== " "),
  );
  const shown = [];
  let skipped = 0;
  const gap = () => {
    if (skipped) shown.push(made("div", { class: "gap" }, `${skipped} equal line${skipped === 1 ? "" : "s"}`));
    skipped = 0;
  };
  for (let at = 0; at < lines.length; at += 1) {
    const [mark, text] = lines[at];
    if (!near[at]) {
      skipped += 1;
      continue;
    }
    gap();
    const next = lines[at + 1];
    if (mark === "-" && next?.[0] === "+" && lines[at - 1]?.[0] !== "-" && lines[at + 2]?.[0] !== "+") {
      shown.push(...pair(text, next[1]));
      at += 1;
    } else {
      shown.push(line(mark, text));
    }
  }
  gap();
  return shown;
}

/** Show the changes of a hook, by what they are about. */
export function changes(list) {
  const groups = new Map();
  for (const change of list) {
    if (!groups.has(change.group)) groups.set(change.group, []);
    groups.get(change.group).push(change);
  }
  return [...groups].map(([name, found]) =>
    made(
      "div",
      { class: "group", role: "group", "aria-label": name },
      made("h4", {}, name),
      made("div", { class: "diffs" }, found.map(one)),
    ),
  );
}

const SHORT = 100; // characters that stand behind their path

function one(change) {
  const [old, now] = [words(change.old), words(change.new)];
  if ([old, now].every((text) => text === null || (text.length <= SHORT && !text.includes("\n")))) {
    return made("div", { class: change.acts ? "change" : "change idle" }, short(change, old, now));
  }
  return made(
    "div",
    { class: change.acts ? "change" : "change idle" },
    made(
      "div",
      { class: "path" },
      made("code", {}, change.path),
      change.acts ? null : made("span", { class: "tag" }, "has no effect"),
    ),
    texts(change.old, change.new),
  );
}
