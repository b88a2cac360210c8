"""Where this installation keeps what a host is compiled and linked with."""

import shlex
from pathlib import Path

_PACKAGE = Path(__file__).absolute().parent
_SONAME = "libtykbridge.so.1"


def library() -> Path:
    """The C library, for a host that opens it at run time (dlopen, ctypes, cffi)."""
    return _PACKAGE / _SONAME


def include() -> Path:
    """The folder under which ``#include <tykbridge/api.h>`` finds the header."""
    return _PACKAGE / "include"


def pkgconfig() -> Path:
    """The folder of ``tykbridge.pc``, for PKG_CONFIG_PATH."""
    return _PACKAGE / "pkgconfig"


def cflags() -> str:
    """What a compiler needs, quoted for a shell."""
    return shlex.join([f"-I{include()}"])


def libs() -> str:
    """What a linker needs, quoted for a shell; the host then finds the library where it is now."""
    folder = library().parent
    return shlex.join([f"-L{folder}", f"-l:{_SONAME}", f"-Wl,-rpath,{folder}"])
