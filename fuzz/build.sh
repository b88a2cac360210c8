#!/usr/bin/env bash
# Builds the fuzzers: fuzz/build.sh OUT PYTHON
#
# OUT gets a program for each fuzz_*.c and, for fuzz_dispatch, a package of tykbridge whose module is instrumented and
# takes the library out of the program. PYTHON is one that Cython is installed in.
set -euo pipefail

out=$1
python=$2
cd "$(dirname "$0")/.."
mkdir -p "$out"
sanitize=address,undefined
version=$("$python" -c 'import runpy; print(runpy.run_path("tykbridge/_version.py")["__version__"])')
flags=(-std=c11 -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all -Icsrc -include csrc/exports.h
    -DTYKB_TEST_ALLOC "-DTYKB_VERSION=\"$version\""
    "-DFUZZ_PYTHON=\"$("$python" -c 'import sys; print(sys.executable)')\"")
libraries=(-ldl -lpthread -lm)

for source in csrc/*.c; do
    clang "${flags[@]}" -fsanitize=$sanitize,fuzzer-no-link -c "$source" -o "$out/$(basename "$source" .c).o"
done
for target in fuzz/fuzz_*.c; do
    # -rdynamic, because the module looks for the library's functions in the program.
    clang "${flags[@]}" -fsanitize=$sanitize,fuzzer -rdynamic "$target" "$out"/*.o -o "$out/$(basename "$target" .c)" \
        "${libraries[@]}"
done

package=$out/package
rm -rf "$package"
mkdir -p "$package"
cp -r tykbridge "$package/tykbridge"
cp -r fuzz/bundle "$package/bundle"
rm -f "$package"/tykbridge/*.so "$package"/tykbridge/*.so.*
"$python" -m cython -3 -I csrc tykbridge/_bridge.pyx -o "$out/_bridge.c"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
# NULL + 0, which Cython writes for "no keyword arguments", is a fault in our own C only.
clang "${flags[@]}" -fsanitize=$sanitize,fuzzer-no-link -fno-sanitize=pointer-overflow -w -fPIC -shared -I"$include" \
    "$out/_bridge.c" -o "$package/tykbridge/_bridge$suffix"
