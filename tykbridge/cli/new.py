"""``tykbridge new``: begins a plugin, with everything beside it that it takes to try, test and ship it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import click

import tykbridge
from tykbridge import drivers
from tykbridge.definition import Driver

TEMPLATES = Path(tykbridge.__file__).parent / "templates"
_DRIVERS = tuple(sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir()))
# A template may have been run, or compiled.
_SUFFIXES = frozenset({".go", ".ini", ".js", ".json", ".lua", ".md", ".py"})
_NAME = "my-plugin"
_PLUGIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40

_EXAMPLES = """\b
Examples:
  tykbridge new hello
  tykbridge new hello --driver lua
  tykbridge new plugins/hello --driver go

Exit status: 0 when it is there, 1 when it cannot be written, 2 for wrong usage, such as a folder that is not empty.
"""


class _Driver(click.Choice[str]):
    """A driver, by its own name or by that of its language."""

    name = "driver"

    def __init__(self) -> None:
        super().__init__(_DRIVERS)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(
            {"goplugin": "go", "js": "javascript", "otto": "javascript"}.get(value, value), param, ctx
        )


@click.command("new", epilog=_EXAMPLES)
@click.argument("place", metavar="NAME", type=click.Path(path_type=Path))
@click.option("--driver", type=_Driver(), default="python", show_default=True, help="What the plugin is written in.")
def command(place: Path, driver: str) -> None:
    """Begin a plugin in the folder NAME, which has to be new or empty.

    It holds a plugin that works, the API that it stands before, a test, and a README.md that says what to do with them.
    NAME is the API's name as well: lower-case letters, digits and hyphens, such as my-plugin; before it there may be a
    folder.
    """
    name = _checked(place)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise click.UsageError(f"{place} is there already, and not an empty folder: take another name, or empty it")
    try:
        files = _write(TEMPLATES / driver, place, name)
    except OSError as error:
        raise click.ClickException(f"{error.filename or place}: {error.strerror}; nothing was written") from error
    click.echo(f"{place}: a plugin in {driver}, and the API {name} that it stands before")
    for file in files:
        click.echo(f"  {file}")
    click.echo("\nNext:")
    for line in _next(place, driver):
        click.echo(f"  {line}")
    click.echo(f"\n{place / 'README.md'} says what each of them shows.")


def _checked(place: Path) -> str:
    name = place.resolve().name
    if _PLUGIN.fullmatch(name) and len(name) <= _LONGEST:
        return name
    parts = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
    close = re.sub(r"^[0-9-]+", "", "-".join(parts))[:_LONGEST].strip("-")
    hint = f"; {place.parent / close} would do" if close else ""
    raise click.BadParameter(
        f'"{name}": a name begins with a lower-case letter, goes on with these, digits and single hyphens, and has '
        f"{_LONGEST} characters at most{hint}",
        param_hint="NAME",
    )


def _write(template: Path, place: Path, name: str) -> list[str]:
    """Write a template's files under another name, all or none; lists them."""
    sources = sorted(
        path
        for path in template.rglob("*")
        if path.is_file() and path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place.parent))
    files = []
    try:
        for source in sources:
            file = _named(source.relative_to(template).as_posix(), name)
            (aside / file).parent.mkdir(exist_ok=True)
            (aside / file).write_text(_named(source.read_text(encoding="utf-8"), name), encoding="utf-8")
            files.append(file)
        if place.exists():  # and is empty: a shell may be in it
            for entry in aside.iterdir():
                entry.rename(place / entry.name)
            aside.rmdir()
        else:
            aside.chmod(0o777 & ~_umask())
            aside.rename(place)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return files


def _named(text: str, name: str) -> str:
    return text.replace(_NAME, name).replace(_NAME.replace("-", "_"), name.replace("-", "_"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _next(place: Path, driver: str) -> list[str]:
    """Give the commands of the project's README.md that come first."""
    lines = [f"cd {shlex.quote(str(place))}"]
    engine = drivers.engines()[Driver(driver if driver != "go" else "goplugin")]
    if hint := engine.missing():
        lines.append(hint)
    if driver == "go":
        lines.append("(cd plugin && tykbridge plugin build plugin.so)")
    if driver == "grpc":
        lines.append("python plugin/server.py &")
    lines.append("tykbridge run-hook . -H 'X-Name: Ada'")
    if importlib.util.find_spec("pytest") is None:
        lines.append("python -m pip install pytest")
    return [*lines, "python -m pytest"]
