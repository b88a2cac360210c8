"""What --help teaches: the first steps, and for each command examples that it takes."""

import re
import shlex

import click
import pytest

from tests.cli.commands import tykbridge
from tykbridge.cli import main

pytestmark = pytest.mark.once


def leaves(command=main, words=("tykbridge",)):
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        return {" ".join(words): command}
    found = {}
    for name in command.list_commands(click.Context(command)):
        found |= leaves(command.get_command(click.Context(command), name), (*words, name))
    return found


COMMANDS = leaves()


def page(words):
    """A command's --help, as wide as it likes."""
    command = COMMANDS[words]
    return command.get_help(click.Context(command, info_name=words, max_content_width=200, terminal_width=200))


def test_without_a_command_the_first_steps_are_shown_in_order():
    alone, asked = tykbridge(), tykbridge("--help")
    assert (alone.status, alone.output) == (0, asked.output)
    steps = re.findall(r"^    (\S+ \S+)", alone.output.partition("\n\n  `tykbridge")[0], re.MULTILINE)
    ours = ("new", "run-hook", "upstream", "serve")
    new, run_hook, upstream, serve = (f"tykbridge {name}" for name in ours)
    assert steps == [new, "cd hello", run_hook, "python -m", upstream, serve, "curl -i"]
    listed = re.findall(r"^  ([a-z][a-z-]*)  ", alone.output, re.MULTILINE)
    assert sorted(listed) == sorted({words.split()[1] for words in COMMANDS})
    assert listed.index("new") < listed.index("bundle") < listed.index("doctor")


@pytest.mark.parametrize(
    ("word", "hint"), [("serv", " Did you mean 'serve'?"), ("nwe", " Did you mean 'new'?"), ("zzz", "")]
)
def test_a_command_that_is_misspelled(word, hint):
    done = tykbridge(word)
    assert done.status == 2
    assert done.words.endswith(f"Error: No such command '{word}'.{hint}")


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_has_examples_that_it_takes(words):
    command = COMMANDS[words]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    examples = [line.strip() for line in page(words).splitlines() if re.match(rf"\s+{words}\b(?!`)", line)]
    assert examples
    for example in examples:
        line = re.split(r"\s{3,}| > | >> ", example)[0]
        used = {word for word in shlex.split(line) if re.match("--?[a-zA-Z]", word)}
        assert used <= options | {"--help"}, example


@pytest.mark.parametrize("words", COMMANDS)
def test_the_first_sentence_says_what_it_does(words):
    first = (COMMANDS[words].help or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^.]*\.( \[default: .*\])?", first.replace("\n", " ")), first


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words.split()[1] not in ("serve", "upstream", "completion")]
)
def test_the_exit_status_is_told(words):
    assert "Exit status: 0 " in " ".join(page(words).split())
