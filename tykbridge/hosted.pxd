cimport cython

from tykbridge._bridge cimport part
from tykbridge.chain cimport Chain
from tykbridge.flow cimport Flow


@cython.locals(flow=Flow, chain=Chain)
cpdef run_request(bytes data, tuple sent)
