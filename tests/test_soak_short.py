"""Runs the first parts of `make soak` for some seconds each: flat memory, replies that stay apart, reloads, counts."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.plain


def soak(root, *arguments):
    command = [sys.executable, root / "bench/soak.py", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
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
