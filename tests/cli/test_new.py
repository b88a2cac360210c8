"""`tykbridge new`, as people run it: what it writes works at once, as its README says."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from tests.cli.commands import tykbridge
from tests.plugins import go_environment
from tests.test_readme import blocks
from tykbridge.cli import main, new

pytestmark = pytest.mark.once
DRIVERS = ("go", "grpc", "javascript", "lua", "python")
PHASES = {"go": ("Greet", "Sign")}


def environment():
    """A shell's environment in which the commands of a README are this Python's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **go_environment(), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def commands(readme, *words):
    """The blocks of a README that have one of these words."""
    return [block for block in blocks(readme)["sh"] if any(word in block for word in words)]


def shell(script, folder):
    done = subprocess.run(
        ["sh", "-ec", script], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """A folder with a project for each driver, named plugin-in-lua and so on; that in Go is compiled."""
    folder = tmp_path_factory.mktemp("projects")
    for driver in DRIVERS:
        done = CliRunner().invoke(new.command, [str(folder / f"plugin-in-{driver}"), "--driver", driver])
        assert done.exit_code == 0, done.output
    [compiled] = commands(folder / "plugin-in-go/README.md", "tykbridge plugin build")
    shell(compiled, folder / "plugin-in-go")
    return folder


def test_there_is_a_template_for_each_driver_that_a_plugin_is_written_for():
    assert new._DRIVERS == DRIVERS


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_project_has_its_name_everywhere_and_nothing_else(driver, projects):
    folder, template = projects / f"plugin-in-{driver}", new.TEMPLATES / driver
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in new._SUFFIXES}
    wanted = {path.relative_to(template).as_posix() for path in template.rglob("*") if path.suffix in new._SUFFIXES}
    assert set(files) == {name.replace("my_plugin", f"plugin_in_{driver}") for name in wanted}
    assert not [name for name, path in files.items() if re.search("my.plugin", path.read_text())]
    assert json.loads((folder / "api.json").read_bytes())["api_id"] == f"plugin-in-{driver}"


@pytest.mark.parametrize("driver", DRIVERS)
def test_readme_says_what_each_file_is_for(driver, projects):
    folder, template = projects / f"plugin-in-{driver}", new.TEMPLATES / driver
    listed = re.findall(r"^\| `(\S+)` \|", (folder / "README.md").read_text(), flags=re.MULTILINE)
    files = [path.relative_to(template).as_posix() for path in template.rglob("*") if path.suffix in new._SUFFIXES]
    assert sorted([*listed, "README.md"]) == sorted(new._named(file, folder.name) for file in files)


def test_the_settings_of_a_project_round_it_do_not_count(tmp_path):
    """A plugin may be made in a clone of tykbridge, whose own tests are run in a way of their own."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    for driver in DRIVERS:
        folder = tmp_path / f"plugin-in-{driver}"
        assert CliRunner().invoke(new.command, [str(folder), "--driver", driver]).exit_code == 0
        shell("python -m pytest -p no:cacheprovider --markers", folder)


def test_the_tests_of_all_projects_pass(projects):
    """In one run: projects that lie side by side are in nobody's way."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=projects,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "19 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver != "grpc"])
def test_what_readme_says_to_try(driver, projects, monkeypatch):
    folder = projects / f"plugin-in-{driver}"
    monkeypatch.chdir(folder)
    [script] = commands(folder / "README.md", "run-hook")
    checked, *tried, tested = script.splitlines()
    assert (len(tried), tested) == (2, "python -m pytest")
    assert "2 loaded: 0 problems, 0 warnings" in run(checked, driver)
    for line in tried:
        out = run(line, driver)
        assert "Hello, Ada" in out
        assert f"'plugin-in-{driver}'" in out


def run(line, driver):
    """Runs a command here: to start Python takes most of the time. What Go's runtime does is for another process."""
    if driver == "go":
        return shell(line, Path.cwd())
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_server_of_hooks(projects, tmp_path):
    folder = projects / "plugin-in-grpc"
    definition = json.loads((folder / "api.json").read_bytes())
    [started] = commands(folder / "README.md", "server.py")
    with _running(f"exec {started.strip()} unix://{tmp_path}/socket", folder):
        definition["custom_middleware"]["grpc"]["targets"]["plugin-in-grpc"]["address"] = f"unix://{tmp_path}/socket"
        (tmp_path / "api.json").write_text(json.dumps(definition))
        _, run = commands(folder / "README.md", "server.py", "run-hook")
        checked, shown, _ = run.splitlines()
        assert "1 loaded: 0 problems, 0 warnings" in shell(checked, tmp_path)
        assert "Hello, Ada" in shell(shown, tmp_path)


