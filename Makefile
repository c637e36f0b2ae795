# Two commands for a newcomer: `make demo` and `make test`. Everything else is a part of the second.
PYTHON ?= python3
# A CPU build of torch where the index has one; any torch the extras allow will do.
TORCH ?= torch==2.13.0
# What a test compares our RobustSAM with. It declares torchvision, which that test does without.
ROBUST_SAM = robust_segment_anything==1.0.0
PIP_QUIET = --quiet --disable-pip-version-check

DEMO = .venv-demo/bin
DEV = .venv/bin
DOCS = .venv-docs/bin
FLOORS = .venv-floors/bin
PHOTO = examples/photos/astronaut_lq3.jpg
BOX = 20 5 470 510

# What the C++ library needs of the system, Clang for `make fuzz` alone; headers of JSON and OpenVINO come with pip.
CPP_PACKAGES = g++ clang libclang-rt-dev libssl-dev libpng-dev libjpeg-dev liblcms2-dev
# What tests/view drives glesam-view's page with.
BROWSER_PACKAGES = chromium
# A third of it for each fuzz target.
FUZZ_SECONDS ?= 60
FUZZ = tests/cpp/fuzz
CPP_FILES = $(shell git ls-files '*.cpp' '*.hpp' '*.h' '*.c')

.PHONY: demo test check style docs floors audit browser-deps cpp cpp-deps cpp-sanitized cpp-tidy fuzz wheels docker-lint \
	jetson-package clean

## Installs the runtime without torch and segments a degraded photograph.
demo: $(DEMO)/glesam-run
	$(DEMO)/glesam-run $(PHOTO) --box $(BOX) --out out

$(DEMO)/glesam-run: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/pip install $(PIP_QUIET) .
	touch $@

## Installs everything, then lint, types, the site, the C++ library with its tests and fuzzers, and all other tests,
## a file of them on each core.
test: check docs cpp cpp-sanitized fuzz
	GLESAM_LIBRARY=build/release/runtime/libglesam.so OMP_NUM_THREADS=1 $(DEV)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# pip's own settings say where torch comes from; uv installs the rest, 150 packages, several times faster than pip.
$(DEV)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(DEV)/pip install $(PIP_QUIET) $(TORCH) uv
	$(DEV)/uv pip install --quiet --python $(DEV)/python -e '.[dev]'
	$(DEV)/uv pip install --quiet --python $(DEV)/python --no-deps $(ROBUST_SAM)
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

## Builds the site of docs/ into build/site; a warning is an error.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	$(DOCS)/pip install $(PIP_QUIET) uv
	$(DOCS)/uv pip install --quiet --python $(DOCS)/python -e '.[docs]'
	touch $@

## Installs the oldest versions that pyproject.toml allows, without torch, and runs the commands with them;
## and resolves the base install for Arm from wheels alone, for every Python that is supported.
floors:
	$(PYTHON) -m venv .venv-floors
	$(FLOORS)/pip install $(PIP_QUIET) uv
	$(FLOORS)/uv pip compile --quiet --resolution lowest-direct --only-binary :all: --python $(FLOORS)/python \
		--extra calib --extra openvino pyproject.toml -o .venv-floors/floors.txt
	$(FLOORS)/uv pip install --quiet --python $(FLOORS)/python -r .venv-floors/floors.txt
	$(FLOORS)/pip install $(PIP_QUIET) --no-deps .
	for name in run verify info bench degrade calibrate quantize triton build view; do $(FLOORS)/glesam-$$name --help >/dev/null || exit; done
	for backend in onnxruntime openvino; do \
		$(FLOORS)/glesam-verify --backend $$backend && \
		$(FLOORS)/glesam-run $(PHOTO) --box $(BOX) --backend $$backend --out .venv-floors/out || exit; \
	done
	$(FLOORS)/glesam-degrade $(PHOTO) --out .venv-floors/out
	for version in 3.10 3.11 3.12 3.13; do $(FLOORS)/uv pip compile --quiet --no-header --python-version $$version \
		--python-platform aarch64-manylinux_2_28 --only-binary :all: pyproject.toml -o .venv-floors/arm-$$version.txt || exit; done

