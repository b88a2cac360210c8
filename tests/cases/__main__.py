"""Writes the table of cases into a folder, for hosts in other languages."""

import sys

from tests.cases import write

write(sys.argv[1])
