# Every target sets up what it needs, then runs. Override PYTHON to choose an interpreter (3.10 or newer), VENV for another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find engine python kernels export train bench cmake -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.py' -o -name '*.cmake') \
  CMakeLists.txt pyproject.toml
CPP := $(shell find engine python tests -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.c')
PY := python export kernels train tests bench docs/site deploy

# Each process runs whole files, in the order in which they stand; every process needs about a gigabyte.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# `make gpu`: seconds for the tests and for the measurements, after set-up, together 8 minutes; WHEELS is a folder of bench/gpu/carry.py
GPU_TESTS_SECONDS ?= 200
GPU_BENCH ?= --seconds 280
GPU_ROWS ?= build/gpu.jsonl

# an environment with the oldest direct dependencies that pyproject.toml allows; pytest and what else tests need are new
LOWEST := build/lowest
LOWEST_TESTS := tests/batch/test_rows.py tests/batch/test_output.py tests/batch/test_bad_rows.py \
  tests/python/test_pages.py tests/python/test_pdf_pages.py tests/python/test_reranker.py \
  tests/serve/test_server.py tests/serve/test_operations.py tests/serve/test_bad_input.py tests/attack

.PHONY: demo test test-all gpu test-lowest test-arm test-macos wheel audit lint format docs clean

demo: $(VENV)/.installed ## rank the pages of the sample PDF with the model in the box
	$(BIN)/ziprerank rank "dividend shareholders board directors" python/examples/sample.pdf --top-k 5

test: $(VENV)/.dev ## the test suite, C++ included, without what is marked slow
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev ## every test, as CI runs them
	$(PYTEST)

gpu: $(VENV)/.gpu ## on a CUDA machine: the GPU tests and measurements, with a table of aims at the end
	mkdir -p $(dir $(GPU_ROWS))
	tested=0; timeout $(GPU_TESTS_SECONDS) $(BIN)/python -m pytest -m gpu tests/gpu || tested=$$?; \
	  $(BIN)/python -m bench.gpu $(GPU_ROWS) $(GPU_BENCH) && \
	  echo "pytest -m gpu: $$tested (0 is success, 5 no test that could run, 124 out of time)" && exit $$tested

test-lowest: ## ranking, batches and the service with the oldest packages that pyproject.toml allows
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --python $(LOWEST)/bin/python \
	  --extra cpu --extra serve --extra batch --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --constraint $(LOWEST)/lowest.txt \
	  ".[cpu,serve,batch]" pytest filelock reportlab httpx pandas
	$(LOWEST)/bin/python deploy/audit.py $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider -m "not slow" $(LOWEST_TESTS)

test-arm: $(VENV)/.installed ## for Linux on aarch64: cross-build, C++ tests and a ranking under QEMU; needs Debian's packages
	$(BIN)/python tests/arm/emulate.py

test-macos: $(VENV)/.dev ## for macOS on arm64: compiles and links, and looks at the result; needs Debian's clang, lld and llvm
	$(BIN)/python tests/macos/cross.py

wheel: ## the source distribution and this Python's wheel into dist/: repaired, checked, and tried in a fresh environment
	$(PYTHON) deploy/wheel.py

audit: $(VENV)/.dev ## known vulnerabilities in the images' packages and in this environment; needs no network
	$(BIN)/python deploy/audit.py deploy/docker/*.lock
	$(BIN)/python deploy/audit.py

lint: $(VENV)/.dev ## ruff, mypy and clang-format; changes nothing
	$(BIN)/ruff check $(PY)
	$(BIN)/ruff format --check $(PY)
	rm -rf build/types && mkdir -p build/types/ziprerank build/types/bench
	ln -s $(CURDIR)/python/ziprerank/* $(CURDIR)/export $(CURDIR)/kernels $(CURDIR)/train $(CURDIR)/bench/comparison build/types/ziprerank/
	ln -s $(CURDIR)/bench/*.py $(CURDIR)/bench/gpu $(CURDIR)/bench/quality build/types/bench/
	MYPYPATH=build/types $(BIN)/mypy -p ziprerank -p bench
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/.dev ## let ruff and clang-format rewrite the sources
	$(BIN)/ruff check --fix $(PY)
	$(BIN)/ruff format $(PY)
	$(BIN)/clang-format -i $(CPP)

docs: $(VENV)/.dev ## the documentation as a site, in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what the targets made
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# without PyTorch: all that ranking needs
$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check ".[cpu]"
	touch $@

# from a folder of wheels where WHEELS names one, else from the package index
$(VENV)/.gpu: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(WHEELS),--no-index --find-links $(WHEELS) "ziprerank[gpu-test]",".[gpu-test]")
	touch $@

# everything that the tests compare with; Python sources are used in place
$(VENV)/.dev: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ $(VENV)/.installed
