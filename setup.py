"""Builds the C library, the Cython module linked to it, and the files that hosts and plugins compile with.

Variables: CFLAGS and LDFLAGS are added to the command lines; TYKB_DEBUG=1 builds without optimisation and with
assertions; TYKB_SANITIZE=address,undefined builds for these sanitizers. docs/building.md tells why the flags are
what they are.
"""

import functools
import hashlib
import os
import runpy
import shlex
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

ROOT = Path(__file__).resolve().parent
VERSION: str = runpy.run_path(str(ROOT / "tykbridge" / "_version.py"))["__version__"]
SONAME = "libtykbridge.so.1"
LIBRARY = "tykbridge.libtykbridge"
DEBUG = os.environ.get("TYKB_DEBUG", "0") not in ("", "0")
SANITIZERS = os.environ.get("TYKB_SANITIZE", "")
BUILD_BASE = os.path.join("build", ("debug-" if DEBUG else "") + (SANITIZERS.replace(",", "-") or "release"))

LIBRARY_SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").glob("*.c"))
# The module has its own copies of these, hidden: a dispatch then calls no function through a PLT, and a library of
# another release cannot lend the module its object.c.
SHARED = [f"csrc/{noun}.c" for noun in ("mem", "wire", "context", "object", "container", "headers", "write", "fields")]

JAVASCRIPT = "tykbridge/drivers/javascript"
ENGINE = f"{JAVASCRIPT}/_quickjs".replace("/", ".")
GOPLUGIN = "tykbridge/drivers/goplugin"
CHILD = f"{GOPLUGIN}/child".replace("/", ".")
QUICKJS_SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c")

# Python modules that every request comes through: compiled where a .pxd beside them gives their classes C members.
COMPILED = sorted(str(p.relative_to(ROOT).with_suffix("")) for p in (ROOT / "tykbridge").rglob("*.pxd"))
COMPILED = [name for name in COMPILED if (ROOT / f"{name}.py").exists()]

# What `tykbridge new` writes is of these; what was built or run in the templates is none of it.
TEMPLATES = (".go", ".ini", ".js", ".json", ".lua", ".md", ".py")

PKG_CONFIG = f"""\
prefix=${{pcfiledir}}/..
includedir=${{prefix}}/include
libdir=${{prefix}}

Name: tykbridge
Description: Tyk's rich plugins for any host
URL: https://pypi.org/project/tykbridge/
Version: {VERSION}
Cflags: -I${{includedir}}
Libs: -L${{libdir}} -l:{SONAME} -Wl,-rpath,${{libdir}}
"""


