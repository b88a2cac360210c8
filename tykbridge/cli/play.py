"""``tykbridge play``: plays example plugins and shows what they do."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import click

import tykbridge
from tykbridge.cli.example import ExampleError, find, read
from tykbridge.cli.host import CallError
from tykbridge.cli.player import HookStep, Player
from tykbridge.cli.screen import Screen, color_option, console


@click.command("play")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@color_option
def command(folder: Path | None, color: bool | None) -> None:
    """Play the bundles in DIR and show what their hooks do.

    Each bundle is a folder with manifest.json, and request.json: the requests to play (docs/bundles.md shows one).
    Without DIR the examples of the repository are played. The plugins run through libtykbridge, as in any gateway.
    """
    root = folder or Path(tykbridge.__file__).resolve().parents[1] / "examples"
    bundles = find(root)
    if not bundles and folder is None:
        raise click.ClickException(
            "this installation has no examples: they are in the repository, where `make run` plays them. "
            "For bundles of your own: tykbridge play DIR"
        )
    if not root.is_dir():
        raise click.ClickException(f"{root}: there is no such folder")
    if not bundles:
        raise click.ClickException(f"{root}: no manifest.json in it, so there is no bundle to play")
    failures = _play(root, bundles, Screen(console(color)))
    sys.exit(1 if failures else 0)


def _play(root: Path, bundles: list[Path], screen: Screen) -> list[str]:
    player = Player()
    screen.title(
        f"tykbridge {player.host.version}, library interface {player.host.abi}, Python {platform.python_version()}"
    )
    calls, hooks, seconds = 0, 0, 0.0
    failures: list[str] = []
    for folder in bundles:
        name = folder.name if folder == root else folder.relative_to(root).as_posix()
        try:
            example = read(folder, name)
            screen.section(example.name, example.about)
            player.load(example)
        except (ExampleError, CallError) as error:
            failures.append(f"{name}: {error}")
            screen.failure(str(error))
            continue
        for call in example.calls:
            calls += 1
            screen.call(call.about, call.request)
            for step in player.play(example, call):
                screen.step(step)
                if isinstance(step, HookStep):
                    hooks += 1
                    seconds += step.seconds
                    if step.failure or step.fault:
                        failures.append(f"{name}: {step.failure or step.fault}")
    screen.summary([(len(bundles), "bundle"), (calls, "request"), (hooks, "hook")], seconds, failures)
    return failures
