"""`tykbridge completion`, in the shells themselves: all that are installed here, bash among them."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import tykbridge

pytestmark = pytest.mark.once
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}

# Each gives what completes the words that follow, a line each.
ASK = {
    "bash": """
eval "$(tykbridge completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_tykbridge_completion tykbridge
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
compdef() { true }
_describe() { for item in "${(@P)3}"; do print -r -- "${item%%:*}"; done }
compadd() { print -rl -- "${(@P)@[-1]}" }
words=("$@")
CURRENT=$#
source <(tykbridge completion zsh)
_tykbridge_completion
""",
    "fish": """
tykbridge completion fish | source
complete -C "$argv" | string split -f 1 \\t | cat
""",
}
COMMANDS = {
    "bash": ["bash", "--norc", "-c", ASK["bash"], "bash"],
    "zsh": ["zsh", "-f", "-c", ASK["zsh"], "zsh"],
    "fish": ["fish", "--no-config", "-c", ASK["fish"]],
}
SHELLS = [shell for shell in ASK if shutil.which(shell)]


def completed(shell, *words):
    done = subprocess.run([*COMMANDS[shell], *words], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_is_here():
    assert "bash" in SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_choices(shell):
    assert completed(shell, "tykbridge", "c") == ["check", "completion"]
    assert completed(shell, "tykbridge", "new", "--dr") == ["--driver"]
    assert completed(shell, "tykbridge", "new", "--driver", "l") == ["lua"]
    assert completed(shell, "tykbridge", "bundle", "ver") == ["verify"]


@pytest.mark.parametrize("shell", ASK)
def test_what_a_shell_is_told(shell):
    """What click answers them, whether they are here or not."""
    asked = {"_TYKBRIDGE_COMPLETE": f"{shell}_complete", "COMP_WORDS": "tykbridge serv", "COMP_CWORD": "1"}
    if shell == "fish":
        asked["COMP_CWORD"] = "serv"
    done = subprocess.run(["tykbridge"], env={**ENVIRONMENT, **asked}, capture_output=True, text=True, check=False)
    assert "serve" in done.stdout
    script = tykbridge("completion", shell).output
    assert script.splitlines()[-1].startswith(f"# To have this in every shell: tykbridge completion {shell} >")
    assert tykbridge("completion", SHELL=f"/bin/{shell}").output == script


def test_the_shell_has_to_be_known():
    done = tykbridge("completion", SHELL="/bin/tcsh")
    assert (done.status, "say which shell: bash, zsh, fish" in done.words) == (2, True)


def test_no_command_is_imported_for_its_name():
    code = """
import json, sys
from tykbridge.cli import main
try:
    main(prog_name="tykbridge")
finally:
    print(json.dumps([name for name in sys.modules if name.startswith("tykbridge")]), file=sys.stderr)
"""
    environment = {"_TYKBRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "tykbridge ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=True
    )
    assert "plain,run-hook\n" in done.stdout
    wanted = {"tykbridge", "tykbridge._version", "tykbridge.cli", "tykbridge.installation"}
    assert set(json.loads(done.stderr)) == wanted


def test_the_tab_key_in_a_terminal(tmp_path):
    """Bash as people have it: a command, then the file that the command wants."""
    (tmp_path / "orders.json").write_text("{}")
    main, side = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=tmp_path,
        env={**ENVIRONMENT, "PS1": "> ", "INPUTRC": "/dev/null"},
        start_new_session=True,
    ) as shell:
        os.close(side)
        try:
            os.write(
                main, b'eval "$(tykbridge completion bash)"; tykbridge() { printf "<%s>\\n" "$*"; }; echo rea""dy\n'
            )
            _until(main, b"ready\r\n")
            # The command itself is called by its path, the function of its name shows what was typed.
            os.write(main, b"tykbridge chec\t")
            _until(main, b"check ")
            os.write(main, b"ord\t")
            _until(main, b"orders.json")
            os.write(main, b"\n")
            _until(main, b"<check orders.json>")
        finally:
            shell.kill()
            os.close(main)


def _until(terminal, wanted):
    seen, deadline = b"", time.monotonic() + 60
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
