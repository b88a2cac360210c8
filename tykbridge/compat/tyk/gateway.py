"""`tyk.gateway`: where older plugins look for the gateway."""

from tykbridge.compat.gateway import TykGateway

__all__ = ["TykGateway"]
