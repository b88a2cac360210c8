"""Draws what a player played: a line down the page, and what each station on it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus

from rich.console import Console
from rich.text import Text

from tykbridge.changes import Change, Value, marked
from tykbridge.cli.lines import clean, color_option, console, count, fold
from tykbridge.failures import unnumbered
from tykbridge.outcome import Request, Response
from tykbridge.steps import ClientStep, EventStep, HookStep, NoteStep, Seen, Step, UpstreamStep

__all__ = ["Screen", "clean", "color_option", "console", "count", "fold"]

_INDENT = 19
_LONG = 300
_BODY_LINES = 12
_REPEATED = 4  # lines of a body that stand on the page twice
_WIDEST = 110

_LEVELS = {"debug": "dim", "info": "blue", "warning": "yellow", "error": "red"}
_MARKS = {"+": "green", "-": "red", "~": "yellow", " ": ""}


class Screen:
    """Writes to a console. What comes from plugins is shown as text, with control characters spelled out."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`, with plain ASCII where it knows no other letters."""
        self._console = console
        self._width = min(console.width, _WIDEST)
        fancy = console.encoding.lower().startswith("utf")
        self._station, self._rail, self._rule = ("●", "│", "─") if fancy else ("*", "|", "-")
        self._arrow, self._micro, self._more = ("→", "µs", "…") if fancy else ("->", "us", "...")
        self._good, self._bad = ("✓", "✗") if fancy else ("+", "x")
        self._answer: Response | None = None  # the upstream's, to the call that is drawn

    def remark(self, words: str) -> None:
        """Write about the page itself."""
        self._paragraph(words, "dim")

    def section(self, name: str, about: str = "") -> None:
        """Begin an example, or an API."""
        self._console.print()
        name = clean(name)
        rest = self._rule * max(2, self._width - len(name) - 4)
        self._console.print(Text.assemble((self._rule * 2, "dim"), (f" {name} ", "bold"), (rest, "dim")))
        if about:
            self._paragraph(about)

    def note(self, about: str, seen: Seen) -> None:
        """Write what was seen outside of any call."""
        self._console.print()
        self._stop(about, list(self._seen(seen)), last=True)

    def failure(self, words: str) -> None:
        """Write what went wrong with an example as a whole."""
        self._paragraph(words, "red")

    def call(self, about: str, request: Request) -> None:
        """Begin a call: what the client sends."""
        self._console.print()
        if about:
            self._paragraph(about, "italic")
            self._console.print()
        self._stop("client", self._http(request, None))
        self._original, self._answer = request, None

    def step(self, step: Step) -> None:
        """Draw a step of the call."""
        self._line(Text())
        match step:
            case HookStep():
                self._stop(step.phase, [Text(clean(step.name), "bold"), *self._hook(step)], step.seconds)
            case EventStep():
                name = Text.assemble((clean(step.handler), "bold"), (f"  hears {clean(step.event)}", "dim"))
                self._stop("event", [name, *self._seen(step.seen)], step.seconds)
            case UpstreamStep():
                if step.request is not None:
                    last = step.response is None and not step.failure
                    self._stop("upstream", self._http(step.request, self._original), last=last)
                if step.failure:
                    self._line(Text())
                    self._stop("upstream", [Text(f"failed  {clean(step.failure)}", "red")], step.seconds)
                if step.request is not None and step.response is not None:
                    self._line(Text())
                if step.response is not None:
                    lines = self._http(step.response, None)
                    if step.remark:
                        lines.append(Text(clean(step.remark), "dim"))
                    self._stop("upstream", lines, step.seconds)
                    self._answer = step.response
            case NoteStep():
                self._stop(step.about, list(self._seen(step.seen)))
            case ClientStep():
                before = self._answer if step.asked_upstream else None
                response, is_long = step.response, step.response.body.count(b"\n") >= _REPEATED
                if before is not None and is_long and before.body == response.body:
                    lines = self._http(replace(response, body=b""), replace(before, body=b""))
                    lines += [Text(), Text("the body, as the upstream gave it", "dim")]
                else:
                    lines = self._http(response, before)
                if not step.asked_upstream:
                    lines[0] = Text.assemble(lines[0], ("  the upstream is not asked", "dim"))
                if step.event:
                    lines.insert(1, Text.assemble(("event  ", "yellow"), step.event))
                if step.remark:
                    lines.append(Text(clean(step.remark), "dim"))
                self._stop("client", lines, last=True)

    def verdicts(self, verdicts: Iterable[tuple[str, bool]]) -> None:
        """Write what a call should show, and whether it did."""
        self._console.print()
        for words, is_so in verdicts:
            mark, colour = (self._good, "green") if is_so else (self._bad, "red")
            for i, line in enumerate(Text(clean(words)).wrap(self._console, self._width - 4)):
                line.rstrip()
                lead = Text("    ") if i else Text(f"  {mark} ", f"bold {colour}")
                self._console.print(Text.assemble(lead, line), soft_wrap=True)

    def commands(self, commands: Sequence[str]) -> None:
        """Write commands to be copied: each on a line of its own, however long."""
        self._console.print()
        for command in commands:
            self._console.print(Text.assemble("    ", (command, "cyan")), soft_wrap=True)
        self._console.print()

    def summary(self, counts: Sequence[tuple[int, str]], seconds: float, failures: Sequence[str]) -> None:
        """End the page. `counts` are numbers and what there is of it, in the singular."""
        self._console.print()
        self._console.print(Text(self._rule * self._width, "dim"))
        line = ", ".join(count(number, noun) for number, noun in counts) + f" in {self._time(seconds)}"
        self._paragraph(line + ("." if failures else ". Nothing failed."), "bold")
        for failure in failures:
            self._paragraph(unnumbered(failure), "red")

    # ---- Stations

    def _stop(self, label: str, lines: list[Text], seconds: float | None = None, last: bool = False) -> None:
        colour = {"client": "cyan", "upstream": "cyan", "event": "yellow"}.get(label, "magenta")
        head = Text.assemble((f"  {self._station} ", colour), (f"{label:<{_INDENT - 4}}", f"bold {colour}"))
        first, *rest = lines
        if seconds is not None:
            time = self._time(seconds)
            room = self._width - _INDENT - first.cell_len - len(time)
            first = Text.assemble(first, " " * max(2, room), (time, "dim"))
        self._line(first, head)
        for line in rest:
            self._line(line, Text(" " * _INDENT) if last else None)

    def _line(self, line: Text, head: Text | None = None) -> None:
        """Write a line beside the rail, folded to the width: what follows the first stands further in."""
        rail = Text(f"  {self._rail:<{_INDENT - 2}}", "dim")
        after = head if head is not None and not head.plain.strip() else rail
        for i, part in enumerate(fold(line, max(20, self._width - _INDENT))):
            whole = Text.assemble(after if i or head is None else head, part)
            whole.rstrip()
            self._console.print(whole, soft_wrap=True)

    def _paragraph(self, words: str, style: str = "") -> None:
        for line in Text(clean(words, keep="\n"), style).wrap(self._console, self._width - 2, overflow="fold"):
            line.rstrip()
            self._console.print(Text.assemble("  ", line), soft_wrap=True)

    # ---- What hooks did

    def _hook(self, step: HookStep) -> Iterable[Text]:
        # The log begins with the failure, and goes on with its traceback: what is told here is not repeated there.
        own = [line for line in step.seen.logged if step.failure and line[1].startswith(step.failure)]
        yield from self._seen(replace(step.seen, logged=[line for line in step.seen.logged if line not in own]))
        if step.failure:
            yield Text(f"failed  {clean(unnumbered(step.failure))}", "red")
            for _, message in own:
                for line in message.removeprefix(step.failure).strip("\n").splitlines():
                    yield Text("  " + clean(line))
        for change in step.changes or ():
            yield from self._change(change)
        if step.changes == ():
            yield Text("changes nothing", "dim")
        for warning in step.warnings:
            yield Text(f"warning  {clean(warning)}", "yellow")
        if step.fault:
            yield Text(f"refused  {clean(unnumbered(step.fault))}", "red")
        if step.token:
            yield Text.assemble(("token  ", "cyan"), (clean(step.token), "bold"))
        elif step.lacks_token:
            yield Text("no token", "yellow")

    def _seen(self, seen: Seen) -> Iterable[Text]:
        for line in seen.printed:
            yield Text.assemble(("print  ", "dim"), clean(line))
        for level, message in seen.logged:
            first, *rest = message.rstrip("\n").split("\n")
            yield Text.assemble((f"log {clean(level)}  ", _LEVELS.get(level, "dim")), clean(first))
            for line in rest:
                yield Text("  " + clean(line))
        for name, payload in seen.events:
            yield Text.assemble(("event  ", "yellow"), f"{clean(name)}  {clean(payload)}")

    def _change(self, change: Change) -> Iterable[Text]:
        path = clean(change.path.removeprefix("request."))
        old, new = self._value(change.old), self._value(change.new)
        if change.old is not None and change.new is not None:
            if len(path + old + new) + 8 <= self._width - _INDENT:
                lines = [("~", f"{path} = {old} {self._arrow} {new}")]
            else:
                lines = [("-", f"{path} = {old}"), ("+", f"{path} = {new}")]
        else:
            lines = [("-", f"{path} = {old}") if change.new is None else ("+", f"{path} = {new}")]
        for mark, line in lines:
            if change.acts:
                yield Text(f"{mark} {line}", _MARKS[mark])
            else:
                yield Text.assemble((f"{mark} {line}", "dim"), ("  has no effect", "dim italic"))

    def _value(self, value: Value | None) -> str:
        if isinstance(value, bytes):
            return repr(value) if len(value) <= _LONG else f"{value[:_LONG]!r}{self._more} ({len(value)} bytes)"
        if isinstance(value, str) and len(value) > _LONG:
            return f"{value[:_LONG]!r}{self._more} ({len(value)} characters)"
        if isinstance(value, float):
            return f"{value:g}"
        return repr(value)

    # ---- HTTP

    def _http(self, message: Request | Response, before: Request | Response | None) -> list[Text]:
        """Write a message out; beside `before`, with what was added and what is gone."""
        lines = [self._first_line(message)]
        if before and lines[0] != self._first_line(before):
            lines[0].stylize("yellow")
        for mark, (name, value) in marked(before.headers if before else None, message.headers):
            lead = f"{mark} " if before else ""
            lines.append(Text(f"{lead}{clean(name)}: {clean(value)}", _MARKS[mark]))
        if message.body:
            lines.append(Text())
            changed = before is not None and before.body != message.body
            lines += self._body(message.body, "+ " if changed else "  " if before else "", "green" if changed else "")
        return lines

    def _first_line(self, message: Request | Response) -> Text:
        if isinstance(message, Request):
            return Text(f"{clean(message.method)} {clean(message.url)}", "bold")
        colour = {2: "green", 3: "cyan", 4: "yellow"}.get(message.status // 100, "red")
        try:
            phrase = HTTPStatus(message.status).phrase
        except ValueError:
            phrase = ""
        return Text(f"{message.status} {phrase}".rstrip(), f"bold {colour}")

    def _body(self, body: bytes, lead: str, style: str) -> Iterable[Text]:
        try:
            lines = body.decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            lines = [self._value(body)]
        for line in lines[:_BODY_LINES]:
            shown = line if len(line) <= 2 * _LONG else line[: 2 * _LONG] + self._more
            yield Text(lead + clean(shown), style)
        if len(lines) > _BODY_LINES:
            yield Text(f"{lead}{self._more} {len(lines) - _BODY_LINES} lines more", "dim")

    def _time(self, seconds: float) -> str:
        if seconds < 0.001:
            return f"{seconds * 1e6:.0f} {self._micro}"
        return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
