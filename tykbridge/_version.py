"""The one place where the release is written: setup.py, the C library and the package read it from here."""

__version__ = "0.1.0"
