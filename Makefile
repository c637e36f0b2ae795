# Two commands for a newcomer: `make demo` and `make test`. Everything else is a part of the second.
PYTHON ?= python3
# A CPU build of torch where the index has one; any torch the extras allow will do.
TORCH ?= torch==2.13.0
PIP_QUIET = --quiet --disable-pip-version-check

DEMO = .venv-demo/bin
DEV = .venv/bin
PHOTO = examples/photos/astronaut_lq3.jpg
BOX = 20 5 470 510

# What the C++ library needs of the system; headers of JSON and OpenVINO come with pip.
CPP_PACKAGES = g++ libssl-dev libpng-dev libjpeg-dev
CPP_FILES = $(shell git ls-files '*.cpp' '*.hpp' '*.h' '*.c')

.PHONY: demo test check style cpp cpp-deps cpp-sanitized cpp-tidy clean

## Installs the runtime without torch and segments a degraded photograph.
demo: $(DEMO)/glesam-run
	$(DEMO)/glesam-run $(PHOTO) --box $(BOX) --out out

$(DEMO)/glesam-run: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/pip install $(PIP_QUIET) .
	touch $@

## Installs everything, then lint, types, the C++ library with its tests, and all other tests.
test: check cpp cpp-sanitized
	GLESAM_LIBRARY=build/release/runtime/libglesam.so $(DEV)/python -m pytest

$(DEV)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(DEV)/pip install $(PIP_QUIET) $(TORCH)
	$(DEV)/pip install $(PIP_QUIET) -e '.[dev]'
	touch $@

## Lint, formatting and types.
check: $(DEV)/.installed
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/clang-format --dry-run --Werror $(CPP_FILES)

## Formats and fixes what can be fixed.
style: $(DEV)/.installed
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .
	$(DEV)/clang-format -i $(CPP_FILES)

## Installs the system packages of the C++ library, where one is missing (Debian and its kin, as root).
cpp-deps:
	dpkg -s $(CPP_PACKAGES) >/dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends $(CPP_PACKAGES); }

## Builds the C++ library and the glesam command, runs the tests, and a project that uses the installed library.
cpp: preset-release

## The same tests under AddressSanitizer and UndefinedBehaviorSanitizer, and under ThreadSanitizer.
cpp-sanitized: preset-asan preset-tsan

preset-%: $(DEV)/.installed
	$(DEV)/cmake --preset $* -DPython3_EXECUTABLE=$(CURDIR)/$(DEV)/python
	$(DEV)/cmake --build --preset $* --parallel $(shell nproc)
	$(DEV)/ctest --preset $*

## clang-tidy over the C++ library: a minute or two, so not part of `make check`.
cpp-tidy: cpp
	$(DEV)/run-clang-tidy.py -quiet -p build/release '/(runtime|examples)/'

clean:
	rm -rf .venv .venv-demo build dist out .mypy_cache .pytest_cache .ruff_cache
