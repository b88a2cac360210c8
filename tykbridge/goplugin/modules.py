"""The go.mod that a plugin is compiled with: the author's, with stand-ins in the place of Tyk's modules.

It is made as text, without go mod edit: what authors wrote there for Tyk is often no legal version of its path
(v5.3.0 of a module without /v5), and no tool reads such a file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tykbridge.goplugin import STAND_INS
from tykbridge.goplugin.toolchain import Go

_VERSION = "v0.0.0-00010101000000-000000000000"  # Go's own for a module that has none
_OLDEST = "1.16"  # of the language, for what says nothing; older ones know no modules
_IMPORT = re.compile(r'"([\w.~/-]+)"')  # or another text, which then ends as a folder's path only by accident


@dataclass(frozen=True)
class Modules:
    """What Go is told of modules.

    Attributes:
        mod, sum: the texts of go.mod and go.sum.
        added: further files that the compiler is to see, with their text.
    """

    mod: str
    sum: str
    added: dict[Path, str]


@dataclass(frozen=True)
class _Line:
    """A line of go.mod.

    Attributes:
        verb: its directive, that of its block, or "".
        path: the module that it is about, "" for none.
    """

    text: str
    verb: str
    path: str


def modules(source: Path, name: str, go: Go) -> Modules:
    """Make the modules of a plugin.

    Args:
        source: the folder of its package main.
        name: of the plugin, which becomes the module's where there is no go.mod.
        go: what compiles it, and the author's go.mod. Its own packages' names no module may have.
    """
    root = go.module.parent if go.module else source
    made_up = f"module {_prefix(source) or name}\n\ngo {go.language}\n"
    author = go.module.read_text("utf-8") if go.module else made_up
    added = {} if go.module else {source / "go.mod": author}
    # Where they are, which the library then notes. Laid over the author's folder they would not compile: cgo goes to a
    # package's folder, which must be there.
    folders = {_name(folder / "go.mod"): f'"{folder}"' for folder in STAND_INS}
    tyk = frozenset(folders)
    for path, language in _vendored(root):
        if path not in tyk:
            folders[path] = f"./vendor/{path}"
            added[root / "vendor" / path / "go.mod"] = f"module {path}\n\ngo {language}\n"
    kept = []
    for line in _lines(author):
        if line.verb == "module" and (go.root / "src" / line.path).is_dir():
            kept.append(f"module tykbridge.local/{line.path}")
        elif not (line.path in tyk or (line.path in folders and line.verb == "replace")):
            kept.append(line.text)
    # What is vendored Go requires by itself; of what is nowhere required go get asks the network.
    kept += [f"require {path} {_VERSION}" for path in sorted(tyk)]
    kept += [f"replace {path} => {folder}" for path, folder in folders.items()]
    sums = (file for folder in (root, *STAND_INS) if (file := folder / "go.sum").exists())
    known = dict.fromkeys(line for file in sums for line in file.read_text("utf-8").splitlines())
    return Modules("\n".join([*kept, ""]), "".join(f"{line}\n" for line in known), added)


def _lines(text: str) -> Iterator[_Line]:
    block = ""
    for line in text.splitlines():
        words = [word.strip('"`') for word in line.partition("//")[0].replace("(", " ( ").split()]
        if block:
            if words == [")"]:
                block = ""
            yield _Line(line, block, words[0] if block and words else "")
        elif words[1:2] == ["("]:
            block = "" if words[-1] == ")" else words[0]
            yield _Line(line, "", "")
        else:
            yield _Line(line, words[0] if words else "", words[1] if words[1:] else "")


def _name(go_mod: Path) -> str:
    return next(line.path for line in _lines(go_mod.read_text("utf-8")) if line.verb == "module")


def _vendored(root: Path) -> Iterator[tuple[str, str]]:
    """Give path and language of each module of a vendor folder."""
    listed = root / "vendor" / "modules.txt"
    if not listed.exists():
        return
    found, language, packages = "", _OLDEST, False
    for line in [*listed.read_text("utf-8").splitlines(), "# "]:
        if line.startswith("## "):
            if told := re.search(r"\bgo (\d\S*)", line):
                language = told[1]
        elif line.startswith("# "):
            if found and packages:
                yield found, language
            # "# path version", and " => ..." where it is replaced; at the end "# path => ..." without packages.
            found, language, packages = (line.split() + [""])[1], _OLDEST, False
        else:
            packages = True


def _prefix(source: Path) -> str:
    """Give the module's path that the imports of a source without go.mod imply, "" where they imply none.

    A folder `rules` that is imported as "example.com/plugin/rules" implies "example.com/plugin".
    """
    files = [file for file in sorted(source.rglob("*.go")) if "vendor" not in file.relative_to(source).parts]
    folders = {file.parent.relative_to(source).as_posix() for file in files} - {"."}
    imports = [path for file in files for path in _IMPORT.findall(file.read_text("utf-8", "replace"))]
    implied = Counter(path[: -len(folder) - 1] for path in imports for folder in folders if path.endswith(f"/{folder}"))
    return implied.most_common(1)[0][0] if implied else ""
