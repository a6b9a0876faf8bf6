# Two commands on a fresh machine: `make demo` and `make test`. Both make their own .venv by pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
OUT ?= sessions
# Processes that share the tests; a test is taken over by whichever has none left.
JOBS ?= auto
PARALLEL := -n $(JOBS) --dist worksteal
# pytest with what it selects, its options, and how it shares the work. With RETRY=1, as CI sets it, tests that failed
# are tried once more, alone, and named: one that needs a calm machine loses no day's work. Any other end stays an error.
pytest = $(BIN)/python -m pytest -m "$(1)" $(2) $(3) $(PYTEST_ARGS) || { status=$$?; \
	if [ -z "$(RETRY)" ] || [ $$status -ne 1 ]; then exit $$status; fi; \
	echo "== once more, alone: what failed above"; \
	$(BIN)/python -m pytest -m "$(1)" $(2) --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }
# Libraries that change what others import or do: only the tests that need them see this folder.
APART := $(VENV)/apart
APART_STAMP := $(APART)/.installed
# What of llama.cpp is left out when it is compiled. CMAKE_ARGS of your own come after it.
LLAMA_CMAKE := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
	-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF
LLAMA_LOG := $(VENV)/llamacpp.log

.PHONY: demo test test-all test-faults test-apart lint docs site bench setup llamacpp clean
.DEFAULT_GOAL := demo

setup: $(DEV_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("joulebench needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "== installing joulebench and its extras (torch is the large one: a minute or more)"
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) -e '.[all]'
	@$(MAKE) --no-print-directory llamacpp
	@touch $@

# pip is silent while it compiles unless it is told to be verbose: of that, each tenth step is shown.
llamacpp: SHELL := bash
llamacpp: | $(BIN)/python
	@set -o pipefail; compiler="$${CXX:-c++}"; \
	if command -v "$${compiler%% *}" >/dev/null; then \
		echo "== building llama.cpp with your C++ compiler: some minutes, once (log: $(LLAMA_LOG))"; \
		CMAKE_ARGS="$(LLAMA_CMAKE) $$CMAKE_ARGS" \
		$(BIN)/python -m pip install -v $(PIP_ARGS) -e '.[llamacpp]' 2>&1 | tee $(LLAMA_LOG) \
			| grep --line-buffered -oE '^ *\[[0-9]*0/[0-9]+\]|^(Collecting|Building wheels|Successfully) .*|^ *(ERROR|error):.*' \
			&& exit 0; \
		echo "== llama.cpp could not be built; its prebuilt binding serves instead"; \
	else \
		echo "== no C++ compiler here: llama.cpp comes by its prebuilt binding"; \
	fi; \
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) -e '.[llamacpp-prebuilt]' \
		|| echo "== no llama.cpp for this machine: its cells will be skipped, the others run"

$(DEV_STAMP): $(STAMP)
	@echo "== installing what the tests and linters need"
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) -e '.[test,lint]'
	@touch $@

demo: $(STAMP)
	$(BIN)/joulebench run quick --output $(OUT)

# One thread for each: two tests with two threads each wait for one another, most of the time spinning.
test: export OMP_NUM_THREADS ?= 1
test: $(DEV_STAMP)
	@$(call pytest,not slow and not apart and not faults,,$(PARALLEL))

# The slow ones one after another: several models at once on two cores would only hinder each other.
test-all: test test-apart
	@$(call pytest,slow and not apart,--timeout 1500,)

# Kills, mutations, hostile models, programs, sessions and sensors by the hundred, of which `make test` tries a few: about
# a quarter of an hour on two cores.
test-faults: $(DEV_STAMP)
	$(BIN)/python -m pytest -s -m faults --durations 0 tests/faults $(PYTEST_ARGS)

test-apart: $(APART_STAMP)
	@export PYTHONPATH=$(CURDIR)/$(APART); $(call pytest,apart,,)

# torchao, which executorch needs: transformers imports it wherever it is installed. The prebuilt llama.cpp stands beside the built one.
$(APART_STAMP): $(DEV_STAMP)
	@echo "== installing what some tests need apart from the others"
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) --no-deps --upgrade --target $(APART) 'torchao>=0.18,<0.19' 'llama-cpp-py-sync>=0.11739' cffi pycparser \
		'executorch>=1.5,<2' ruamel.yaml expecttest parameterized py-cpuinfo kgb
	@touch $@

lint: $(DEV_STAMP)
	$(BIN)/ruff check core plugins profiles reports tests bench docs
	$(BIN)/ruff format --check core plugins profiles reports tests bench docs
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP)
	$(BIN)/python docs/make_reference.py

# The pages as a site, in build/site.
site: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: $(DEV_STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
