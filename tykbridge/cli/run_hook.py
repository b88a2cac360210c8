"""``tykbridge run-hook``: runs one hook, or a whole API, on a request, and shows what every hook did."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import click
import msgspec

from tykbridge import session as sessions
from tykbridge.cli import calls, documents
from tykbridge.cli.example import Call, ExampleError, Scenario, read_scenario
from tykbridge.cli.gateway import ConfError, Gateway
from tykbridge.cli.options import gateway_options
from tykbridge.cli.runner import Run, Runner
from tykbridge.cli.screen import Screen, color_option, console
from tykbridge.cli.source import Kind, Opened, Refusal, Settings, Wanted, kind_of, open_api, open_plugin
from tykbridge.cli.witness import Witness
from tykbridge.definition import Definition, Phase
from tykbridge.policies import Policy, read_policies
from tykbridge.routes import Routes
from tykbridge.session import Session
from tykbridge.steps import Seen

_PATH = click.Path(path_type=Path)

_EXAMPLES = """\b
Examples:
  tykbridge run-hook bundles/hello Hello / -H 'X-Name: Ada'
  tykbridge run-hook middleware.py sign --response-body '{"a": 1}'
  tykbridge run-hook middleware.py count --phase post --session key.json
  tykbridge run-hook apis/orders.json /orders/7 -X PUT -d @order.json
  tykbridge run-hook apis --api orders --request-file calls.json --strict

Exit status: 0 when the request went on, or was answered as a plugin or the API's authentication wanted it; 1 when a
hook failed, wrote what no hook may write, or changed a session without the right to (with --strict); 2 when nothing
was run: wrong usage, something that does not load, no such hook.
"""


@click.command("run-hook", epilog=_EXAMPLES)
@click.argument("source", type=_PATH)
@click.argument("words", metavar="[HOOK] [URL]", nargs=-1)
@click.option("-X", "--method", default="", help="Method. [default: GET, POST with -d]")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; repeat for more.")
@click.option("-d", "--data", multiple=True, help="Body; @FILE is a file's content, @- standard input.")
@click.option(
    "--status", type=click.IntRange(100, 599), metavar="CODE", help="What the upstream answers. [default: 200]"
)
@click.option("--response-header", multiple=True, metavar="'NAME: VALUE'", help="A header of the upstream's answer.")
@click.option("--response-body", metavar="DATA", help="Body of the upstream's answer; @FILE as above.")
@click.option(
    "--request-file", type=_PATH, metavar="FILE", help="Requests and answers from a file, as `play` has them."
)
@click.option(
    "--session", "session_file", type=_PATH, metavar="FILE", help="The session that hooks see, as Tyk's JSON."
)
@click.option("--phase", type=click.Choice([str(phase) for phase in Phase]), help="When the hook runs in a chain.")
@click.option("--config-data", metavar="JSON", help="config_data for a bundle or file; @FILE as above.")
@click.option("--api", "api_id", default="", metavar="ID", help="Which API of several.")
@gateway_options
@click.option("--strict", is_flag=True, help="A session that a hook may not change fails the request.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output (docs/cli.md).")
@color_option
def command(
    source: Path,
    words: tuple[str, ...],
    method: str,
    headers: tuple[str, ...],
    data: tuple[str, ...],
    status: int | None,
    response_header: tuple[str, ...],
    response_body: str | None,
    request_file: Path | None,
    session_file: Path | None,
    phase: str | None,
    config_data: str | None,
    api_id: str,
    conf: Path | None,
    middleware_path: Path | None,
    policies: Path | None,
    strict: bool,
    as_json: bool,
    color: bool | None,
) -> None:
    """Run one HOOK, or all hooks of an API, on a request, and show what each changes.

    \b
    SOURCE is
      a bundle            its folder or .zip: manifest.json says which hooks run,
                          and when
      a .py file          its functions that are marked with @Hook
      a .js file          its global variables that are middlewares
      a .lua file         its global functions that have a hook's form
      API definitions     a *.json file, or a folder of them

    HOOK is the name of a function; without it all hooks run in the order of the chain, authentication included. URL is
    a path, or http://host/path; without it, it is where the API listens.

    No upstream is asked: --status, --response-header and --response-body say what it answers, or the file does.

    This is a rehearsal: sessions, counters and data are kept in memory until it ends, whatever store --conf names, and
    bundles are downloaded into a temporary folder.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    hook, url = _hook_and_url(words)
    flags = [url, method, *headers, *data, *response_header, response_body, status]
    if request_file is not None and any(flag not in ("", None) for flag in flags):
        raise click.UsageError(
            "--request-file says what request and answer are: leave URL, -X, -H, -d and --status out"
        )
    kind = kind_of(source)
    if kind is not Kind.APIS and api_id:
        raise click.UsageError("--api is for API definitions")
    if kind is Kind.APIS and config_data is not None:
        raise click.UsageError("--config-data is for a bundle or a file: an API definition has its own")
    scenario = None if request_file is None else _scenario(request_file)
    session = None if session_file is None else _session(session_file)
    wanted = Wanted(hook, None if phase is None else Phase(phase), api_id, url)
    if wanted.phase is not None and not hook:
        raise click.UsageError("--phase is for one hook: name it after SOURCE")

    try:
        gateway = Gateway(conf, middleware_path)
    except ConfError as error:
        raise Refusal(str(error)) from error
    witness = Witness()
    named = policies or gateway.policies
    runner = Runner(witness, {} if named is None else _policies(named), strict, gateway.keys)
    with witness.watching() as loading:
        if kind is Kind.APIS:
            opened = open_api(source, wanted, runner.services, gateway)
        else:
            settings = _settings(scenario, config_data)
            opened = open_plugin(source, kind, wanted, settings, runner.services, gateway)
    loading.logged[:0] = [("warning", words) for words in opened.notices]
    url = url or opened.chain.definition.listen_path
    made, scheme = calls.make(method, url, headers, data, status, response_header, response_body)
    if kind is Kind.APIS and scenario is None:
        _tell_other_path(opened.chain.definition, made.request.url)
    todo = [made] if scenario is None else list(scenario.calls)
    runs = _runs(runner, opened, todo, scheme, session)
    if as_json:
        document = documents.run_hook(opened.chain.definition.api_id, loading, runs)
        click.echo(documents.text_of(document))
    else:
        _draw(Screen(console(color)), opened, loading, runs)
    sys.exit(1 if any(run.failures for run in runs) else 0)


