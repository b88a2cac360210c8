"""``tykbridge bundle``: builds, verifies and shows bundles, and makes the keys that sign them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.text import Text

from tykbridge.bundle import build, manifest, rsa, sums
from tykbridge.bundle.signing import Trust
from tykbridge.cli.bundles import Finding, examine
from tykbridge.cli.screen import clean, color_option, console, count, fold
from tykbridge.errors import LoadError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SOURCE = click.Path(exists=True, path_type=Path)
_PASSPHRASE = "TYKB_KEY_PASSPHRASE"
_WIDEST, _INDENT = 110, 14

_Made = TypeVar("_Made")

_EXAMPLES = """\b
A bundle's way from a folder to a gateway:
  tykbridge bundle keygen                                      key.pem, key.public.pem
  tykbridge bundle build -k key.pem                            manifest.json -> bundle.zip
  tykbridge bundle verify bundle.zip --public-key key.public.pem
  tykbridge bundle show bundle.zip

docs/bundles.md tells what archives hold, what is refused, and how to sign with openssl.
"""


@click.group("bundle", epilog=_EXAMPLES, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Build, sign, verify and show the archives of bundles."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


# ---- build


_BUILD = """\b
Examples:
  tykbridge bundle build -y                          manifest.json -> bundle.zip, unsigned
  tykbridge bundle build -k key.pem
  tykbridge bundle build -m hello/manifest.json -o hello.zip -k key.pem

Next: tykbridge bundle verify bundle.zip --public-key key.public.pem
"""


@command.command("build", epilog=_BUILD)
@click.option(
    "-m", "--manifest", "manifest_file", type=_FILE, default="manifest.json", show_default=True, help="The manifest."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="bundle.zip",
    show_default=True,
    help="The archive that is written.",
)
@click.option("-k", "--key", type=_FILE, help="The private RSA key that signs it, in PEM form.")
@click.option("-y", "--skip-signing", is_flag=True, help="Without a key: do not ask whether that is meant.")
def _build(manifest_file: Path, output: Path, key: Path | None, skip_signing: bool) -> None:
    """Build an archive out of a manifest and the files that it lists.

    Paths in file_list count from the manifest's folder. A folder there stands for all files in it, but for
    __pycache__. The manifest itself is not changed; the one in the archive gets checksum and signature, and beside
    it stand SHA256SUMS and, with a key, SHA256SUMS.sig.

    A key that is protected by a passphrase takes it from TYKB_KEY_PASSPHRASE, or asks for it.

    Exit status: 0 when it is built, 1 when it cannot be, 2 when the key or the manifest's file is of no use.
    """
    signer = None if key is None else _usable(lambda: rsa.read_private(str(key), lambda: _passphrase(key)))
    if signer is None and not skip_signing:
        click.confirm("The bundle will be unsigned. Go on?", abort=True, err=True)
    try:
        made = build.build(manifest_file, output, signer)
    except LoadError as error:
        raise click.ClickException(clean(str(error))) from error
    signed = "signed" if made.is_signed else "unsigned"
    click.echo(f"{made.file}: {count(len(made.files), 'file')}, {made.size} bytes, {signed}, checksum {made.checksum}")


def _passphrase(key: Path) -> str | None:
    words = os.environ.get(_PASSPHRASE)
    if not words and sys.stdin.isatty():
        words = str(click.prompt(f"Passphrase of {key}", hide_input=True, err=True))
    return words


# ---- verify, show


def _trust_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--allow-native-code", is_flag=True, help="Unsigned bundles may hold compiled code."),
        click.option(
            "--accept-old-signatures", is_flag=True, help="With a key: the signature in manifest.json is enough."
        ),
        click.option("--public-key", type=_FILE, help="The public RSA key, in PEM form, that must have signed it."),
        click.argument("source", type=_SOURCE),
    ):
        function = option(function)
    return function


_VERIFY = """\b
Examples:
  tykbridge bundle verify bundle.zip --public-key key.public.pem
  tykbridge bundle verify hello                     a folder
"""


@command.command("verify", epilog=_VERIFY)
@_trust_options
def _verify(source: Path, public_key: Path | None, accept_old_signatures: bool, allow_native_code: bool) -> None:
    """Check a bundle as a gateway does before it uses it.

    SOURCE is an archive, or a folder. No code of it runs; `tykbridge check` loads a folder's.

    Exit status: 0 when a gateway with these settings uses it, 1 when it refuses it, 2 when there is nothing to check.
    """
    found = _examined(source, _trust(public_key, accept_old_signatures, allow_native_code))
    if found.refused:
        raise click.ClickException(clean(found.refused))
    click.echo(f"{source}: {found.words}")


_SHOW = """\b
Examples:
  tykbridge bundle show bundle.zip
  tykbridge bundle show bundle.zip --json
