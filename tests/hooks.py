"""Lets a test's own function be a bundle's hook: the bundle imports this module, the test sets `hook`."""

from collections.abc import Callable
from typing import Any

hook: Callable[..., Any]

BUNDLE = """
from tests import hooks
from tyk.decorators import *

@Hook
def three(request, session, spec):
    return hooks.hook(request, session, spec)

@Hook
def four(request, session, metadata, spec):
    return hooks.hook(request, session, metadata, spec)

@Hook
def five(request, response, session, metadata, spec):
    return hooks.hook(request, response, session, metadata, spec)
"""
