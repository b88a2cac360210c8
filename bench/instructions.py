"""Counts instructions per dispatch with callgrind: exact, repeatable, and deaf to whatever else the machine does.

    .venv/bin/python bench/instructions.py [--top N] [--contender full] [scenario ...]

Prints a table (scenario by contender); with --top also the functions in which one contender's instructions were spent,
without those of the functions they call (--inclusive: with them). Build with debug symbols for inlined code to be told
apart: CFLAGS=-g make build.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from harness import CONTENDERS, Bench, BenchError, generate_pb2, output

CALLS = 100


def count(bench: Bench, scenario: str) -> dict[str, tuple[int, Path]]:
    """Contender: instructions per call, and callgrind's dump of them."""
    folder = bench.folder / "callgrind"
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{scenario}.*"):
        old.unlink()
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / scenario}.out"]
    output(*valgrind, *bench.command("count", CALLS, [scenario]), env=bench.env)
    counts = {}
    for dump in folder.glob(f"{scenario}.out.*"):
        text = dump.read_text()
        name = re.search(r"^desc: Trigger: Client Request: \S+ (\S+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        if name and total:
            counts[name[1]] = (int(total[1]) // CALLS, dump)
    if not counts:
        raise BenchError("callgrind wrote no dumps: install valgrind with its headers (Debian: valgrind)")
    return counts


def top(dump: Path, number: int, inclusive: bool) -> list[str]:
    """The functions that cost most, as lines "instructions per call  function [object]"."""
    text = output("callgrind_annotate", f"--inclusive={'yes' if inclusive else 'no'}", "--auto=no", dump)
    lines = []
    for match in re.finditer(r"^\s*([\d,]+)\s+\([ \d.]+%\)\s+\S*?:(.+)$", text, re.MULTILINE):
        each = int(match[1].replace(",", "")) / CALLS
        function = re.sub(r"\[.*/([^/]+)\]", r"[\1]", match[2])
        lines.append(f"{each:10.1f}  {function}")
    return lines[:number]


def main() -> int:
    """Entry point; 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenario", nargs="*", help="names of scenarios; all but Go's by default")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="also show the N most expensive functions")
    parser.add_argument("--inclusive", action="store_true", help="count what a function calls as its own")
    parser.add_argument("--contender", choices=CONTENDERS, help="whose functions (default: full, of a chain: request)")
    options = parser.parse_args()
    python = Path(sys.executable)
    generate_pb2(python)
    bench = Bench(python)
    print(f"instructions per dispatch, CPython {bench.release}")
    print(f"{'':14}" + "".join(f"{name:>10}" for name in CONTENDERS) + "   ours/floor delta/floor")
    wanted = [scenario for scenario in bench.scenarios if not scenario.endswith("_go")]  # which valgrind cannot run
    for scenario in options.scenario or wanted:
        counts = count(bench, scenario)
        cells = [f"{counts[name][0]:,}" if name in counts else "-" for name in CONTENDERS]
        ours = next(name for name in ("full", "request", "plugin") if name in counts)
        floor = counts["floor"][0]
        ratios = f"{counts[ours][0] / floor:13.2f}"
        if "delta" in counts:
            ratios += f"{counts['delta'][0] / floor:12.2f}"
        print(f"{scenario:14}" + "".join(f"{cell:>10}" for cell in cells) + ratios, flush=True)
        for line in top(counts[options.contender or ours][1], options.top, options.inclusive) if options.top else ():
            print(line)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, FileNotFoundError, subprocess.SubprocessError) as error:
        print(f"bench/instructions.py: {error}", file=sys.stderr)
        sys.exit(1)