"""


@command.command("show", epilog=_SHOW)
@_trust_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output (docs/cli.md).")
@color_option
def _show(
    source: Path,
    public_key: Path | None,
    accept_old_signatures: bool,
    allow_native_code: bool,
    as_json: bool,
    color: bool | None,
) -> None:
    """Show what a bundle holds, and whether a gateway would use it.

    SOURCE is an archive, or a folder. No code of it runs.

    Exit status: 0 when a gateway with these settings uses it, 1 when it refuses it, 2 when there is nothing to show.
    """
    trust = _trust(public_key, accept_old_signatures, allow_native_code)
    found = _examined(source, trust)
    if as_json:
        click.echo(json.dumps(found.document()))
    else:
        _Page(console(color)).write(found)
    sys.exit(1 if found.refused else 0)


def _examined(source: Path, trust: Trust) -> Finding:
    if source.is_dir() and not (source / manifest.FILE_NAME).exists():
        raise _Unusable(f"{source} has no {manifest.FILE_NAME}, so it is no bundle")
    return examine(source, trust)


def _trust(public_key: Path | None, accept_old_signatures: bool, allow_native_code: bool) -> Trust:
    return _usable(lambda: Trust(str(public_key or ""), accept_old_signatures, allow_native_code))


# ---- keygen


_KEYGEN = """\b
Examples:
  tykbridge bundle keygen              key.pem and key.public.pem
  tykbridge bundle keygen -o team/key

Next: tykbridge bundle build -k key.pem
"""


@command.command("keygen", epilog=_KEYGEN)
@click.option("-o", "--output", metavar="PREFIX", default="key", show_default=True, help="Where, without .pem.")
def _keygen(output: str) -> None:
    """Make the two halves of a key that signs bundles.

    PREFIX.pem is the private half and stays with you; PREFIX.public.pem is for gateways. RSA, 3072 bits. Nothing is
    overwritten.

    Exit status: 0 when both are written, 2 when they cannot be.
    """
    private, public = Path(f"{output}.pem"), Path(f"{output}.public.pem")
    for file in (private, public):
        if os.path.lexists(file):
            raise _Unusable(f"{file} is there already, and keys are never overwritten: name another PREFIX with -o")
    halves = _usable(rsa.generate)
    made: list[Path] = []
    try:
        for file, data, mode in ((private, halves[0], 0o600), (public, halves[1], 0o644)):
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as stream:
                made.append(file)
                stream.write(data)
    except OSError as error:
        for one in made:  # half a pair is of no use, and in the way of the next try
            one.unlink(missing_ok=True)
        raise _Unusable(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{private}: the private key, for `tykbridge bundle build -k`; keep it secret")
    click.echo(f"{public}: the public key, for public_key_path of gateways")
    click.echo(f"fingerprint {rsa.read_public(str(public)).fingerprint}")


def _usable(make: Callable[[], _Made]) -> _Made:
    """Give what is made of the command line's own files; they are to blame when it fails."""
    try:
        return make()
    except LoadError as error:
        raise _Unusable(clean(str(error))) from error


class _Unusable(click.ClickException):
    """What the command line names is of no use."""

    exit_code = 2


class _Page:
    """Writes a bundle's page: a label, and what there is of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, _WIDEST)

    def write(self, found: Finding) -> None:
        head = Text.assemble((clean(str(found.file)), "bold"), (f"  {found.kind}, {found.size} bytes", "dim"))
        self._console.print(head, soft_wrap=True)
        self._row("refused", [found.refused] if found.refused else [], "red")
        self._row("accepted", [] if found.refused else [found.words], "green")
        self._row("key", [found.key] if found.key else [])
        self._row("checksum", [found.checksum] if found.checksum else [])
        self._row("carries", [", ".join(found.carries)] if found.carries else [])
        self._row("hooks", [f"{phase:<13}  {name}  {driver}".rstrip() for phase, name, driver in found.hooks])
        own = (manifest.FILE_NAME, sums.FILE_NAME, sums.SIGNATURE_NAME)
        for at, (name, size, listed) in enumerate(found.files):
            note = "" if listed or name in own else "  not in file_list"
            self._row("" if at else "files", [f"{size:>9}  {name}{note}"])

    def _row(self, label: str, lines: list[str], colour: str = "") -> None:
        for i, line in enumerate(lines):
            head = label if i == 0 else ""
            for j, part in enumerate(fold(Text(clean(line), colour), max(20, self._width - _INDENT))):
                whole = Text.assemble((f"  {head if j == 0 else '':<{_INDENT - 2}}", colour or "dim"), part)
                whole.rstrip()
                self._console.print(whole, soft_wrap=True)