def test_the_upstream_gets_what_the_plugin_wrote(projects, tmp_path):
    """Client, gateway and upstream, each started as README says, on ports that are free."""
    folder = projects / "plugin-in-python"
    [upstream], [serve], [curl] = (commands(folder / "README.md", word) for word in ("upstream", "serve", "curl"))
    with _running(f"exec {upstream.strip()} --port 0", folder) as line:
        definition = json.loads((folder / "api.json").read_bytes())
        assert definition["proxy"]["target_url"] == "http://127.0.0.1:8000/"
        definition["proxy"]["target_url"] = re.search(r"http://\S+", line)[0]
        definition["custom_middleware"]["pre"][0]["path"] = str(folder / "plugin/middleware.py")
        definition["custom_middleware"]["response"][0]["path"] = str(folder / "plugin/middleware.py")
        (tmp_path / "api.json").write_text(json.dumps(definition))
        with _running(f"exec {serve.strip()} --port 0", tmp_path) as line:
            path = re.search(r"http://127.0.0.1:8181(\S+)", curl)[1]
            request = urllib.request.Request(re.search(r"http://[^/\s]+", line)[0] + path, headers={"X-Name": "Ada"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                got = json.load(answer)
                assert answer.headers["X-Signed-By"] == "plugin-in-python"
    assert (urlsplit(got["url"]).path, got["headers"]["X-Greeting"]) == ("/", "Hello, Ada")


@contextlib.contextmanager
def _running(script, folder):
    """A program, until the block ends; gives the first line that it writes with an address."""
    with subprocess.Popen(
        ["sh", "-c", script], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            yield next(line for line in run.stdout if "://" in line)
        finally:
            run.terminate()


def test_the_next_commands_are_printed(tmp_path):
    out = tykbridge("new", "hello", "--driver", "goplugin", cwd=tmp_path).output
    assert out.splitlines()[0] == "hello: a plugin in go, and the API hello that it stands before"
    assert re.findall(r"^  (cd.*|\(cd.*|tykbridge.*|python.*)$", out, re.MULTILINE) == [
        "cd hello",
        "(cd plugin && tykbridge plugin build plugin.so)",
        "tykbridge run-hook . -H 'X-Name: Ada'",
        "python -m pytest",
    ]


def test_the_next_commands_install_pytest_where_there_is_none(tmp_path):
    program = "import sys; sys.modules['pytest'] = None; from tykbridge.cli import main; main(['new', 'hello'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-4:-2] == ["  python -m pip install pytest", "  python -m pytest"], done.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HelloWorld", "; hello-world would do"),
        ("my_plugin", "; my-plugin would do"),
        ("a/2nd plugin", "; a/nd-plugin would do"),
        ("-", ""),
        ("a--b", "; a-b would do"),
        ("a" * 41, f"; {'a' * 40} would do"),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_would_do(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(new.command, ["--", name])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "a name begins with a lower-case letter" in done.output
    assert done.output.endswith(f"40 characters at most{hint}\n")


def test_what_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/mine.py").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("hello", "file"):
        done = tykbridge("new", name, cwd=tmp_path)
        assert done.status == 2
        assert f"{name} is there already, and not an empty folder: take another name, or empty it" in done.words
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "hello", "mine.py"]


def test_the_folder_that_one_is_in(tmp_path):
    place = tmp_path / "hello"
    place.mkdir()
    assert tykbridge("new", ".", cwd=place).status == 0
    assert {"README.md", "api.json", "plugin", "pytest.ini", "test_hello.py"} == {path.name for path in place.iterdir()}


def test_nothing_is_left_when_it_cannot_be_written(tmp_path, monkeypatch):
    written = []

    def write(path, text, encoding):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", write)
    done = CliRunner().invoke(new.command, [str(tmp_path / "hello")])
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "No space left on device; nothing was written" in done.output
