# Every target works on a fresh clone: what it needs is set up first, and only when it has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make .venv with the pinned versions of everything

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: quickstart
quickstart: setup ## Train a small model, grow it, train on, and write the report
	$(BIN)/growc run specs/quickstart.growth.yaml --run-dir runs/quickstart --nproc 2

.PHONY: lint
lint: setup ## Check style, types and the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

.PHONY: test
test: lint ## Lint, then run the tests that are not slow
	$(BIN)/pytest -m "not slow" -n auto --dist loadfile

.PHONY: test-slow
test-slow: setup ## Run the slow tests: several processes, whole runs
	$(BIN)/pytest -m slow -n auto --dist loadfile

.PHONY: format
format: setup ## Sort imports and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove .venv, caches and built files; runs/ is kept
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
