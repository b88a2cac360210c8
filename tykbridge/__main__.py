"""``python -m tykbridge``."""

from tykbridge.cli import main

main(prog_name="python -m tykbridge")
