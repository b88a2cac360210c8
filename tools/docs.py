"""Builds the pages of docs/ into a site, build/site: tools/docs.py [--serve].

Pages link as on a code host, by paths within the repository. What they link to outside of docs/ becomes a page of the
site too, so the site is whole by itself. Links that lead nowhere, pages that no menu has, and assets from other hosts
fail the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import reference

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
CONFIG = ROOT / "mkdocs.yml"

_IMAGES = {".png", ".svg", ".jpg", ".webp", ".css"}
_LANGUAGES = {
    ".c": "c", ".h": "c", ".go": "go", ".java": "java", ".js": "javascript", ".json": "json", ".lua": "lua",
    ".proto": "protobuf", ".py": "python", ".pyi": "python", ".rb": "ruby", ".rs": "rust", ".toml": "toml",
    ".yml": "yaml",
}  # fmt: skip

# Sources that have a page of the reference: links to them lead there.
_REFERENCE: dict[str, tuple[str, Callable[[], str]]] = {
    "csrc/api.h": ("reference/c.md", lambda: reference.header(ROOT / "csrc" / "api.h", "The C interface")),
    "csrc/plugin.h": ("reference/native.md", lambda: reference.header(ROOT / "csrc" / "plugin.h", "Native plugins")),
    "stubs": ("reference/plugins.md", lambda: reference.python(ROOT, "plugins")),
    "tykbridge/bridge.py": ("reference/python.md", lambda: reference.python(ROOT, "hosts")),
    "tykbridge/cli/__init__.py": ("reference/cli.md", reference.commands),
}

_FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_LONG = re.compile(r"`([\w.\[\]]{20,})`")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_LINK = re.compile(r"(\[[^\]]*)?\]\(([^)\s]+)\)")


class Stage:
    """The pages on their way into the site: what is asked for is written once, with what it links to.

    Attributes:
        problems: links that lead nowhere, in words.
    """

    def __init__(self, root: Path, out: Path, written: Mapping[str, tuple[str, Callable[[], str]]]) -> None:
        """`written`: the sources whose pages are made, with the page's place and what makes it."""
        self.root, self.out, self._written = root, out, written
        self.problems: list[str] = []
        self._waiting: list[str] = []
        self._seen: set[str] = set()

    def run(self) -> None:
        """Write every page of docs/, and what they lead to."""
        for page in sorted(self.root.glob("docs/**/*.md")):
            self.place(page.relative_to(self.root).as_posix())
        for source in self._written:
            self.place(source)
        while self._waiting:
            self._write(self._waiting.pop())

    def place(self, path: str) -> str:
        """See to it that a path of the repository is shown; give the page of the site, or the image, that does."""
        if path not in self._seen:
            self._seen.add(path)
            self._waiting.append(path)
        return self.shown_at(path)

    def shown_at(self, path: str) -> str:
        """Give the page of the site, or the image, that shows a path of the repository."""
        if path in self._written:
            return self._written[path][0]
        if (self.root / path).is_dir():
            return self.shown_at(self._front(path) or f"{path}/index.md")
        suffix = Path(path).suffix
        if path.startswith("docs/") and (suffix == ".md" or suffix in _IMAGES):
            return path.removeprefix("docs/")
        return f"source/{path}" if suffix == ".md" else f"source/{path}.md"

    def _front(self, folder: str) -> str:
        names = (f"{folder}/{name}" for name in ("README.md", "index.md"))
        return next((name for name in names if (self.root / name).is_file()), "")

    def _write(self, path: str) -> None:
        source = self.root / path
        if source.is_dir() and path not in self._written and (front := self._front(path)):
            self.place(front)
            return
        target = self.out / self.shown_at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in self._written:
            target.write_text(self._written[path][1](), encoding="utf-8")
        elif source.is_dir():
            target.write_text(self._linked(path + "/index.md", _listing(source, path)), encoding="utf-8")
        elif source.suffix == ".md":
            target.write_text(self._linked(path, source.read_text(encoding="utf-8")), encoding="utf-8")
        elif path.startswith("docs/") and source.suffix in _IMAGES:
            shutil.copyfile(source, target)
        else:
            code = source.read_text(encoding="utf-8")
            target.write_text(
                f"# `{path}`\n\n~~~~{_LANGUAGES.get(source.suffix, 'text')}\n{code}\n~~~~\n", encoding="utf-8"
            )

    def _linked(self, path: str, text: str) -> str:
        """Turn the links of a page into those of the site."""
        parts, end = [], 0
        for fence in _FENCE.finditer(text):
            parts += [self._turned(path, text[end : fence.start()]), fence.group()]
            end = fence.end()
        return "".join([*parts, self._turned(path, text[end:])])

    def _turned(self, path: str, text: str) -> str:
        text = _ROW.sub(lambda row: _LONG.sub(_breakable, row.group()), text)
        return _LINK.sub(lambda found: f"{self._words(path, *found.groups(''))}]({self._target(path, found[2])})", text)

    def _words(self, path: str, words: str, link: str) -> str:
        """Give a link's words: the page's title, where they are the name of its file."""
        page = self.root / os.path.dirname(path) / urlsplit(link).path
        if page.suffix != ".md" or words.strip("[`") != page.name or not page.is_file():
            return words
        return f"[{re.split('[:,]', _title(page))[0]}"

    def _target(self, path: str, link: str) -> str:
        parts = urlsplit(link)
        if parts.scheme or link.startswith("#"):
            if parts.scheme and (parts.scheme not in ("http", "https") or "." not in (parts.hostname or "")):
                self.problems.append(f"{path}: {link} is no address of the web")
            return link
        leads = os.path.normpath(os.path.join(os.path.dirname(path), parts.path))
        if leads.startswith("..") or not (self.root / leads).exists():
            self.problems.append(f"{path}: {link} leads nowhere")
            return link
        place = os.path.relpath(self.place(leads), os.path.dirname(self.shown_at(path)) or ".")
        return f"{place}#{parts.fragment}" if parts.fragment else place


