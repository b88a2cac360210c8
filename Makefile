# Everything that one does with tykbridge. `make` alone prints the list.
#
# Variables: PYTHON (any Python from 3.11 on), FUZZ_SECONDS, REQUIRE_PYTHONS (see `make test`), CFLAGS, TYKB_DEBUG=1.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 60
# Versions without which `make test` fails, such as "3.11 3.12 3.13"; others are tested where they are found.
REQUIRE_PYTHONS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.SUFFIXES:

# A .py beside a .pxd is compiled, too.
PXD := $(wildcard tykbridge/*.pxd tykbridge/*/*.pxd)
JAVASCRIPT := tykbridge/drivers/javascript
NATIVE := setup.py tools/vendored.py pyproject.toml tykbridge/_version.py \
	$(wildcard csrc/*.c csrc/*.h tykbridge/*.pyx tykbridge/*.pxi tykbridge/drivers/*/*.pyx \
		tykbridge/drivers/*/*.pxi $(JAVASCRIPT)/*.[ch]) \
	$(PXD) $(wildcard $(PXD:.pxd=.py))

.PHONY: help
help:  ## print this list
	@printf 'tykbridge: Tyk'"'"'s rich plugins for any host\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@printf '\nmake PYTHON=/path/to/python chooses the Python (3.11 or later); CONTRIBUTING.md tells the rest.\n'

.PHONY: build
build: $(VENV)/.built  ## the package, installed in .venv
	@:

# Naming another PYTHON than .venv was made with makes .venv anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell cat $(VENV)/.python 2>/dev/null),$(PYTHON))
$(VENV)/.python: FORCE
endif
endif
.PHONY: FORCE
FORCE:

$(VENV)/.python:
	@tools/prepare "$(PYTHON)" c
	@echo "tykbridge: making $(VENV)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "$(PYTHON)" >$@

# The editable installation is made once; later builds only compile, into the tree.
$(VENV)/.installed: $(VENV)/.python pyproject.toml setup.py tykbridge/_version.py
	@echo "tykbridge: building; the first time it takes two or three minutes"
	@$(BIN)/python -m pip install --quiet --group build
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[all]'
	@# An editable installation leaves the stubs out, and editors look for them here.
	@ln -sfn "$(CURDIR)"/stubs/*-stubs "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	@echo "tykbridge: installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --group lint
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(NATIVE)
	@if [ -n "$(filter $(NATIVE),$?)" ] && [ -n "$$(find $(filter $(NATIVE),$?) -newer $(VENV)/.installed)" ]; then \
		echo "tykbridge: building what changed"; \
		$(BIN)/python setup.py --quiet build_ext --inplace; \
	fi
	@touch $@

.PHONY: run
run: build  ## a gateway with plugins at work, for requests of your own too
	@$(BIN)/python -m tykbridge tour

.PHONY: test
test: build $(VENV)/.test  ## every test on this Python, the core on the other Pythons found
	@tools/prepare $(BIN)/python c cxx libpython go node rust redis openssl grpc arm64 chromium
	@REQUIRE_PYTHONS="$(REQUIRE_PYTHONS)" tools/test $(BIN)/python

.PHONY: test-environment
test-environment: build $(VENV)/.test
	@:

.PHONY: bench
bench: build $(VENV)/.test  ## measure a dispatch against its floor and the classic way
	@$(BIN)/python -m pip install --quiet --group bench
	@$(BIN)/python bench/run.py
	@$(BIN)/python bench/gateway.py

$(VENV)/.docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@

.PHONY: docs
docs: build $(VENV)/.docs  ## the pages of docs/ as a site, in build/site
	@$(BIN)/python tools/docs.py

.PHONY: pictures
pictures: build $(VENV)/.test  ## take the pictures of docs/inspector.md anew
	@tools/prepare $(BIN)/python chromium
	@$(BIN)/python -m pip install --quiet --group pictures
	@$(BIN)/python -m tests.pictures

.PHONY: lint
lint: build $(VENV)/.lint  ## check style, types and warnings
	@tools/prepare $(BIN)/python go
	@tools/lint $(BIN)

.PHONY: format
format: build $(VENV)/.lint  ## put the sources into the house style
	@tools/prepare $(BIN)/python go
	@tools/lint $(BIN) --fix

.PHONY: sanitize
sanitize: build  ## the tests under ASan and UBSan
	@tools/prepare $(BIN)/python c cxx libpython node redis openssl
	@tools/sanitize $(BIN)/python

.PHONY: fuzz
fuzz: build  ## each fuzzer for FUZZ_SECONDS (60)
	@tools/prepare $(BIN)/python c clang
	@tools/fuzz $(FUZZ_SECONDS) $(BIN)

.PHONY: soak
soak: build $(VENV)/.test  ## what takes long: millions of dispatches, threads, drivers, the gateway, valgrind, fuzzing
	@tools/prepare $(BIN)/python c libpython clang go valgrind redis openssl
	@$(BIN)/python bench/soak.py

.PHONY: clean
clean:  ## remove everything that was built
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf tykbridge/include tykbridge/pkgconfig tykbridge/*.so tykbridge/*.so.* tykbridge/*/*.so \
		tykbridge/*/*/*.so $(JAVASCRIPT)/underscore.js
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
