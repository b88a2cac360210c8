"""`tykbridge bundle`, as people run it."""

import json
import os
import stat
import subprocess
import sys
import zipfile

import pytest
from click.testing import CliRunner

from tests.cli.commands import UNWANTED, Result, hooks, tykbridge, write
from tests.openssl import openssl
from tykbridge.cli import main

pytestmark = pytest.mark.once

PLUGIN = "from tyk.decorators import *\n\n@Hook\ndef mark(request, session, spec):\n    return request, session\n"
MANIFEST = {"file_list": ["middleware.py"], "custom_middleware": hooks("", pre=["mark"], auth_check=["check"])}


@pytest.fixture
def place(tmp_path):
    """A folder with a bundle's files."""
    return write(tmp_path / "hello", {"middleware.py": PLUGIN, "manifest.json": MANIFEST})


@pytest.fixture
def bundle(place, monkeypatch):
    """Runs `bundle` in the folder, in this process: most of a command's time is its start."""
    monkeypatch.chdir(place)
    for name in UNWANTED:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, stdin=b"", **environment):
        done = CliRunner().invoke(main, ["bundle", *map(str, arguments)], stdin, environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(subprocess.CompletedProcess((), done.exit_code, done.stdout_bytes, done.stderr_bytes))

    return run


def test_the_way_from_a_folder_to_a_gateway(place):
    def bundle(*arguments):
        return tykbridge("bundle", *arguments, cwd=place)

    made = bundle("keygen")
    assert (made.status, made.errors) == (0, "")
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    der = openssl("pkey", "-pubin", "-in", place / "key.public.pem", "-outform", "DER")
    fingerprint = openssl("dgst", "-sha256", "-r", data=der).decode().split()[0]
    assert f"fingerprint {fingerprint}\n" in made.output

    built = bundle("build", "-k", "key.pem")
    assert (built.status, built.errors) == (0, "")
    size = (place / "bundle.zip").stat().st_size
    assert built.output.startswith(f"bundle.zip: 1 file, {size} bytes, signed, checksum ")

    verified = bundle("verify", "bundle.zip", "--public-key", "key.public.pem")
    assert (verified.status, verified.errors) == (0, "")
    assert verified.output == "bundle.zip: signed, and the signature covers every file\n"

    shown = bundle("show", "bundle.zip", "--public-key", "key.public.pem")
    assert (shown.status, shown.errors) == (0, "")
    checksum = json.loads(zipfile.ZipFile(place / "bundle.zip").read("manifest.json"))["checksum"]
    for words in (
        f"bundle.zip archive, {size} bytes",
        "accepted signed, and the signature covers every file",
        f"key {fingerprint}",
        f"checksum {checksum}",
        "carries checksum in manifest.json, signature in manifest.json, SHA256SUMS, SHA256SUMS.sig",
        "hooks pre mark python auth_check check python",
        f"{len(PLUGIN)} middleware.py",
        "384 SHA256SUMS.sig",
    ):
        assert words in shown.words
    assert "not in file_list" not in shown.output


def test_without_a_key_it_asks_as_upstream_does(bundle, place):
    for answer, status in ((b"n\n", 1), (b"", 1), (b"maybe\n", 1), (b"y\n", 0), (b"yes\n", 0)):
        asked = bundle("build", "-o", "asked.zip", stdin=answer)
        assert "The bundle will be unsigned. Go on?" in asked.errors
        assert asked.status == status
        assert (place / "asked.zip").exists() == (status == 0)
    quiet = bundle("build", "-y", "-o", "quiet.zip", "-m", place / "manifest.json")
    assert (quiet.status, quiet.errors) == (0, "")
    assert "unsigned" in quiet.output
    assert (place / "quiet.zip").read_bytes() == (place / "asked.zip").read_bytes()


def test_a_key_counts_more_than_to_skip_signing(bundle, place, keys):
    assert bundle("build", "-y", "--key", keys / "key.pem", "--output", "a.zip").status == 0
    assert bundle("verify", "a.zip", "--public-key", keys / "key.public.pem").status == 0


def test_a_passphrase_comes_from_the_environment(bundle, keys):
    locked = ("build", "-k", keys / "locked.pem")
    assert bundle(*locked, TYKB_KEY_PASSPHRASE="secret").status == 0
    wrong = bundle(*locked, TYKB_KEY_PASSPHRASE="wrong")
    assert (wrong.status, wrong.output) == (2, "")
    assert "locked.pem: the passphrase is wrong, or the key is damaged" in wrong.errors
    none = bundle(*locked)
    assert none.status == 2
    assert "is protected by a passphrase, and none was given: set TYKB_KEY_PASSPHRASE" in none.errors


def test_a_passphrase_is_asked_for_on_a_terminal(place, keys):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "tykbridge", "bundle", "build", "-k", str(keys / "locked.pem")]
    with subprocess.Popen(
        command, cwd=place, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as run:
        os.close(theirs)
        said = b""
        while b"Passphrase of" not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"secret\n")
        while True:
            try:
                said += os.read(ours, 1000)
            except OSError:  # the other end is closed
                break
        assert run.wait() == 0
    os.close(ours)
    assert b"signed, checksum" in said
    assert b"secret" not in said


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["build", "-m", "gone.json", "-y"], 2, "'gone.json' does not exist"),
        (["build", "-k", "gone.pem"], 2, "'gone.pem' does not exist"),
        (["build", "-k", "middleware.py"], 2, "middleware.py holds no private key in PEM form"),
        (["build", "-m", "bad.json", "-y"], 1, 'bad.json: file_list[0]: the bundle has no file "gone.py"'),
        (["build", "-m", "middleware.py", "-y"], 1, "middleware.py:1: not JSON"),
        (["verify", "gone.zip"], 2, "'gone.zip' does not exist"),
        (["verify", "middleware.py"], 1, "middleware.py: it is not a zip archive, or its end is missing"),
        (["verify", "empty"], 2, "empty has no manifest.json, so it is no bundle"),
        (["show", "empty"], 2, "empty has no manifest.json, so it is no bundle"),
        (["verify", ".", "--public-key", "middleware.py"], 2, "middleware.py holds no public key in PEM form"),
        (["keygen", "-o", "nowhere/key"], 2, "nowhere/key.pem cannot be written: No such file"),
    ],
)
def test_what_goes_wrong_is_told_with_its_status(bundle, place, arguments, status, words):
    write(place, {"bad.json": MANIFEST | {"file_list": ["gone.py"]}})
    (place / "empty").mkdir()
    result = bundle(*arguments)
    assert (result.status, result.output) == (status, "")
    assert words in result.errors
    assert "Traceback" not in result.errors


