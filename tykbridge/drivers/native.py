"""Runs hooks in libraries of any language that speak csrc/plugin.h; they are loaded as Go's are."""

from tykbridge.definition.model import Driver
from tykbridge.drivers.goplugin import Native

DRIVER = Native(Driver.NATIVE)
