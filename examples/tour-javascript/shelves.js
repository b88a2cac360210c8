// Which shelf a path is about. The files of a bundle share their globals: library.js calls this.

/** The first part of a path, such as "poetry" of "/poetry/7". */
function shelfOf(path) {
  const found = /^\/*([^/]+)/.exec(path);
  return found ? found[1] : "all";
}
