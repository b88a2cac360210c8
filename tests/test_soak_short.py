"""Runs the parts of `make soak` for some seconds each: flat memory, replies that stay apart, reloads, counts."""

import os
import re
import subprocess
import sys

import pytest

from tests.plugins import go_environment

pytestmark = pytest.mark.plain


def soak(root, *arguments):
    command = [sys.executable, root / "bench/soak.py", *arguments]
    env = {**os.environ, **go_environment()}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_memory_stays_flat(root):
    report = soak(root, "--only", "memory", "--dispatches", "100000")
    assert "100000 dispatches, 10000 of them failing" in report


def test_stores_count_exactly(root):
    report = soak(root, "--only", "stores", "--counts", "5000")
    assert report.count(", 5000 passed, in ") == 3


def test_threads_get_their_own_replies(root):
    report = soak(root, "--only", "threads", "--seconds", "3")
    counts = re.search(r"8 threads, \d+ lives: (\d+) dispatches .*, (\d+) events, (\d+) reloads, (\d+) loads", report)
    assert counts is not None, report
    assert all(int(count) > 0 for count in counts.groups())


def test_reloads_under_load_fail_no_request_and_mix_no_versions(root):
    report = soak(root, "--only", "reload", "--reloads", "20")
    counts = re.findall(r"20 reloads, (\d+) requests .*: none failed, each answer of one version", report)
    assert len(counts) == 2
    assert all(int(count) > 0 for count in counts), report


@pytest.mark.once
def test_javascript_that_throws_loops_and_changes(root):
    report = soak(root, "--only", "javascript", "--seconds", "2")
    counts = re.search(r"(\d+) versions, \d+ requests: none failed but (\d+) .* and (\d+) .* of one version", report)
    assert counts is not None, report
    assert all(int(count) > 1 for count in counts.groups()), report


@pytest.mark.once
def test_a_grpc_server_that_is_replaced_loses_no_request_and_one_that_is_killed_those_in_it(root):
    report = soak(root, "--only", "grpc", "--seconds", "5")
    assert re.search(r"\n[23] servers, 1 of them killed, \d+ requests: ", report), report


@pytest.mark.once
def test_go_in_processes_that_change_and_are_killed(root):
    report = soak(root, "--only", "go", "--seconds", "3")
    counts = re.search(r"\n(\d+) versions, (\d+) processes killed, ", report)
    assert counts is not None, report
    assert all(int(count) > 0 for count in counts.groups()), report


@pytest.mark.once
def test_the_gateway_under_load_while_it_loads_again(root):
    report = soak(root, "--only", "gateway", "--seconds", "3")
    counts = re.search(r"(\d+) versions, .*\((\d+) of all, (\d+) of fails, (\d+) of python, (\d+) of slow\)", report)
    assert counts is not None, report
    assert all(int(count) > 1 for count in counts.groups()), report
