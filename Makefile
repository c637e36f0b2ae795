# Two commands for a newcomer: `make demo` and `make test`. Everything else is a part of the second.
PYTHON ?= python3
# A CPU build of torch where the index has one; any torch the extras allow will do.
TORCH ?= torch==2.13.0
PIP_QUIET = --quiet --disable-pip-version-check

DEMO = .venv-demo/bin
DEV = .venv/bin
PHOTO = examples/photos/astronaut_lq3.jpg
BOX = 20 5 470 510

.PHONY: demo test check style cpp clean

## Installs the runtime without torch and segments a degraded photograph.
demo: $(DEMO)/glesam-run
	$(DEMO)/glesam-run $(PHOTO) --box $(BOX) --out out

$(DEMO)/glesam-run: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/pip install $(PIP_QUIET) .
	touch $@

## Installs everything, then lint, types, the C++ library with its tests, and all other tests.
test: check cpp
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

## Formats and fixes what can be fixed.
style: $(DEV)/.installed
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

## Builds the C++ library and runs its tests.
cpp: $(DEV)/.installed
	$(DEV)/cmake --preset release -DPython3_EXECUTABLE=$(CURDIR)/$(DEV)/python
	$(DEV)/cmake --build --preset release
	$(DEV)/ctest --preset release

clean:
	rm -rf .venv .venv-demo build dist out .mypy_cache .pytest_cache .ruff_cache
