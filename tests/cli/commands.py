"""Runs the command line as people do, in a process of its own."""

import json
import os
import subprocess
import sys

UNWANTED = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


class Result:
    """What a command wrote, as text, and its exit status."""

    def __init__(self, done):
        self.status = done.returncode
        self.output, self.errors = done.stdout.decode(), done.stderr.decode()

    @property
    def document(self):
        """The JSON document that standard output has to be, and nothing else."""
        assert self.output.count("\n") == 1
        return json.loads(self.output)

    @property
    def words(self):
        """All that was written, without folds, rails and spaces at the margins."""
        return " ".join((self.output + self.errors).replace("│", " ").split())


def tykbridge(*arguments, cwd=None, stdin=b"", **environment):
    """Runs `tykbridge`, with its output in pipes."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED} | environment
    words = [sys.executable, "-m", "tykbridge", *map(str, arguments)]
    return Result(subprocess.run(words, capture_output=True, env=env, cwd=cwd, input=stdin, check=False))


def write(folder, files):
    """Writes files, text or JSON, by their paths below `folder`; gives the folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def definition(api_id, **keys):
    """Gives the smallest classic definition of a keyless API."""
    return {
        "api_id": api_id,
        "org_id": "org",
        "use_keyless": True,
        "proxy": {"listen_path": f"/{api_id}/", "target_url": "http://upstream.test/"},
        **keys,
    }


def hooks(path="plugin.py", **phases):
    """Gives a custom_middleware of Python hooks in one file, their names by phase."""
    section = {phase: [{"name": name, "path": path} for name in names] for phase, names in phases.items()}
    if "auth_check" in section:
        (section["auth_check"],) = section["auth_check"]
    return {"driver": "python", **section}
