# Every target makes the virtual environment it needs; all are safe to run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Named after what an install depends on: the settings, and (a strict editable install links file by file) the tree.
STAMP := $(VENV)/installed-$(shell (cat setup.cfg pyproject.toml; find kerasxai callbacks training -type f \
	! -name '*.pyc' ! -name '*.tmp-*' | LC_ALL=C sort) | cksum | cut -d' ' -f1)
WORKERS ?= 2
# One file, one worker: fixtures and traced models are shared within it. Files keep their order, because by default
# pytest-xdist puts those of the fewest tests last, which here take the longest, so that one worker ends alone.
DIST := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format bench docs gallery notebooks clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --config-settings editable_mode=strict
	rm -f $(VENV)/installed-*
	touch $@

install: $(STAMP)  ## Make .venv and install kerasxai into it, with all that development needs

demo: $(STAMP)  ## Explain photographs, train three heads, measure where they look, write an HTML report
	$(BIN)/kerasxai demo --out runs/demo

test: $(STAMP)  ## Run all tests
	$(BIN)/python -m pytest -n $(WORKERS) $(DIST)

test-all: $(STAMP)  ## Run all tests, with every network family (some more minutes)
	$(BIN)/python -m pip install --quiet --editable '.[dev,exhaustive]' --config-settings editable_mode=strict
	$(BIN)/python -m pytest -n $(WORKERS) $(DIST) -m "exhaustive or not exhaustive"

lint: $(STAMP)  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the code and mend what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## Build the documentation site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

gallery: $(STAMP)  ## Draw the pictures of docs/ again (some minutes)
	$(BIN)/python docs/gallery.py

notebooks: $(STAMP)  ## Run the notebooks of docs/notebooks/ and keep their outputs
	$(BIN)/python docs/notebooks.py

bench: $(STAMP)  ## Measure speed and memory, and write the tables of benchmarks/README.md (hours)
	$(BIN)/python -m benchmarks --write

clean:  ## Remove the virtual environments and everything that was built (runs/ stays)
	rm -rf $(VENV) .venv-peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
