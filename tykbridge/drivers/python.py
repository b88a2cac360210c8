"""Runs hooks in Python: functions that a decorator marks, called by the compiled module itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tykbridge import handlers
from tykbridge.bundle.namespace import Namespace
from tykbridge.definition.model import Driver
from tykbridge.drivers import Source
from tykbridge.errors import LoadError
from tykbridge.handlers import Marker


class _Modules:
    """The modules of one version of a bundle."""

    def __init__(self, namespace: Namespace, markers: Sequence[Marker]) -> None:
        self._namespace, self.markers = namespace, markers
        self.others: Mapping[str, str] = {}

    def close(self) -> None:
        self._namespace.close()


class Python:
    """The driver."""

    name = Driver.PYTHON
    suffix = ".py"
    deadlines = False
    asks = False
    crosses = False
    waits = False

    def missing(self) -> str:
        """Say nothing: it is always there."""
        return ""

    def load(self, source: Source) -> _Modules:
        """Run the files, and collect what they mark."""
        namespace = Namespace(source.bundle, source.root)
        namespace.open()
        try:
            return _Modules(namespace, _collect(namespace, source))
        except BaseException:
            namespace.close()
            raise


def _collect(namespace: Namespace, source: Source) -> Sequence[Marker]:
    found: dict[str, Marker] = {}
    for file in source.files:
        for marker in handlers.read(namespace.load_file(str(file))):
            other = found.setdefault(marker.name, marker)
            if other.function is not marker.function:
                raise LoadError(f'"{marker.name}" is defined twice: {other.place} and {marker.place}; rename one')
    return list(found.values())


DRIVER = Python()
