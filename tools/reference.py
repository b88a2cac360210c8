"""Writes the pages of the reference from what they describe: C headers, the command line, Python's docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import click
import griffe

# ---- C headers ----------------------------------------------------------------------------------------------------

_COMMENT = re.compile(r"^/\*(.*?)\*/$", re.MULTILINE | re.DOTALL)
_CHAPTER = re.compile(r"---- (.+?) -{4,}\s*", re.DOTALL)
_NAMES = re.compile(
    r"^(?:typedef )?(?:struct|enum) (\w+) \{|^#define (\w+)(?=[ (])"  # their bodies are indented
    r"|^(?!typedef)[a-z][\w \*]*?\b(\w+)\(|^typedef .*?\(\*(\w+)\)|^typedef struct \w+ (\w+);"
    r"|^extern const struct \w+ (\w+);",
    re.MULTILINE,
)
_GUARDS = re.compile(
    r"^#(?:if|endif|ifndef|include|ifdef|elif)\b.*\n|^extern \"C\" \{\n|^\}\n|^#define TYK\w*(?:API|_H)\n", re.MULTILINE
)
_LABEL = re.compile(r"([A-Z][a-z]+) {2,}(?=\S)")
_CODE_WORD = re.compile(
    r"(?<![\w`/.])(\{(?:[^{}]|\{[^{}]*\})*\}|\w+\[\"\w+\"\]|[\w./-]+/[\w-]+\.\w+|[A-Za-z_]\w*_\w*(?:\(\)|\.\w+)?|\w+\(\))(?![\w`])"
)


def header(path: Path, title: str) -> str:
    """Write the page of a C header: each comment as text, and below it what it is about as code."""
    text = path.read_text(encoding="utf-8")
    comments = list(_COMMENT.finditer(text))
    page = [f"# {title}", f"`#include <tykbridge/{path.name}>`, as it stands in the header's own comments."]
    for at, comment in enumerate(comments):
        end = comments[at + 1].start() if at + 1 < len(comments) else len(text)
        words = _words(comment.group(1))
        if chapter := _CHAPTER.match(words):
            page.append(f"## {chapter.group(1)}")
            words = words[chapter.end() :]
        code = _GUARDS.sub("", text[comment.end() : end]).strip("\n")
        names = [next(filter(None, found)) for found in _NAMES.findall(code)]
        if names and words.strip():
            page.append(f"### {', '.join(f'`{name}`' for name in dict.fromkeys(names))}")
        page += _prose(words)
        if code.strip():
            page.append(f"```c\n{re.sub(chr(10) + '{3,}', chr(10) * 2, code)}\n```")
    return "\n\n".join(page) + "\n"


def _words(comment: str) -> str:
    lines = [re.sub(r"^ \* ?", "", line) for line in comment.splitlines()]
    return "\n".join([lines[0].strip() if lines else "", *lines[1:]]).strip()


def _prose(words: str) -> Iterator[str]:
    """Give the paragraphs: code where they are indented, a list where they begin with a label ("Memory   ...")."""
    for block in re.split(r"\n\s*\n", words):
        lines = block.splitlines()
        if not block.strip():
            continue
        if all(line.startswith("    ") for line in lines):
            yield "```c\n" + textwrap.dedent(block) + "\n```"
            continue
        code = next(
            (at for at, line in enumerate(lines) if line.startswith("    ") and not _LABEL.match(lines[0])), None
        )
        if code is not None:
            yield from _prose("\n".join(lines[:code]))
            yield from _prose("\n".join(lines[code:]))
        elif any(map(_LABEL.match, lines)):
            items = re.split(r"^(?=[A-Z][a-z]+ {2,}\S)", block, flags=re.MULTILINE)
            told = [_LABEL.sub(r"- **\1**: ", _marked(" ".join(item.split("\n")))) for item in items if item.strip()]
            yield "\n".join(re.sub(r" {2,}", " ", item).rstrip() for item in told)
        else:
            yield _marked(" ".join(line.strip() for line in lines))


def _marked(text: str) -> str:
    """Put names into code, outside of what is code already."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if part.startswith("`") else _CODE_WORD.sub(r"`\1`", part).replace("<", "&lt;") for part in parts
    )


# ---- The command line ---------------------------------------------------------------------------------------------


def commands() -> str:
    """Write the page of the command line: what each command's --help says."""
    from tykbridge.cli import main

    page = [
        "# Commands and options",
        "What `tykbridge COMMAND --help` says. [The command line](../cli.md) tells how commands are used.",
    ]
    page += _command(main, click.Context(main, info_name="tykbridge"), 2)
    return "\n\n".join(page) + "\n"


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}"
    yield from _help(command.help or "")
    yield f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
    records = [record for item in command.get_params(context) if (record := item.get_help_record(context))]
    if records:
        rows = [f"| `{option.replace('|', chr(92) + '|')}` | {_cell(words)} |" for option, words in records]
        yield "\n".join(["| Option | |", "|---|---|", *rows])
    yield from _help(command.epilog or "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, click.Context(below, info_name=name, parent=context), level + 1)


def _help(text: str) -> Iterator[str]:
    """Give the paragraphs of a help text; one that starts with click's mark against wrapping is code."""
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            first, _, rest = block.removeprefix("\b\n").partition("\n")
            code = rest if first.endswith(":") else block.removeprefix("\b\n")
            yield f"{first}\n\n" * first.endswith(":") + f"```text\n{textwrap.dedent(code).rstrip()}\n```"
        elif block.strip():
            yield _marked(" ".join(block.split()))


def _cell(words: str) -> str:
    return _marked(" ".join(words.split())).replace("|", "\\|")


# ---- Python -------------------------------------------------------------------------------------------------------

# The pages: chapter → what is public of it, by its full name. A module stands for all that it defines.
_PYTHON = {
    "plugins": (
        "What plugins and their tests import",
        "`tyk` and `gateway` exist for plugins alone; editors find their types in tykbridge's environment.",
        {
            "`from tyk.decorators import *`": ["tyk.decorators"],
            "`from gateway import TykGateway as tyk`": ["gateway.TykGateway"],
            "The request": ["tyk.request.TykCoProcessRequest"],
            "The messages": [
                f"tyk.object.{name}"
                for name in (
                    "MiniRequestObject",
                    "ReturnOverrides",
                    "ResponseObject",
                    "Header",
                    "SessionState",
                    "AccessDefinition",
                    "AccessSpec",
                    "BasicAuthData",
                    "JWTData",
                    "Monitor",
                )
            ],
            "Tests of plugins": [
                "tykbridge.testing.TykApi",
                "tykbridge.testing.api.Api",
                "tykbridge.testing.api.Upstream",
                "tykbridge.testing.messages.Reply",
                "tykbridge.testing.messages.Received",
                "tykbridge.testing.messages.Answer",
            ],
        },
    ),
    "hosts": (
        "Python",
        "For programs that run plugins: what they may rely on. The rest of the package may change with each release.",
        {
            "Running APIs": ["tykbridge.bridge.Bridge", "tykbridge.bridge.Loaded", "tykbridge.bridge.NotLoaded"],
            "Requests and outcomes": [
                "tykbridge.outcome.Request",
                "tykbridge.outcome.Response",
                "tykbridge.outcome.Continue",
                "tykbridge.outcome.Respond",
            ],
            "Surroundings": [
                "tykbridge.services.Services",
                "tykbridge.services.Mode",
                "tykbridge.services.EventSink",
                "tykbridge.policies.read_policies",
            ],
            "ASGI applications": ["tykbridge.asgi.TykMiddleware", "tykbridge.asgi.Admitted"],
            "Settings": [
                "tykbridge.settings.read_settings",
                "tykbridge.settings.SettingsError",
                "tykbridge.operating.read_operation",
                "tykbridge.operating.using",
                "tykbridge.operating.prepare",
                "tykbridge.operating.Operation",
            ],
            "Stores": ["tykbridge.stores.Store", "tykbridge.stores.StoreError"],
            "gRPC servers of plugins": ["tykbridge.grpc"],
            "Errors": ["tykbridge.errors"],
        },
    ),
}

_Item: TypeAlias = Any
"""A griffe.Object of any kind: what each has is not in the type of all of them."""

_SECTIONS = {"parameters": "Arguments", "attributes": "Attributes", "raises": "Raises", "returns": "Returns"}


def python(root: Path, page: str) -> str:
    """Write a page of Python's reference from signatures and docstrings; nothing is imported.

    Raises:
        KeyError: what the page names is not there.
    """
    title, words, chapters = _PYTHON[page]
    packages = griffe.GriffeLoader(search_paths=[str(root), str(root / "stubs")])
    for name in {full.partition(".")[0] for names in chapters.values() for full in names}:
        packages.load(name, find_stubs_package=True, try_relative_path=False)
    found = [f"# {title}", words]
    for chapter, names in chapters.items():
        found.append(f"## {chapter}")
        for name in names:
            item = packages.modules_collection[name]
            shown = _public(item) if isinstance(item, griffe.Module) else [item]
            if isinstance(item, griffe.Module) and item.docstring:
                found.append(_text(item.docstring.value))
            for thing in shown:
                found += _thing(thing, 3)
    return "\n\n".join(found) + "\n"


def _public(owner: _Item) -> list[_Item]:
    """What an object defines itself for others, in the order of the source."""
    own = (item for item in owner.members.values() if not item.is_alias and _is_public(item.name))
    return sorted(own, key=lambda item: item.lineno or 0)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def _thing(item: _Item, level: int, owner: str = "") -> Iterator[str]:
    name = f"{owner}.{item.name}" if owner else item.name
    yield f"{'#' * level} `{name}`"
    if item.is_function:
        yield f"```python\n{_signature(item)}\n```"
    elif item.is_class:
        init = item.members.get("__init__")
        head = _signature(init, item.path) if init else f"{item.path}{_bases(item)}"
        yield f"```python\nclass {head}\n```"
    elif item.is_attribute:
        yield f"```python\n{_attribute(item)}\n```"
    if item.docstring:
        yield from _docstring(item.docstring)
    if not item.is_class:
        return
    # What __init__ sets without a type is told by the docstring.
    members = [
        member
        for member in _public(item)
        if not member.is_attribute or member.annotation or "class-attribute" in member.labels
    ]
    plain = [member for member in members if member.is_attribute and not member.docstring]
    told = {
        entry.name
        for section in (item.docstring.parse("google") if item.docstring else [])
        if section.kind is griffe.DocstringSectionKind.attributes
        for entry in section.value
    }
    if rest := [member for member in plain if member.name not in told]:
        yield "```python\n" + "\n".join(_attribute(member) for member in rest) + "\n```"
    for member in members:
        if member not in plain:
            yield from _thing(member, level + 1, item.name)


def _signature(item: _Item, name: str = "") -> str:
    """Write a function's head, one line for each parameter where it is long."""
    shown, star = [], False
    for parameter in item.parameters:
        if parameter.name == "self":
            continue
        kind = parameter.kind
        if kind is griffe.ParameterKind.keyword_only and not star:
            shown.append("*")
            star = True
        marks = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(kind, "")
        star = star or marks == "*"
        annotation = f": {parameter.annotation}" if parameter.annotation else ""
        default = f"{' = ' if annotation else '='}{parameter.default}" if parameter.default and not marks else ""
        shown.append(f"{marks}{parameter.name}{annotation}{default}")
    words = "async def " if "async" in item.labels else "" if name else "def "
    returns = f" -> {item.returns}" if item.returns and not name else ""
    line = f"{words}{name or item.name}({', '.join(shown)}){returns}"
    if len(line) <= 80:
        return line
    return f"{words}{name or item.name}(\n" + "".join(f"    {part},\n" for part in shown) + f"){returns}"


def _bases(item: _Item) -> str:
    bases = ", ".join(str(base) for base in item.bases if not str(base).startswith("_"))
    return f"({bases})" if bases else ""


def _attribute(item: _Item) -> str:
    annotation = f": {item.annotation}" if item.annotation else ""
    value = str(item.value) if item.value is not None else ""
    return f"{item.name}{annotation}" + (
        f" = {value}" if value and value != "..." and "default_factory" not in value else ""
    )


def _docstring(docstring: griffe.Docstring) -> Iterator[str]:
    for section in docstring.parse("google"):
        title = _SECTIONS.get(section.kind.value)
        if section.kind is griffe.DocstringSectionKind.text:
            yield _text(section.value)
        elif section.kind is griffe.DocstringSectionKind.returns:
            yield f"**{title}**: {_marked_line(' '.join(entry.description for entry in section.value))}"
        elif title:
            yield f"**{title}**\n\n" + "\n".join(_entries(section.value, section.kind.value))
        else:
            yield _text(str(section.value))


def _entries(entries: Iterable[griffe.DocstringNamedElement], kind: str) -> Iterator[str]:
    for entry in entries:
        words = _marked_line(entry.description)
        name = str(entry.annotation) if kind == "raises" else getattr(entry, "name", "")
        yield f"- `{name}`: {words}" if name else f"- {words}"


def _text(text: str) -> str:
    return _marked(inspect.cleandoc(text).replace("``", "`")).replace("[", "\\[")


def _marked_line(text: str) -> str:
    return _text(" ".join(text.split()))