## Asks for advisories about those versions. tests/project keeps a list for indexes that serve none.
audit: floors
	$(FLOORS)/pip install $(PIP_QUIET) pip-audit
	$(FLOORS)/pip-audit --strict --disable-pip --no-deps -r .venv-floors/floors.txt

## Installs the system packages of the C++ library, where one is missing (Debian and its kin, as root).
cpp-deps:
	dpkg -s $(CPP_PACKAGES) >/dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends $(CPP_PACKAGES); }

## Installs the browser for the tests of glesam-view's page, where there is none (Debian and its kin, as root).
browser-deps:
	command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends $(BROWSER_PACKAGES); }

## Builds the C++ library and the glesam-cpp command, runs the tests, and a project that uses the installed library.
cpp: preset-release

# ONNX Runtime is the pip package's library with these headers, unless ONNXRUNTIME_ROOT names a folder.
ifndef ONNXRUNTIME_ROOT
preset-release: export ONNXRUNTIME_ROOT := $(CURDIR)/build/onnxruntime
preset-release: build/onnxruntime/include
endif

build/onnxruntime/include:
	tests/cpp/onnxruntime_headers.sh build/onnxruntime || \
		echo "the C++ library is built without ONNX Runtime; unpack a release of it and give ONNXRUNTIME_ROOT=FOLDER"

## The same tests under AddressSanitizer and UndefinedBehaviorSanitizer, and under ThreadSanitizer.
cpp-sanitized: preset-asan preset-tsan

preset-%: $(DEV)/.installed
	$(DEV)/cmake --preset $* -DPython3_EXECUTABLE=$(CURDIR)/$(DEV)/python
	$(DEV)/cmake --build --preset $* --parallel $(shell nproc)
	$(DEV)/ctest --preset $*

## libFuzzer for FUZZ_SECONDS on the bundle reader, its walk over graphs, and preprocessing; what it finds lies in build/fuzz.
fuzz: fuzz-bundle fuzz-graph fuzz-image
fuzz-bundle: FUZZ_FLAGS = -dict=$(FUZZ)/json.dict
fuzz-graph: FUZZ_FLAGS = -dict=$(FUZZ)/onnx.dict

# In memory: every bundle that is tried is written, and a disk makes that 10 times slower.
fuzz-%: fuzz-build
	mkdir -p build/fuzz/corpus/$*
	TMPDIR=/dev/shm build/fuzz/$(FUZZ)/fuzz_$* -max_total_time=$$(($(FUZZ_SECONDS) / 3)) -print_final_stats=1 -verbosity=0 \
		-artifact_prefix=build/fuzz/$*- $(FUZZ_FLAGS) build/fuzz/corpus/$* $(FUZZ)/seeds/$*

.PHONY: fuzz-build
fuzz-build: $(DEV)/.installed
	@command -v clang++ >/dev/null || { echo "make fuzz needs clang++, found none: apt-get install clang libclang-rt-dev"; exit 1; }
	$(DEV)/cmake --preset fuzz -DPython3_EXECUTABLE=$(CURDIR)/$(DEV)/python
	$(DEV)/cmake --build --preset fuzz --parallel $(shell nproc)

## clang-tidy over the C++ library: a minute or two, so not part of `make check`.
cpp-tidy: cpp
	$(DEV)/run-clang-tidy.py -quiet -clang-tidy-binary $(CURDIR)/$(DEV)/clang-tidy -p build/release '/(runtime|examples)/'

## The two wheels of a release in dist: the runtime with the tools, and nano's checkpoint.
wheels: $(DEV)/.installed
	$(DEV)/python -m build --outdir dist .
	$(DEV)/python -m build --wheel --outdir dist glesam/models

## Lints the Dockerfiles; hadolint comes with pip.
docker-lint: $(DEV)/.installed
	$(DEV)/hadolint docker/cpu/Dockerfile docker/jetson/Dockerfile

## A package for jetson-containers, with the wheel that it installs.
jetson-package: $(DEV)/.installed
	rm -rf build/jetson && mkdir -p build/jetson
	cp -r docker/jetson build/jetson/glesam
	$(DEV)/python -m build --wheel --outdir build/jetson/glesam .

clean:
	rm -rf .venv .venv-demo .venv-docs .venv-floors build dist out .mypy_cache .pytest_cache .ruff_cache