def test_verify_says_why_a_gateway_refuses(bundle, place, keys):
    public = ("--public-key", keys / "key.public.pem")
    bundle("build", "-y")
    refused = bundle("verify", "bundle.zip", *public)
    assert (refused.status, refused.output) == (1, "")
    words = "bundle.zip is not signed, and a public key is configured: build it with `tykbridge bundle build -k KEY`"
    assert refused.errors == f"Error: {words}\n"
    bundle("build", "-k", keys / "other.pem")
    assert (
        "bundle.zip/SHA256SUMS.sig: the signature is not by the key" in bundle("verify", "bundle.zip", *public).errors
    )
    assert bundle("verify", "bundle.zip").words == (
        "bundle.zip: every file is as SHA256SUMS says (its signature was not checked: no key was given)"
    )


def test_old_signatures_and_native_code_have_their_switches(bundle, place, keys):
    bundle("build", "-k", keys / "key.pem")
    with zipfile.ZipFile(place / "bundle.zip") as built, zipfile.ZipFile(place / "old.zip", "w") as old:
        for name in ("middleware.py", "manifest.json"):
            old.writestr(name, built.read(name))
    public = ("--public-key", keys / "key.public.pem")
    assert "accept_old_signatures is off" in bundle("verify", "old.zip", *public).errors
    accepted = bundle("verify", "old.zip", *public, "--accept-old-signatures")
    assert accepted.output == "old.zip: signed in the old form, which does not cover the manifest\n"

    write(place, {"x.so": "\x7fELF"})
    refused = bundle("verify", ".")
    assert (refused.status, "'x.so' (ELF) is native code" in refused.errors) == (1, True)
    assert bundle("verify", ".", "--allow-native-code").output == ".: nothing in it says what its files should be\n"


