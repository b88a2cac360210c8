"""What the pages say: README's plugin and host run and print what it prints; what pages name is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tykbridge import installation

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("bench/*.md"),
        *(page for page in ROOT.glob("examples/**/*.md") if "node_modules" not in page.parts),
        *ROOT.glob("hosts/**/*.md"),
    ]
)


def blocks(page: Path) -> dict[str, list[str]]:
    """The fenced blocks of a page by their language."""
    found: dict[str, list[str]] = {}
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    ):
        found.setdefault(language, []).append(text)
    return found


@pytest.mark.plain
def test_readmes_host_runs_readmes_plugin(tmp_path):
    found = blocks(ROOT / "README.md")
    [plugin], [host], printed = found["python"], found["c"], found["text"][0]
    [manifest], [*_, tried, shell] = found["json"], found["sh"]
    bundle = tmp_path / "bundles" / "hello"
    bundle.mkdir(parents=True)
    (bundle / "middleware.py").write_text(plugin)
    (bundle / "manifest.json").write_text(manifest)
    shown = subprocess.run(
        ["sh", "-ec", tried.replace("tykbridge", f"{sys.executable} -m tykbridge")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed.strip() in shown.stdout
    (tmp_path / "host.c").write_text(host)
    command, compiled, started = shell.splitlines()
    assert command == "make build"
    (tmp_path / ".venv").symlink_to(sys.prefix)
    compiled = compiled.replace(".venv/bin/tykbridge", f"{sys.executable} -m tykbridge")
    subprocess.run(["sh", "-ec", f"{compiled} -Wall -Wextra -Werror"], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["sh", "-c", started], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, printed), done.stderr
    assert "greeted Ada" in done.stderr


def test_the_header_is_where_readme_says():
    assert (installation.include() / "tykbridge" / "api.h").is_file()


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.once
def test_every_check_of_the_security_model_is_there():
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    checks = re.findall(r"`((?:tests|fuzz)/[\w/.]+)(?:::(\w+))?`", text)
    assert len(checks) > 20
    for path, name in checks:
        assert (ROOT / path).is_file(), f"docs/security.md names {path}, which is not there"
        found = re.search(rf"\b{name}\(", (ROOT / path).read_text(encoding="utf-8"))
        assert not name or found, f"docs/security.md names {path}::{name}, which is not there"


@pytest.mark.once
def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", pages, flags=re.MULTILINE))
    assert {"run", "test", "bench"} <= named
    assert named <= targets, f"a page names a make target that is not there: {named - targets}"
