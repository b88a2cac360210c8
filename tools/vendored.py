"""Fetches what the build and the tests take from other projects: pinned, checked by its hash, once for a checkout.

Nothing of it stands in the tree. What cannot be had is left out of the build, which says so; the driver that needs it
says then what to do.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "build" / "vendored"

QUICKJS = "0.17.0.2"
_QUICKJS_HASH = "43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef"

UNDERSCORE = "1.13.8"
_UNDERSCORE_HASH = "DXtD3ZtEQzc7M8m4cXotyHR+FAS18C64asBYY5vqZexfYryNNnDc02W4hKg3rdQuqOYas1jkseX0+nZXjTXnvQ=="
TYPESCRIPT = "5.9.3"
_TYPESCRIPT_HASH = "jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw=="
_REGISTRY = "https://registry.npmjs.org"

# What keeps QuickJS from running on after its time: loops in its own C that never look at the clock, or seldom.
_POLL = "if (js_poll_interrupts(ctx)) goto fail;"
_EDITS = {
    "quickjs.c": (
        # A sort of 10,000 elements would be compared to its end before anybody looks.
        ("#define JS_INTERRUPT_COUNTER_INIT 10000", "#define JS_INTERRUPT_COUNTER_INIT 100"),
        # One division or text of a number of a million bits takes seconds, and cannot be ended.
        ("#define JS_BIGINT_MAX_SIZE ((1024 * 1024)", "#define JS_BIGINT_MAX_SIZE ((64 * 1024)"),
        # Holes: reverse, splice, join and others go through 2 ** 53 of them.
        (
            "    val = JS_EXCEPTION;\n    present = -1;\n    prop = JS_NewAtomInt64(ctx, idx);",
            (
                "    *pval = val = JS_EXCEPTION;\n    present = -1;\n    if (js_poll_interrupts(ctx)) return -1;\n"
                "    prop = JS_NewAtomInt64(ctx, idx);"
            ),
        ),
        (
            "            return val;\n    }\n    prop = JS_NewAtomInt64(ctx, idx);",
            (
                "            return val;\n    }\n    if (js_poll_interrupts(ctx)) return JS_EXCEPTION;\n"
                "    prop = JS_NewAtomInt64(ctx, idx);"
            ),
        ),
        # Where memory ends while code is compiled, what is half written was gone through as if it were whole.
        (
            "if (!new_buf)\n                    return -1;\n                memcpy(new_buf, fd->scopes",
            "if (!new_buf) return dbuf_set_error(&fd->byte_code), -1;\n                memcpy(new_buf, fd->scopes",
        ),
        (
            "fd->scopes, new_size * sizeof(*fd->scopes));\n                if (!new_buf)",
            (
                "fd->scopes, new_size * sizeof(*fd->scopes));\n                if (!new_buf) "
                "dbuf_set_error(&fd->byte_code);\n                if (!new_buf)"
            ),
        ),
        (
            "    /* add the module global variables in the closure */",
            (
                "    if (dbuf_error(&fd->byte_code)) {\n        JS_ThrowOutOfMemory(ctx);\n        goto fail;\n    }\n"
                "    /* add the module global variables in the closure */"
            ),
        ),
        # The names that a proxy tells are compared each with each.
        (
            'if (find_prop_key(tab, i, tab[i].atom) >= 0) {\n            JS_ThrowTypeError(ctx, "proxy: duplicate',
            _POLL + "\n        if (find_prop_key(tab, i, tab[i].atom) >= 0) {\n"
            '            JS_ThrowTypeError(ctx, "proxy: duplicate',
        ),
        ("idx = find_prop_key(tab, len, tab2[i].atom);", _POLL + "\n idx = find_prop_key(tab, len, tab2[i].atom);"),
    ),
    # The marks on one letter are sorted by insertion, and gone through for each of them: no language has a hundred.
    "libunicode.c": (
        ("while (j < len) {\n                ch1", "while (j < len && j - start < 128) {\n                ch1"),
        (
            "while (starter_pos >= 0) {\n            cc",
            "while (starter_pos >= 0) {\n            if (out_len - starter_pos > 128) goto next;\n            cc",
        ),
    ),
}


class MissingError(Exception):
    """Something cannot be had; the words say why."""


def quickjs() -> Path:
    """Give the folder of QuickJS-ng's C source, from the source package quickjs-ng of PyPI. Raises MissingError."""
    edition = hashlib.sha256(repr(_EDITS).encode()).hexdigest()[:8]
    return _once(f"quickjs-ng-{QUICKJS}-{edition}", _unpack_quickjs)


