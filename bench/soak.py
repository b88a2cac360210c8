"""Runs what takes long (dispatches, reloads, drivers, the gateway, valgrind, fuzzers) and writes docs/soak.md.

    .venv/bin/python bench/soak.py [--dispatches N] [--seconds N] [--reloads N] [--fuzz-seconds N] [--only PART ...]

`make soak` runs all of it. All but the last two parts also run shortly in tests/test_soak_short.py.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from harness import HERE, ROOT, BenchError, compile_native, output

BUILD = ROOT / "build" / "soak"
VALGRIND = [
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--errors-for-leak-kinds=definite",
    "--leak-check=full",
    "--fair-sched=yes",  # or a busy thread may keep the others waiting for minutes
    f"--suppressions={HERE / 'valgrind.supp'}",
]


@cache
def build(python: Path) -> Path:
    """Builds bench/soak.c for an interpreter's tykbridge; returns the program."""
    version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    program = BUILD / f"soak-{version}"
    BUILD.mkdir(parents=True, exist_ok=True)
    compile_native(python, HERE / "soak.c", program)
    return program


@contextmanager
def bundles() -> Iterator[Path]:
    """A fresh copy of the bundles: the root that the program loads. The program rewrites what is in it."""
    with tempfile.TemporaryDirectory(prefix="tykbridge-soak-") as folder:
        shutil.copytree(HERE / "soak_bundle", Path(folder) / "root" / "soak")
        shutil.copytree(HERE / "soak_other", Path(folder) / "other")
        yield Path(folder) / "root"


def run(python: Path, command: Sequence[str | Path], mode: str, amount: float, **environment: str) -> str:
    """Runs a mode of bench/soak.c (see there) by a command that takes its arguments; what it printed.

    BenchError, with all that it printed, when it finds a fault.
    """
    with bundles() as root:
        env = os.environ | {"TYKBRIDGE_PYTHON": str(python)} | environment
        return output(*command, mode, f"{amount:g}" if amount < 1e5 else str(int(amount)), root, env=env)


def check_reloads(python: Path, program: Path, reloads: int) -> str:
    """Another version every 100 ms under load: by a native host, and by a Python program."""
    with tempfile.TemporaryDirectory(prefix="tykbridge-soak-") as folder:
        shutil.copytree(HERE / "soak_release", Path(folder) / "native" / "template")
        (Path(folder) / "python").mkdir()
        env = os.environ | {"TYKBRIDGE_PYTHON": str(python)}
        native = output(program, "reload", str(reloads), Path(folder) / "native", env=env)
        return native + output(python, HERE / "reloads.py", str(reloads), Path(folder) / "python")


def check_plugins(python: Path, script: str, *arguments: str) -> str:
    """Runs a script beside this one, which takes a folder last; what it printed."""
    with tempfile.TemporaryDirectory(prefix="tykbridge-soak-") as folder:
        return output(python, HERE / script, *arguments, folder)


def check_valgrind(python: Path, program: Path) -> str:
    """The C tests, native hosts, and a Python process whose every object valgrind sees, under valgrind."""
    output(ROOT / "tools/ctests")
    tests = sorted(path for path in (ROOT / "build/ctests").glob("test_*") if not path.suffix)
    for test in tests:
        output(*VALGRIND, test)
    # A forked child has lost the stacks of the other threads, and with them the way to what they own. "signals"
    # compares whole structs of the system's, which have holes.
    under = shlex.join([*VALGRIND, "--leak-check=no"])
    scenarios = ("-k", "test_linked_host and not signals")
    env = os.environ | {"TYKB_UNDER": under}
    embedding = output(python, "-m", "pytest", "-q", ROOT / "tests/test_embedding.py", *scenarios, env=env)
    run(python, [*VALGRIND, program], "mixed", 3000)
    # An interpreter that the library starts does not look at the environment, so it keeps its own allocator.
    library = program.with_suffix(".so")
    compile_native(python, HERE / "soak.c", library, "-shared", "-fPIC")
    load = "import ctypes, os, sys; words = [*map(os.fsencode, sys.argv[1:])]; "
    load += "sys.exit(ctypes.CDLL(sys.argv[1]).main(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None)))"
    run(python, [*VALGRIND, python, "-c", load, library], "mixed", 3000, PYTHONMALLOC="malloc")
    return (
        f"{len(tests)} C test programs; embedding scenarios: {embedding.splitlines()[-1].split(',')[0]}; 3,000 "
        "mixed dispatches of a native host, and as many inside a Python process with PYTHONMALLOC=malloc: no error, "
        "nothing lost"
    )