def compile_flags() -> list[str]:
    """Flags of library and module alike; they come after Python's own and win over them."""
    flags = ["-std=c11", "-fvisibility=hidden", f'-DTYKB_VERSION="{VERSION}"']
    if SANITIZERS:
        flags += [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    if DEBUG:
        flags += ["-O0", "-g3", "-UNDEBUG", "-DTYKB_DEBUG"]
    elif SANITIZERS:
        flags += ["-O1", "-g"]
    else:
        # A level that the builder chose in CFLAGS stays: these flags come last.
        flags += ["-fno-plt", "-g1", *([] if "-O" in os.environ.get("CFLAGS", "") else ["-O3"])]
    return flags


def link_flags() -> list[str]:
    """What every link gets: all symbols resolved at load, and the sanitizers where they are asked for."""
    return ["-Wl,-z,now", *([f"-fsanitize={SANITIZERS}"] if SANITIZERS else [])]


def module_flags() -> list[str]:
    """What the module gets beside: its copies of the tree and what Cython made are optimised as one program."""
    return [] if DEBUG or SANITIZERS else ["-flto=auto"]


def without_symbolic(words: list[str]) -> list[str]:
    """The linker's words without those that Python was built with and that would break a host's callbacks.

    -Bsymbolic-functions (Debian) binds TykTriggerEvent to our own, so that a host's is never called;
    -fno-semantic-interposition lets the compiler do the same; an rpath of the Python's own (pyenv, conda) would be
    searched before $ORIGIN.
    """
    kept: list[str] = []
    rpath_follows = False
    for word in words:
        parts = word.split(",") if word.startswith("-Wl,") else [word]
        out: list[str] = []
        for part in parts:
            if rpath_follows and part != "-Wl":
                rpath_follows = False
            elif part in ("-rpath", "-R"):
                rpath_follows = True
            elif not part.startswith(("-Bsymbolic", "-fno-semantic-interposition", "-rpath=")):
                out.append(part)
        if out and out != ["-Wl"]:
            kept.append(",".join(out))
    return kept


@functools.cache
def vendored(name: str) -> Path | None:
    """Give the folder of what another project made (tools/vendored.py); None, and a warning, where it cannot be had."""
    tools = runpy.run_path(str(ROOT / "tools" / "vendored.py"))
    try:
        return Path(tools[name]())
    except tools["MissingError"] as error:
        print(f"tykbridge: warning: {name} cannot be had, JavaScript goes without it: {error}", flush=True)
        return None


class Build(build):
    """Keeps builds with other variables apart, so that none of them takes another's objects for its own."""

    def initialize_options(self) -> None:
        """Names the folder."""
        super().initialize_options()
        self.build_base = BUILD_BASE


class BuildExtensions(build_ext):
    """Builds the library, then the module against it, and writes the header and the pkg-config file beside them."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library is loaded by hosts, so its file has the name that linkers look for."""
        if fullname.rpartition(".")[2] == LIBRARY.rpartition(".")[2]:
            return str(Path(*fullname.split(".")[:-1], SONAME))
        if fullname.rpartition(".")[2] == CHILD.rpartition(".")[2]:
            return str(Path(*fullname.split(".")[:-1], "tykbridge-plugin"))
        return str(super().get_ext_filename(fullname))

    def build_extensions(self) -> None:
        """Compiles and links, the library first."""
        from Cython.Build import cythonize

        self._add_quickjs()
        missing = [s for e in self.extensions for s in e.sources if not (ROOT / s).exists()]
        if missing:
            raise SystemExit(f"setup.py: these sources are missing: {', '.join(sorted(set(missing)))}")
        for program in ("compiler_so", "linker_so"):
            self.compiler.set_executable(program, without_symbolic(getattr(self.compiler, program)))
        library, program, module, *compiled = self.extensions
        # Into the build folder, so that no generated C stands in the tree or ships.
        generated = cythonize(
            [Extension(e.name, [e.sources[0]], include_dirs=e.include_dirs) for e in (module, *compiled)],
            build_dir=os.path.relpath(self.build_temp),
            # A compiled module means what it means when it is not: annotations are for readers and mypy, and None has
            # no members, which C would read all the same.
            compiler_directives={"language_level": 3, "annotation_typing": False, "nonecheck": True},
            quiet=True,
            force=bool(self.force),
        )
        for extension, made in zip((module, *compiled), generated, strict=True):
            extension.sources = [*made.sources, *extension.sources[1:]]
        module.library_dirs = [str(Path(self.get_ext_fullpath(library.name)).parent)]
        self.parallel = None  # the module is linked to the library: one after the other
        self.check_extensions_list(self.extensions)
        temp = self.build_temp
        for extension in (library, module, *compiled, program):
            # Objects of both, compiled with different flags, have the same names.
            self.build_temp = os.path.join(temp, extension.name)
            self.build_extension(extension)
        self.build_temp = temp
        for path, text in self._texts(Path(self.build_lib)).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def build_extension(self, ext: Extension) -> None:
        """Builds one; the program is linked as one."""
        if ext.name != CHILD:
            super().build_extension(ext)
            return
        target = Path(self.get_ext_fullpath(ext.name))
        if not (self.force or newer_group([*ext.sources, *ext.depends], str(target), "newer")):
            return
        made = self.compiler.compile(
            ext.sources,
            output_dir=self.build_temp,
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args,
            depends=ext.depends,
        )
        self.compiler.link_executable(
            made,
            target.name,
            output_dir=str(target.parent),
            libraries=ext.libraries,
            extra_postargs=ext.extra_link_args,
        )

    def _add_quickjs(self) -> None:
        """Gives the JavaScript driver its engine, or leaves the driver's module out."""
        engine = next(extension for extension in self.extensions if extension.name == ENGINE)
        source = vendored("quickjs")
        if source is None:
            self.extensions.remove(engine)
            return
        engine.include_dirs.append(str(source))
        engine.extra_objects = [str(path) for path in self._quickjs(source)]
        engine.depends = [*engine.depends, *engine.extra_objects]  # or another QuickJS would not be linked

    def _quickjs(self, source: Path) -> list[Path]:
        """Compiles QuickJS, once for all Pythons, which it knows nothing of."""
        words = self.compiler.compiler_so
        first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
        # Its assertions would end the host; its warnings are its makers' business.
        flags = ["-fPIC", "-pthread", *shlex.split(os.environ.get("CFLAGS", "")), *compile_flags()]
        command = [*words[:first], *flags, "-w", "-DNDEBUG", "-D_GNU_SOURCE"]
        key = hashlib.sha256("\0".join([str(source), *command]).encode()).hexdigest()[:16]
        folder = Path(BUILD_BASE, f"quickjs-{key}")
        folder.mkdir(parents=True, exist_ok=True)
        objects = [folder / f"{Path(name).stem}.o" for name in QUICKJS_SOURCES]
        for name, made in zip(QUICKJS_SOURCES, objects, strict=True):
            if not made.exists():
                beside = made.with_suffix(f".{os.getpid()}")
                self.spawn([*command, "-c", str(source / name), "-o", str(beside)])
                beside.replace(made)
        return objects

    def copy_extensions_to_source(self) -> None:
        """Puts what was built into the tree; a file in use by a running host is replaced, never overwritten."""
        for extension in self.extensions:
            (ROOT / self.get_ext_filename(extension.name)).unlink(missing_ok=True)
        super().copy_extensions_to_source()
        for path, text in self._texts(ROOT).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def get_outputs(self) -> list[str]:
        """Every file that a build writes."""
        return [*super().get_outputs(), *map(str, self._texts(Path(self.build_lib)))]

    def get_output_mapping(self) -> dict[str, str]:
        """Where an editable installation finds them."""
        mapping = dict(super().get_output_mapping())
        if self.inplace:
            built, tree = self._texts(Path(self.build_lib)), self._texts(ROOT)
            mapping |= dict(zip(map(str, built), map(str, tree), strict=True))
        return mapping

    def _texts(self, base: Path) -> dict[Path, str]:
        """The files for hosts that are written, not compiled."""
        texts = {
            base / "tykbridge/include/tykbridge/api.h": (ROOT / "csrc/api.h").read_text(encoding="utf-8"),
            base / "tykbridge/include/tykbridge/plugin.h": (ROOT / "csrc/plugin.h").read_text(encoding="utf-8"),
            base / "tykbridge/pkgconfig/tykbridge.pc": PKG_CONFIG,
        }
        underscore = vendored("underscore")
        if underscore is not None:
            texts[base / JAVASCRIPT / "underscore.js"] = (underscore / "underscore.js").read_text(encoding="utf-8")
        return texts


headers = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").glob("*.h"))
stubs = {p.name: str(p.relative_to(ROOT)) for p in sorted((ROOT / "stubs").glob("*-stubs"))}

setup(
    packages=[*find_packages(include=["tykbridge", "tykbridge.*"]), "tykbridge.examples", *stubs],
    package_dir={"tykbridge.examples": "examples/seeds", **stubs},  # what `tykbridge tour` shows
    # The Go modules are sources that plugins are compiled with, and no Python packages; templates are projects.
    package_data={
        "": ["py.typed", "*.pyi", "*.lua", "*.js", "*.d.ts"],
        "tykbridge": [f"templates/**/*{suffix}" for suffix in TEMPLATES],
        "tykbridge.examples": ["*/manifest.json", "*/middleware.*"],
        "tykbridge.gateway.inspector": ["page/*"],
        "tykbridge.goplugin": ["tyk*/**/*"],
    },
    include_package_data=False,
    ext_modules=[
        Extension(
            LIBRARY,
            LIBRARY_SOURCES,
            include_dirs=["csrc"],
            depends=headers,
            libraries=["dl", "pthread"],
            extra_compile_args=[*compile_flags(), "-include", "csrc/exports.h", "-fsemantic-interposition"],
            # No -z defs under a sanitizer: its functions come from the runtime that the process starts with.
            extra_link_args=[f"-Wl,-soname,{SONAME}", "-Wl,-z,nodelete", *link_flags()]
            + ([] if SANITIZERS else ["-Wl,-z,defs"]),
        ),
        Extension(
            CHILD,
            [f"{GOPLUGIN}/child.c", f"{GOPLUGIN}/lane.c"],
            include_dirs=["csrc", GOPLUGIN],
            depends=[*headers, *sorted(str(p.relative_to(ROOT)) for p in (ROOT / GOPLUGIN).glob("*.h"))],
            extra_compile_args=compile_flags(),
            extra_link_args=link_flags(),
            libraries=["dl", "pthread"],
        ),
        Extension(
            "tykbridge._bridge",
            ["tykbridge/_bridge.pyx", *SHARED],
            include_dirs=["csrc"],
            depends=[*headers, *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tykbridge").glob("*.px[di]"))],
            # Exceptions: `to_its_end` has to stand in the way of a stack that is unwound.
            extra_compile_args=[*compile_flags(), "-fexceptions", *module_flags()],
            extra_link_args=[
                f"-l:{SONAME}",
                "-Wl,-rpath,$ORIGIN",
                "-Wl,--disable-new-dtags",
                *link_flags(),
                *module_flags(),
            ],
        ),
        *(
            Extension(
                name.replace("/", "."),
                [f"{name}.py"],
                include_dirs=["csrc"],
                depends=[*headers, *(f"{pxd}.pxd" for pxd in (*COMPILED, "tykbridge/_bridge"))],
                extra_compile_args=compile_flags(),
                extra_link_args=link_flags(),
            )
            for name in COMPILED
        ),
        Extension(
            ENGINE,
            [
                f"{JAVASCRIPT}/_quickjs.pyx",
                f"{JAVASCRIPT}/engine.c",
                f"{JAVASCRIPT}/message.c",
                f"{JAVASCRIPT}/collect.c",
                *SHARED,
            ],
            include_dirs=["csrc", JAVASCRIPT],
            depends=[
                *headers,
                "tykbridge/_bridge.pxd",
                *sorted(str(p.relative_to(ROOT)) for p in (ROOT / JAVASCRIPT).glob("*.h")),
            ],
            extra_compile_args=[*compile_flags(), *module_flags()],
            extra_link_args=[*link_flags(), *module_flags()],
            libraries=["m"],
        ),
        Extension(
            f"{GOPLUGIN}/_plugin".replace("/", "."),
            [f"{GOPLUGIN}/_plugin.pyx", f"{GOPLUGIN}/process.c", f"{GOPLUGIN}/lane.c", *SHARED],
            include_dirs=["csrc", GOPLUGIN],
            depends=[
                *headers,
                "tykbridge/_bridge.pxd",
                *(str(p.relative_to(ROOT)) for end in ("h", "pxi") for p in sorted((ROOT / GOPLUGIN).glob(f"*.{end}"))),
            ],
            extra_compile_args=[*compile_flags(), *module_flags()],
            extra_link_args=[*link_flags(), *module_flags()],
            libraries=["dl", "pthread"],
        ),
    ],
    cmdclass={"build": Build, "build_ext": BuildExtensions},
)