def _listing(folder: Path, path: str) -> str:
    """Make the page of a folder that has none: what is in it, by its pages' titles."""
    lines = []
    for item in sorted(item for item in folder.iterdir() if item.suffix == ".md" or item.suffix in _LANGUAGES):
        name = item.name
        if item.suffix == ".md":
            name = _title(item)
        lines.append(f"- [{name}]({item.name})")
    title = "Decisions" if path == "docs/decisions" else f"`{path}`"
    return f"# {title}\n\n" + "\n".join(lines) + "\n"


def _breakable(name: re.Match[str]) -> str:
    """Let a long name in a table break where it has a dot or an underscore, and nowhere else."""
    return f"<code>{re.sub(r'(?<=[._])', '<wbr>', name.group(1))}</code>"


def _title(page: Path) -> str:
    """Give a page's first heading, its file's name where it has none."""
    return next((line[2:] for line in page.read_text("utf-8").splitlines() if line.startswith("# ")), page.name)


def missing_from_menu(config: str, root: Path) -> list[str]:
    """Give the pages of docs/ that mkdocs.yml does not list. Decisions have a page that lists them."""
    listed = set(re.findall(r"([\w/-]+\.md)\s*$", config, re.MULTILINE))
    pages = {page.relative_to(root / "docs").as_posix() for page in root.glob("docs/*.md")}
    return sorted(pages - listed)


def foreign(site: Path) -> list[str]:
    """Give what the built pages would load from other hosts when they are looked at."""
    found = set()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            for url in re.findall(r'(?:src|href)="((?:https?:)?//[^"]+)"', tag):
                if 'rel="canonical"' not in tag:
                    found.add(f"{page.relative_to(site)}: {url}")
    return sorted(found)


def main() -> None:
    """Stage, build, check."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    stage = Stage(ROOT, STAGE, _REFERENCE)
    stage.place("docs/site.css")
    stage.run()
    menu = [f"mkdocs.yml: no place in the menu for docs/{page}" for page in missing_from_menu(CONFIG.read_text(), ROOT)]
    if problems := [*stage.problems, *menu]:
        raise SystemExit("docs: " + "\ndocs: ".join(problems))
    program = [sys.executable, "-m", "zensical"]
    if sys.argv[1:] == ["--serve"]:
        os.execv(sys.executable, [*program, "serve", "--config-file", str(CONFIG)])
    done = subprocess.run(
        [*program, "build", "--strict", "--clean", "--config-file", str(CONFIG)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = _COLOURS.sub("", done.stdout)
        raise SystemExit(said.partition("Traceback")[0] if "--strict flag" in said else said)
    if others := foreign(SITE):
        raise SystemExit("docs: loaded from other hosts:\n" + "\n".join(others))
    print(f"docs: {len(list(SITE.rglob('*.html')))} pages in {SITE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
