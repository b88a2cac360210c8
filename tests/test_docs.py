"""The site of docs/: what pages link to is shown, what leads nowhere is told, and the reference is whole."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import click
import pytest

from tests.test_readme import PAGES
from tykbridge.cli import main

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return runpy.run_path(str(ROOT / "tools" / "docs.py"))
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def reference(tool):
    return tool["reference"]


def staged(tool, folder, files):
    """A repository with these files, and the pages that come of it."""
    for name, text in files.items():
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_text(text)
    stage = tool["Stage"](folder / "root", folder / "out", {})
    stage.run()
    found = {str(page.relative_to(folder / "out")): page.read_text() for page in (folder / "out").rglob("*.md")}
    return found, stage.problems


def test_what_a_page_links_to_is_a_page(tool, tmp_path):
    found, problems = staged(
        tool,
        tmp_path,
        {
            "docs/index.md": "[a](../src/a.h) [b](sub/) [c](../README.md#start) [d](#here) [e](https://example.org/)\n"
            "[one.md](sub/one.md)\n```c\nx = y[1](z);\n```\n",
            "docs/sub/one.md": "# One: the first\n[up](../index.md)\n",
            "src/a.h": "int a;\n",
            "README.md": "# Start\n[docs](docs/index.md) [more](examples)\n",
            "examples/README.md": "# Examples\n",
        },
    )
    assert problems == []
    assert sorted(found) == [
        "index.md",
        "source/README.md",
        "source/examples/README.md",
        "source/src/a.h.md",
        "sub/index.md",
        "sub/one.md",
    ]
    assert found["index.md"].startswith(
        "[a](source/src/a.h.md) [b](sub/index.md) [c](source/README.md#start) [d](#here) [e](https://example.org/)\n"
        "[One](sub/one.md)\n"
    )
    assert "x = y[1](z);" in found["index.md"]
    assert found["source/README.md"] == "# Start\n[docs](../index.md) [more](examples/README.md)\n"
    assert "int a;" in found["source/src/a.h.md"]
    assert "[One: the first](one.md)" in found["sub/index.md"]


def test_a_link_that_leads_nowhere_is_told(tool, tmp_path):
    page = "[a](gone.md) [b](../../outside) [c](https://nowhere) [d](ftp://example.org/)\n"
    _, problems = staged(tool, tmp_path, {"docs/index.md": page})
    assert problems == [
        "docs/index.md: gone.md leads nowhere",
        "docs/index.md: ../../outside leads nowhere",
        "docs/index.md: https://nowhere is no address of the web",
        "docs/index.md: ftp://example.org/ is no address of the web",
    ]


def test_a_page_that_no_menu_has_is_told(tool):
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert tool["missing_from_menu"](config, ROOT) == []
    assert tool["missing_from_menu"](config.replace("stores.md", ""), ROOT) == ["stores.md"]


def test_what_a_page_would_load_from_elsewhere_is_told(tool, tmp_path):
    (tmp_path / "page.html").write_text('<a href="https://example.org/"><script src="//cdn.test/x.js"></script>')
    assert tool["foreign"](tmp_path) == ["page.html: //cdn.test/x.js"]


@pytest.mark.parametrize("name", ["api.h", "plugin.h"])
def test_the_reference_has_all_that_a_header_declares(reference, name):
    file = ROOT / "csrc" / name
    page, text = reference.header(file, name), file.read_text(encoding="utf-8")
    declared = set(re.findall(r"^[a-z][\w ]*?\*?\b(\w+)\(", text, flags=re.MULTILINE))
    assert declared <= set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^### .*", page, flags=re.MULTILINE))))
    code = " ".join("".join(re.findall(r"^```c\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)).split())
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines():
        if line.strip() and not line.startswith(("#if", "#end", "#include", "#define TYK_CO", "#define TYKB_PLUGIN_H")):
            assert " ".join(line.split()) in code or line in ('extern "C" {', "}"), line


def commands(command, name):
    """Every command with its name."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            yield from commands(command.get_command(context, below), f"{name} {below}")


def test_the_reference_has_each_command_with_its_options(reference):
    page = reference.commands()
    for name, command in commands(main, "tykbridge"):
        assert re.search(rf"^#+ {name}$", page, flags=re.MULTILINE)
        for parameter in command.params:
            assert all(f"{option}" in page for option in parameter.opts if option.startswith("--"))


def test_the_reference_has_what_plugins_and_hosts_in_python_use(reference):
    plugins, hosts = reference.python(ROOT, "plugins"), reference.python(ROOT, "hosts")
    assert "def add_header(key: str, value: str) -> None" in plugins
    assert "response_code: int" in plugins
    assert "#### `Bridge.request_async`" in hosts
    assert "- `NotFoundError`: there is no such API." in hosts


LINES = [
    (page, line)
    for page in PAGES
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in re.findall(r"(?:^|&& |\()((?:\.venv/bin/)?tykbridge [a-z].*)$", block, flags=re.MULTILINE)
]


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda item: getattr(item, "name", item))
def test_commands_on_pages_are_commands(page, line):
    _, *words = shlex.split(line.partition(" | ")[0].rstrip(")&"), comments=True)
    known, command = dict(commands(main, "tykbridge")), "tykbridge"
    while words and f"{command} {words[0]}" in known:
        command += f" {words.pop(0)}"
    assert command != "tykbridge", line
    context = click.Context(known[command], info_name=command)
    known[command].make_parser(context).parse_args(words)  # files need not be there
