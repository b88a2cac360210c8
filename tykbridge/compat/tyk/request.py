"""`tyk.request`: the type of a hook's first argument."""

from tykbridge._bridge import Request as TykCoProcessRequest

__all__ = ["TykCoProcessRequest"]