def test_show_for_machines(bundle, place, keys):
    bundle("build", "-k", keys / "key.pem")
    public = ("--public-key", keys / "key.public.pem")
    result = bundle("show", "bundle.zip", "--json", *public)
    document = result.document
    assert result.status == 0
    sizes = {name: len(data) for name, data in read(place / "bundle.zip").items()}
    assert document == {
        "ok": True,
        "kind": "archive",
        "file": str(place / "bundle.zip"),
        "bytes": (place / "bundle.zip").stat().st_size,
        "form": "sha256-signed",
        "refused": "",
        "key": document["key"],
        "checksum": json.loads(read(place / "bundle.zip")["manifest.json"])["checksum"],
        "carries": ["checksum in manifest.json", "signature in manifest.json", "SHA256SUMS", "SHA256SUMS.sig"],
        "hooks": [
            {"phase": "pre", "name": "mark", "driver": "python"},
            {"phase": "auth_check", "name": "check", "driver": "python"},
        ],
        "files": [
            {"path": name, "bytes": size, "listed": name == "middleware.py"} for name, size in sorted(sizes.items())
        ],
    }
    assert len(document["key"]) == 64


def test_show_what_would_be_refused(bundle, place):
    write(place, {"vendor/x.so": "", "notes.txt": ""})
    shown = bundle("show", ".")
    assert shown.status == 1
    assert "refused .: 'vendor/x.so' (by its name) is native code" in shown.words
    assert "0 notes.txt not in file_list" in shown.words
    assert "hooks pre mark python" in shown.words
    document = bundle("show", ".", "--json").document
    assert (document["ok"], document["form"], document["kind"]) == (False, "", "folder")
    assert document["refused"].startswith(".: 'vendor/x.so' (by its name) is native code")

    (place / "evil.zip").write_bytes(b"PK")
    shown = bundle("show", "evil.zip")
    assert (shown.status, "refused evil.zip: it is not a zip archive" in shown.words) == (1, True)


def test_names_do_not_reach_the_terminal_as_they_are(bundle, place):
    write(place, {"a\x1b[2Jb": "", "manifest.json": MANIFEST | {"checksum": "\x1b]0;title"}})
    shown = bundle("show", ".", "--color")
    assert "\x1b[2J" not in shown.output
    assert "a\\x1b[2Jb" in shown.output
    assert "\x1b]0" not in shown.output
    assert "\\x1b]0;title" in shown.output


def test_no_code_runs(bundle, place):
    write(place, {"middleware.py": "open('ran', 'w')\n" + PLUGIN})
    bundle("build", "-y")
    for command in ("verify", "show"):
        for source in (".", "bundle.zip"):
            assert bundle(command, source).status == 0
    assert not (place / "ran").exists()


def test_keys_are_never_overwritten(bundle, place):
    (place / "mine.public.pem").symlink_to("nowhere")
    result = bundle("keygen", "-o", "mine")
    assert result.status == 2
    assert (
        "mine.public.pem is there already, and keys are never overwritten: name another PREFIX with -o" in result.errors
    )
    assert not (place / "mine.pem").exists()


def test_help_teaches(bundle):
    alone, asked = bundle(), bundle("--help")
    assert alone.status == asked.status == 0
    assert alone.output == asked.output
    assert "tykbridge bundle build -k key.pem" in alone.output
    for command in ("build", "keygen", "show", "verify"):
        assert "Exit status: 0" in bundle(command, "--help").output


def read(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_regression_half_a_pair_of_keys_stayed(bundle, place):
    name = "k" * 248  # with .pem it is as long as a name may be, with .public.pem longer
    made = bundle("keygen", "-o", name)
    assert (made.status, made.output) == (2, "")
    assert "cannot be written: File name too long" in made.errors
    assert not list(place.glob("k*"))
