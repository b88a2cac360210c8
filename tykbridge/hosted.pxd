cimport cython

from tykbridge._bridge cimport incoming, part
from tykbridge.chain cimport Chain
from tykbridge.flow cimport Flow


@cython.locals(flow=Flow, chain=Chain, changes=bytes)
cpdef tuple run_request(bytes data)
