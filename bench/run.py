"""Measures dispatches and chains against their floor, dispatches against the classic way too.

For people (a table, a plot) and for machines.

    .venv/bin/python bench/run.py [--rounds N] [--only SCENARIO ...] [PYTHON ...]

PYTHON: interpreters of virtual environments with tykbridge in them; by default 3.11 and 3.13: the one that runs this,
and the other in .venv-3.x, which is built if need be. Writes bench/results.svg, and bench/results.json, a flat object:

    dispatch.<scenario>.vs_classic         how many times as fast as the classic way (full reply)
    dispatch.<scenario>.vs_floor           how many times the floor's time (full reply)
    dispatch.<scenario>.delta.vs_classic   the same for the delta; .delta.vs_floor, too
    dispatch.read_body.vs_copy             full reply over one malloc, copy and free of the message (100 KB scenarios)
    dispatch.unread_body.delta.vs_small    a delta beside a 100 KB body nobody reads over the same delta without one
    chain.<scenario>.vs_floor              how many floors a request through a whole API takes (tykb_run_request)
    plugin.go.vs_floor                     how many floors a call of a hook in Go takes through csrc/plugin.h alone
    isolation.process.vs_plugin            a call of a Go hook in a process of its own over one in this process
    driver.grpc.vs_bare                    CPU of a hook on a gRPC server over that of a bare grpcio call with its bytes
    chain.four.vs_one                      a request through four hooks that each add a header over one through one hook
    py311.dispatch.<scenario>....          the same for one Python; there also .full_ns, .delta_ns, .floor_ns ...

A key without a Python holds the least favourable of the Pythons measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from harness import HERE, ROOT, Bench, BenchError, compile_native, generate_pb2, need, output

VERSIONS = ("3.11", "3.13")
Times = dict[str, dict[str, float]]
TITLES = {
    "nothing": "touches nothing",
    "add_header": "adds a header",
    "read_three": "reads three, adds one",
    "iterate": "iterates all, adds one",
    "set_metadata": "changes session metadata",
    "del_metadata": "deletes session metadata",
    "auth": "auth, full session",
    "unread_body": "adds a header, 100 KB unread",
    "read_body": "reads a 100 KB body",
    "replace_body": "replaces a 100 KB body",
}
CHAINS = {
    "chain_one": "one pre hook",
    "chain_four": "four pre hooks",
    "chain_lua": "one pre hook in Lua",
    "chain_javascript": "one pre hook in JavaScript",
    "chain_go": "one pre hook in Go",
    "chain_auth": "pre, auth (cached), post-auth, post",
}
PLUGINS = {"plugin_go": "a hook in Go that adds a header"}
REMOTE = "grpc"
ISOLATION = "isolation"


def measure(bench: Bench, scenarios: list[str], rounds: int) -> Times:
    """Scenario: contender: nanoseconds per call, the minimum over the rounds."""
    times: Times = {}
    command = bench.command("time", rounds, scenarios)
    with subprocess.Popen(command, env=bench.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            scenario, contender, nanoseconds = line.split()
            if scenario not in times:
                print(f"bench: {bench.version}: {scenario}", file=sys.stderr)
            times.setdefault(scenario, {})[contender] = float(nanoseconds)
    if process.returncode:
        raise BenchError(f"bench/native ended with {process.returncode}")
    return times


def measure_remote(bench: Bench, rounds: int) -> dict[str, float]:
    """Contender: nanoseconds of CPU per call (bench/remote.py)."""
    print(f"bench: {bench.version}: {REMOTE}", file=sys.stderr)
    lines = output(bench.python, HERE / "remote.py", "--rounds", str(rounds), env=bench.env).splitlines()
    return {contender: float(nanoseconds) for _, contender, nanoseconds in map(str.split, lines)}


def measure_isolation(bench: Bench, rounds: int) -> dict[str, float]:
    """Contender: nanoseconds per call of the hook of bench/go (bench/process.c)."""
    print(f"bench: {bench.version}: {ISOLATION}", file=sys.stderr)
    source, program = ROOT / "tykbridge/drivers/goplugin", bench.folder / "process"
    more = [str(source / "process.c"), str(source / "lane.c"), f"-I{source}", f"-I{ROOT / 'csrc'}", "-ldl"]
    compile_native(bench.python, HERE / "process.c", program, *more)
    [library] = (HERE / "go").glob("plugin_*.so")
    lines = output(program, library, "AddHeader", source / "tykbridge-plugin", str(rounds)).splitlines()
    return {contender: float(nanoseconds) for _, contender, nanoseconds in map(str.split, lines)}


def ratios(times: Times) -> dict[str, float]:
    """The flat keys of one Python, without its prefix."""
    flat = {}
    for scenario, each in times.items():
        if scenario in CHAINS:
            flat[f"{key_of(scenario)}.vs_floor"] = each["request"] / each["floor"]
            continue
        key = key_of(scenario)
        if scenario in PLUGINS:
            flat[f"{key}.vs_floor"] = each["plugin"] / each["floor"]
            continue
        if scenario == ISOLATION:
            flat["isolation.process.vs_plugin"] = each["process"] / each["plugin"]
            continue
        if scenario == REMOTE:
            flat[f"{key}.vs_bare"] = each["driver"] / each["bare"]
            continue
        for part, contender in (("", "full"), (".delta", "delta")):
            flat[f"{key}{part}.vs_classic"] = each["classic"] / each[contender]
            flat[f"{key}{part}.vs_floor"] = each[contender] / each["floor"]
            if scenario.endswith("_body"):
                flat[f"{key}{part}.vs_copy"] = each[contender] / each["copy"]
    if {"unread_body", "add_header"} <= times.keys():
        flat["dispatch.unread_body.delta.vs_small"] = times["unread_body"]["delta"] / times["add_header"]["delta"]
    if {"chain_one", "chain_four"} <= times.keys():
        flat["chain.four.vs_one"] = times["chain_four"]["request"] / times["chain_one"]["request"]
    return flat


def key_of(scenario: str) -> str:
    """Where a scenario's figures stand in the flat object."""
    if scenario == REMOTE:
        return f"driver.{scenario}"
    if scenario in PLUGINS:
        return f"plugin.{scenario.removeprefix('plugin_')}"
    if scenario == ISOLATION:
        return scenario
    return f"chain.{scenario.removeprefix('chain_')}" if scenario in CHAINS else f"dispatch.{scenario}"