def underscore() -> Path:
    """Give the folder of underscore's file, from npm. Raises MissingError."""
    return _once(f"underscore-{UNDERSCORE}", _unpack_underscore)


def typescript() -> Path:
    """Give the folder of TypeScript's compiler, lib/tsc.js, from npm; for tests. Raises MissingError."""
    return _once(f"typescript-{TYPESCRIPT}", _unpack_typescript)


def _once(name: str, unpack: Callable[[Path], None]) -> Path:
    place = FOLDER / name
    if place.is_dir():
        return place
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        # In one step, since several Pythons may be building here.
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".") as scratch:
            made = Path(scratch, "made")
            made.mkdir()
            unpack(made)
            made.rename(place)
    # HTTPException: a download that broke off.
    except (OSError, http.client.HTTPException, tarfile.TarError, subprocess.CalledProcessError) as error:
        if not place.is_dir():  # else another build was faster
            raise MissingError(_words(error)) from error
    return place


def _words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr or error.stdout or "").strip().splitlines() or [f"it ended with {error.returncode}"]
        return f"{Path(error.cmd[0]).name}: {lines[-1]}"
    return str(error) or type(error).__name__


def _unpack_quickjs(place: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        # pip, because it knows the machine's indexes, proxies and certificates.
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"quickjs-ng=={QUICKJS} --hash=sha256:{_QUICKJS_HASH}\n")
        _run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
            *("--no-build-isolation", "--require-hashes", "--dest", scratch, "--requirement", str(wanted)),
        )
        archive = next(Path(scratch).glob("*.tar.gz"), None)
        if archive is None:
            raise MissingError("pip brought no source package")
        _check(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), _QUICKJS_HASH)
        top = f"quickjs_ng-{QUICKJS}"
        with tarfile.open(archive) as unpacked:
            unpacked.extractall(scratch, filter="data")
        shutil.copytree(Path(scratch, top, "upstream-quickjs"), place, dirs_exist_ok=True)
        shutil.copy(Path(scratch, top, "LICENSE"), place / "LICENSE")
    for name, edits in _EDITS.items():
        file = place / name
        text = file.read_text(encoding="utf-8")
        for old, new in edits:
            if text.count(old) != 1:
                raise MissingError(f"{name} of quickjs-ng {QUICKJS} has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


def _unpack_underscore(place: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        package = _of_npm("underscore", UNDERSCORE, _UNDERSCORE_HASH, scratch)
        shutil.copy(package / "underscore-umd-min.js", place / "underscore.js")


def _unpack_typescript(place: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        package = _of_npm("typescript", TYPESCRIPT, _TYPESCRIPT_HASH, scratch)
        shutil.copytree(package, place, dirs_exist_ok=True)


def _of_npm(name: str, version: str, wanted: str, scratch: str) -> Path:
    """Give the folder of a package, below `scratch`."""
    archive = Path(scratch, f"{name}-{version}.tgz")
    npm = shutil.which("npm")
    if npm is not None:  # which knows the machine's registry
        _run(npm, "pack", "--silent", f"{name}@{version}", "--pack-destination", scratch)
    else:
        with urllib.request.urlopen(f"{_REGISTRY}/{name}/-/{archive.name}", timeout=60) as answer:
            archive.write_bytes(answer.read())
    _check(archive, base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode(), wanted)
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(scratch, filter="data")
    return Path(scratch, "package")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _check(archive: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise MissingError(f"{archive.name} is not the pinned file: its hash is {found}")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print({"quickjs": quickjs, "underscore": underscore, "typescript": typescript}[wanted]())