def _hook_and_url(words: tuple[str, ...]) -> tuple[str, str]:
    """Tell hook and URL apart: a URL has a slash."""
    hooks = [word for word in words if not calls.is_url(word)]
    urls = [word for word in words if calls.is_url(word)]
    for found, what in ((hooks, "HOOK"), (urls, "URL")):
        if len(found) > 1:
            raise click.UsageError(
                f"one {what} at most, not {' and '.join(found)} (a URL has a slash, a HOOK has none)"
            )
    return "".join(hooks), "".join(urls)


def _tell_other_path(definition: Definition, url: str) -> None:
    """Say that a gateway would not run this API for the url; that it is run here is a rehearsal's freedom."""
    anywhere = msgspec.structs.replace(definition, domain="")
    if Routes([(anywhere, anywhere)]).find(unquote(url.partition("?")[0])) is None:
        click.echo(
            f"note: {definition.api_id} listens on {definition.listen_path}: a gateway would not send it {url}",
            err=True,
        )


def _scenario(file: Path) -> Scenario:
    try:
        scenario = read_scenario(file)
    except ExampleError as error:
        raise Refusal(str(error)) from error
    if not scenario.calls:
        raise Refusal(f'{file}: "calls" is empty')
    return scenario


def _session(file: Path) -> Session:
    try:
        return sessions.decode(file.read_bytes())
    except (OSError, sessions.SessionError) as error:
        raise Refusal(f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _policies(file: Path) -> dict[str, Policy]:
    read = read_policies(file)
    if read.problems:
        raise Refusal("\n  ".join(str(problem) for problem in read.problems))
    return read.policies


def _settings(scenario: Scenario | None, config_data: str | None) -> Settings:
    settings = Settings()
    if scenario is not None:
        settings = Settings(scenario.org_id, scenario.api_id, scenario.config_data, scenario.endpoints)
    if config_data is None:
        return settings
    try:
        data = json.loads(calls.content(config_data, "--config-data"))
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="--config-data") from error
    if not isinstance(data, dict):
        raise click.BadParameter("expected a JSON object", param_hint="--config-data")
    return replace(settings, config_data=json.dumps(data))


def _runs(runner: Runner, opened: Opened, todo: list[Call], scheme: str, session: Session | None) -> list[Run]:
    runs = []
    for call in todo:
        if session is not None and opened.step is None:
            runner.store_session(opened.chain, call.request, session)
        runs.append(runner.run(opened, call, scheme, session))
    return runs


def _draw(screen: Screen, opened: Opened, loading: Seen, runs: list[Run]) -> None:
    name = opened.chain.definition.name or opened.chain.definition.api_id
    screen.section(name if opened.step is None else f"{name}: {opened.step.name}")
    if loading:
        screen.note("loading", loading)
    for run in runs:
        screen.call(run.call.about, run.call.request)
        for step in run.steps:
            screen.step(step)
    hooks = [hook for run in runs for hook in run.hooks]
    counts = [(len(runs), "request"), (len(hooks), "hook")]
    if warnings := sum(len(hook.warnings) for hook in hooks):
        counts.append((warnings, "warning"))
    failures = [words for run in runs for words in run.failures]
    screen.summary(counts, sum(hook.seconds for hook in hooks), failures)
