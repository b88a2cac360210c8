"""docs/testing.md: its plugin is tested by its tests, and they pass."""

import pytest

from tests.test_readme import ROOT, blocks

pytestmark = pytest.mark.once
pytest_plugins = ["pytester"]

PAGE = blocks(ROOT / "docs/testing.md")


def test_the_page_is_right(pytester):
    [definition], (plugin, *tests) = PAGE["json"], PAGE["python"]
    (pytester.path / "api.json").write_text(definition)
    (pytester.path / "middleware.py").write_text(plugin)
    for number, text in enumerate(tests):
        (pytester.path / f"test_{number}.py").write_text(text)
    count = sum(text.count("\ndef test_") for text in tests)
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=count)