def flatten(results: dict[str, Times]) -> dict[str, float | str]:
    """All of bench/results.json, from the times of each Python ("3.11")."""
    flat: dict[str, float | str] = {}
    for version, times in results.items():
        prefix = f"py{version.replace('.', '')}"
        for key, value in ratios(times).items():
            worst = min if key.endswith(".vs_classic") else max
            flat[key] = worst(value, float(flat.get(key, value)))
            flat[f"{prefix}.{key}"] = value
        for scenario, each in times.items():
            for contender, nanoseconds in each.items():
                flat[f"{prefix}.{key_of(scenario)}.{contender}_ns"] = nanoseconds
    rounded = {key: round(value, 2) if isinstance(value, float) else value for key, value in flat.items()}
    return dict(sorted(rounded.items()))


def table(version: str, times: Times) -> str:
    """What a person reads: one line a scenario, times in nanoseconds."""
    head = f"{'':30}{'floor':>8}{'classic':>9}{'full':>8}{'delta':>8}   {'full: classic/':>14}{'/floor':>7}"
    lines = [
        f"CPython {version}, nanoseconds per dispatch",
        head + f"   {'delta: classic/':>15}{'/floor':>7}{'full/copy':>11}",
    ]
    for scenario, each in times.items():
        if scenario in (*CHAINS, *PLUGINS, ISOLATION, REMOTE):
            continue
        flat = ratios({scenario: each})
        key = f"dispatch.{scenario}"
        line = f"{TITLES[scenario]:30}{each['floor']:8,.0f}{each['classic']:9,.0f}"
        line += f"{each['full']:8,.0f}{each['delta']:8,.0f}"
        line += f"   {flat[f'{key}.vs_classic']:14.1f}{flat[f'{key}.vs_floor']:7.2f}"
        line += f"   {flat[f'{key}.delta.vs_classic']:15.1f}{flat[f'{key}.delta.vs_floor']:7.2f}"
        line += f"{flat[f'{key}.vs_copy']:11.2f}" if f"{key}.vs_copy" in flat else ""
        lines.append(line)
    flat = ratios(times)
    if not times.keys().isdisjoint(CHAINS):
        lines += ["", f"{'a request through an API':36}{'floor':>8}{'request':>9}{'/floor':>9}"]
    for scenario in (name for name in CHAINS if name in times):
        each, key = times[scenario], key_of(scenario)
        lines.append(f"{CHAINS[scenario]:36}{each['floor']:8,.0f}{each['request']:9,.0f}{flat[f'{key}.vs_floor']:9.1f}")
    if "chain.four.vs_one" in flat:
        lines.append(f"four hooks take {flat['chain.four.vs_one']:.2f} times as long as one")
    if not times.keys().isdisjoint(PLUGINS):
        lines += ["", f"{'a plugin alone, from C':36}{'floor':>8}{'plugin':>9}{'/floor':>9}"]
    for scenario in (name for name in PLUGINS if name in times):
        each, key = times[scenario], key_of(scenario)
        lines.append(f"{PLUGINS[scenario]:36}{each['floor']:8,.0f}{each['plugin']:9,.0f}{flat[f'{key}.vs_floor']:9.1f}")
    if ISOLATION in times:
        each, ratio = times[ISOLATION], flat["isolation.process.vs_plugin"]
        lines += ["", f"{'a hook in Go, called through plugin.h':36}{'here':>8}{'process':>9}{'/here':>9}"]
        lines.append(f"{'':36}{each['plugin']:8,.0f}{each['process']:9,.0f}{ratio:9.2f}")
    if REMOTE in times:
        each, ratio = times[REMOTE], flat["driver.grpc.vs_bare"]
        lines += ["", f"{'a hook on a gRPC server, CPU':36}{'bare':>8}{'driver':>9}{'/bare':>9}"]
        lines.append(f"{'':36}{each['bare']:8,.0f}{each['driver']:9,.0f}{ratio:9.2f}")
    return "\n".join(lines)


