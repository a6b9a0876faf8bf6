# Two commands on a fresh machine: `make demo` and `make test`. Both make their own .venv by pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
OUT ?= sessions

.PHONY: demo test test-all lint docs bench setup clean
.DEFAULT_GOAL := demo

setup: $(DEV_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("joulebench needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "== installing joulebench and its extras (torch is the large one: a minute or more)"
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) -e '.[all]'
	@touch $@

$(DEV_STAMP): $(STAMP)
	@echo "== installing what the tests and linters need"
	$(BIN)/python -m pip install --progress-bar on $(PIP_ARGS) -e '.[test,lint]'
	@touch $@

demo: $(STAMP)
	$(BIN)/joulebench run quick --out $(OUT)

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(DEV_STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff check core plugins profiles reports tests bench docs
	$(BIN)/ruff format --check core plugins profiles reports tests bench docs
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP)
	$(BIN)/python docs/make_reference.py

bench: $(DEV_STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
