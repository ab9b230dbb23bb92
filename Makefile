# Two commands on a fresh machine: `make demo` and `make test`. Needed: Python 3.11+, make.
PYTHON ?=
# Processes that the tests are divided among, a file to each.
WORKERS ?= 2
RUN = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help environment demo serve page test test-all lint clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

environment: ## make .venv, or bring it up to date
	@PYTHON="$(PYTHON)" sh scripts/environment.sh

demo: environment ## train on photos of solar cells, shrink, prove (2 cores: 4 to 7 minutes after installation)
	@echo "demo: trains, shrinks and compares; 4 to 7 minutes on 2 cores"
	@$(RUN) examples/solar_cells.py

demo/run/best: | environment
	@echo "making the demo first: 4 to 7 minutes on 2 cores"
	@$(RUN) examples/solar_cells.py

serve: environment demo/run/best ## serve the demo's model over HTTP (makes the demo first, where there is none)
	@echo "starting the service…"
	@$(RUN) -m pocketlens serve demo/run/best --home demo/home

page: environment ## the web page over what `make serve` serves; start it in another terminal
	@echo "starting the page…"
	@$(RUN) -m pocketlens ui

test: environment ## all tests but the slow ones
	@$(RUN) -m pytest -m "not slow" -n $(WORKERS) --dist loadfile

test-all: environment ## every test
	@$(RUN) -m pytest

lint: environment ## format and mend what can be mended, then check types and import directions
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .
	@$(RUN) -m mypy src $(wildcard benchmarks)
	@$(RUN) -c 'from importlinter.cli import lint_imports_command as run; run()'

clean: ## remove the environment, caches and what the demo made
	rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist demo runs
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
