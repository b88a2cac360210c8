"""``tykbridge play``: plays example plugins and shows what they do."""

from __future__ import annotations

import platform
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

import tykbridge
from tykbridge import runtime
from tykbridge.cli.example import ExampleError, find, read
from tykbridge.cli.host import CallError
from tykbridge.cli.player import Player
from tykbridge.cli.screen import Screen, color_option, console
from tykbridge.errors import LoadError
from tykbridge.steps import HookStep
from tykbridge.stores.memory import MemoryStore
from tykbridge.watch import Watcher

_EXAMPLES = """\b
Examples:
  tykbridge play                  the examples of the repository
  tykbridge play bundles/hello    one bundle
  tykbridge play bundles --watch  all below a folder, again after each save

A hook by itself, or a request without a file: tykbridge run-hook.

Exit status: 0 when no hook failed, 1 when one did, or there is nothing to play.
"""


@click.command("play", epilog=_EXAMPLES)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--watch", "watched", is_flag=True, help="Play again whenever a file below DIR changes. Ctrl-C ends it.")
@color_option
def command(folder: Path | None, watched: bool, color: bool | None) -> None:
    """Play the requests that lie beside the bundles in DIR, and show what each hook does.

    Each bundle is a folder with manifest.json, and request.json: the requests to play (docs/bundles.md shows one).
    Without DIR the examples of the repository are played. The plugins run through libtykbridge, as in any gateway.
    """
    root = folder or Path(tykbridge.__file__).resolve().parents[1] / "examples"
    if not find(root):
        if folder is None:
            raise click.ClickException(
                "this installation has no examples: they are in the repository, where `make run` plays them. "
                "For bundles of your own: tykbridge play DIR"
            )
        if not root.is_dir():
            raise click.ClickException(f"{root}: there is no such folder")
        raise click.ClickException(_nothing(root))
    if watched:
        _watch(root, color)
        return
    failures = _play(root, Player(), Screen(console(color)))
    sys.exit(1 if failures else 0)


def _nothing(root: Path) -> str:
    return f"{root}: no manifest.json in it, so there is no bundle to play"


def _watch(root: Path, color: bool | None) -> None:
    """Play, and play again when files change, each time with an empty store; returns at Ctrl-C.

    All of it is played on this thread, where Ctrl-C also ends a hook that does not return.
    """
    changed, over = threading.Event(), False

    def note() -> tuple[str, int]:
        changed.set()
        return "", 0

    def end(*_: object) -> None:
        nonlocal over
        over = True  # a hook may keep the exception to itself
        raise KeyboardInterrupt

    def log(words: str, level: str) -> None:
        if level != "info":  # that something was loaded again is seen
            click.echo(words, err=True)

    watcher = Watcher(lambda: [str(root)], note, log)
    before = signal.getsignal(signal.SIGINT)
    try:
        watcher.start()
    except LoadError as error:
        raise click.ClickException(str(error)) from error
    try:
        signal.signal(signal.SIGINT, end)
        player = Player()
        while True:
            changed.clear()
            runtime.use_store(MemoryStore()).close()
            click.clear()  # on a terminal alone
            screen = Screen(console(color))
            _play(root, player, screen, lambda: over)
            screen.remark(f"Watching {root}: what is saved there is played again. Ctrl-C ends it.")
            changed.wait()
    except KeyboardInterrupt:
        click.echo()
    finally:
        signal.signal(signal.SIGINT, before)
        watcher.stop()


def _play(root: Path, player: Player, screen: Screen, over: Callable[[], bool] = lambda: False) -> list[str]:
    screen.remark(
        f"tykbridge {player.host.version}, library interface {player.host.abi}, Python {platform.python_version()}"
    )
    bundles = find(root)
    calls, hooks, seconds = 0, 0, 0.0
    failures = [] if bundles else [_nothing(root)]  # all are gone, while this is watching
    for folder in bundles:
        name = folder.resolve().name if folder == root else folder.relative_to(root).as_posix()
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
                if over():
                    raise KeyboardInterrupt
    screen.summary([(len(bundles), "bundle"), (calls, "request"), (hooks, "hook")], seconds, failures)
    return failures