def fuzz(seconds: int) -> str:
    """Every fuzzer for so many seconds."""
    lines = output(ROOT / "tools/fuzz", str(seconds), Path(sys.executable).parent).splitlines()
    return "; ".join(
        line.removeprefix("fuzz: ").replace("stat::number_of_executed_units:", "inputs:") for line in lines
    )


def stores(python: Path, times: int) -> str:
    """Eight processes of eight threads count together in a file and in Redis; 64 threads of one process in memory."""
    lines = []
    for kind in ("memory", "sqlite", "redis"):
        counted = output(python, "-m", "tests.counting", "soak", kind, str(times)).strip()
        lines.append(f"{kind}: {counted}")
    return "\n".join(lines)


def write_report(rows: list[tuple[str, str, float]]) -> None:
    """Writes docs/soak.md: when, what, where, and a row for each part."""
    commit = output("git", "rev-parse", "--short=12", "HEAD").strip()
    if output("git", "status", "--porcelain", "--untracked-files=no").strip():
        commit += " and uncommitted changes"
    compiler = output("cc", "--version").splitlines()[0]
    valgrind = output("valgrind", "--version").strip()
    lines = [
        "# The last soak",
        "",
        "What `make soak` found, written by it.",
        "",
        f"- Date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"- Commit: {commit}",
        f"- Machine: {os.cpu_count()}-core {platform.machine()} {platform.system()}",
        f"- Versions: CPython {platform.python_version()}, {compiler}, {valgrind}",
        "",
        "| Part | Outcome | Minutes |",
        "|---|---|---|",
        *(f"| {name} | {outcome} | {seconds / 60:.1f} |" for name, outcome, seconds in rows),
        "",
    ]
    (ROOT / "docs" / "soak.md").write_text("\n".join(lines))


def main() -> int:
    """Entry point; 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dispatches", type=int, default=2_000_000)
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long eight threads run, each driver and the gateway"
    )
    parser.add_argument("--reloads", type=int, default=600, help="ten a second")
    parser.add_argument("--fuzz-seconds", type=int, default=600, help="for each fuzzer")
    parser.add_argument("--counts", type=int, default=1_000_000, help="what each store counts to")
    drivers = ("javascript", "grpc", "go")
    parts = ("memory", "threads", "reload", "stores", *drivers, "gateway", "valgrind", "fuzz")
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=parts, help="these parts; docs/soak.md is not written"
    )
    options = parser.parse_args()
    python = Path(sys.executable)
    seconds = f"{options.seconds:g}"
    work: dict[str, Callable[[], str]] = {
        "memory": lambda: run(python, [build(python)], "memory", options.dispatches),
        "threads": lambda: run(python, [build(python)], "threads", options.seconds),
        "reload": lambda: check_reloads(python, build(python), options.reloads),
        "stores": lambda: stores(python, options.counts),
        **{kind: partial(check_plugins, python, "soak_drivers.py", kind, seconds) for kind in drivers},
        "gateway": lambda: check_plugins(python, "soak_gateway.py", seconds),
        "valgrind": lambda: check_valgrind(python, build(python)),
        "fuzz": lambda: fuzz(options.fuzz_seconds),
    }
    rows = []
    for part in options.only:
        print(f"soak: {part}", flush=True)
        start = time.monotonic()
        outcome = work[part]()
        print(outcome.rstrip(), flush=True)
        rows.append((part, outcome.strip().replace("\n", "<br>"), time.monotonic() - start))
    if options.only == parts:
        write_report(rows)
        print("soak: clean; wrote docs/soak.md")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, FileNotFoundError) as error:
        print(f"bench/soak.py: {error}", file=sys.stderr)
        sys.exit(1)