def plot(results: dict[str, Times], path: Path) -> None:
    """Bars of time per dispatch (no chains) on a logarithmic scale, a panel for each Python, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "tykbridge", "font.size": 9, "font.family": "sans-serif"})
    from matplotlib import pyplot

    colours = {"floor": "#b8bec8", "delta": "#2a9d8f", "full": "#1d6fb8", "classic": "#e07a3f"}
    names = {
        "floor": "floor",
        "delta": "tykbridge, delta",
        "full": "tykbridge, full reply",
        "classic": "google.protobuf",
    }
    figure, axes = pyplot.subplots(1, len(results), figsize=(5.6 * len(results), 6.2), sharey=True, squeeze=False)
    for axis, (version, measured) in zip(axes[0], results.items(), strict=True):
        times = {scenario: each for scenario, each in measured.items() if scenario in TITLES}
        for place, (contender, colour) in enumerate(colours.items()):
            rows = [row + (place - 1.5) * 0.2 for row in range(len(times))]
            axis.barh(
                rows, [each[contender] for each in times.values()], 0.19, color=colour, label=names[contender], zorder=2
            )
        for row, each in enumerate(times.values()):
            text = f" {each['classic'] / each['full']:.1f} times as fast"
            axis.text(each["full"], row + 0.1, text, va="center", fontsize=7, color="#1d6fb8")
        axis.set_xscale("log")
        axis.set_xlim(left=30)
        axis.set_title(f"CPython {version}")
        axis.set_xlabel("nanoseconds per dispatch")
        axis.set_yticks(range(len(times)), [TITLES[scenario] for scenario in times])
        axis.grid(axis="x", color="#e6e8ec", zorder=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, metadata={"Date": None})


def find_pythons() -> list[Path]:
    """An interpreter with tykbridge for each of the versions compared, built where the machine has the Python."""
    main = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = [Path(sys.executable)] if main in VERSIONS else []
    others = [version for version in VERSIONS if version != main]
    for line in output(ROOT / "tools/pythons", *others).splitlines():
        version, path = line.split(" ", 1)
        print(f"bench: building .venv-{version}", file=sys.stderr)
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        output("make", f"VENV=.venv-{version}", f"PYTHON={path}", "build", env=environment)
        found.append(ROOT / f".venv-{version}" / "bin" / "python")
    return found or [Path(sys.executable)]


def main() -> int:
    """Entry point; 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", nargs="*", type=Path, help="interpreters; by default 3.11 and 3.13")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of 2 ms for each contender (default: 200)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*TITLES, *CHAINS, *PLUGINS, ISOLATION, REMOTE],
        metavar="SCENARIO",
        help="these scenarios, no files written",
    )
    options = parser.parse_args()
    generate_pb2(Path(sys.executable))
    results: dict[str, Times] = {}
    for python in options.python or find_pythons():
        bench = Bench(python.absolute())
        if bench.version in results:
            continue
        bench.check()
        wanted = options.only or [*bench.scenarios, ISOLATION, REMOTE]
        native = [scenario for scenario in wanted if scenario not in (ISOLATION, REMOTE)]
        results[bench.version] = measure(bench, native, options.rounds) if native else {}
        if ISOLATION in wanted:
            results[bench.version][ISOLATION] = measure_isolation(bench, options.rounds)
        if REMOTE in wanted:
            results[bench.version][REMOTE] = measure_remote(bench, max(1, options.rounds // 4))
        print(table(bench.release, results[bench.version]), end="\n\n", flush=True)
    if not options.only:
        need(Path(sys.executable), "matplotlib=matplotlib")
        (HERE / "results.json").write_text(json.dumps(flatten(results), indent=2) + "\n")
        plot(results, HERE / "results.svg")
        print("bench: wrote bench/results.json and bench/results.svg", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, FileNotFoundError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        sys.exit(1)
