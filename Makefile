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
lint: style types ## Check style, types and the order of the rooms

.PHONY: style
style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: setup
	$(BIN)/pyright

# Types are checked beside the tests: on two cores that costs less than it takes.
.PHONY: test
test: style ## Lint, then run the tests; MARKS="not full" takes in the slow ones
	@$(MAKE) --no-print-directory --jobs 2 types tests

MARKS ?= not slow and not full

.PHONY: tests
tests: setup
	$(BIN)/pytest -m "$(MARKS)" -n auto --dist loadfile --no-loadscope-reorder --durations 20

.PHONY: full
full: setup ## Run the full product of settings, and what CI leaves out, which takes hours
	$(BIN)/pytest -m full -n auto --dist worksteal

OLDEST := .venv-oldest

$(OLDEST)/.setup-done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST)
	sed -n 's/.*"torch>=\([0-9.]*\),.*/torch==\1.*/p' pyproject.toml > $(OLDEST)/constraints.txt
	grep -v '^torch==' constraints.txt >> $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --quiet -c $(OLDEST)/constraints.txt -e '.[dev]'
	@touch $@

.PHONY: oldest
oldest: $(OLDEST)/.setup-done ## Run the engine's tests on the oldest torch that pyproject.toml allows, in .venv-oldest
	$(OLDEST)/bin/pytest tests/engine -n auto --dist loadfile

.PHONY: families
families: setup ## Grow a small checkpoint of every family of transformers; takes an hour, and goes on where it ended
	$(BIN)/python -m benchmarks.families

.PHONY: format
format: setup ## Sort imports and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove .venv, .venv-oldest, caches and built files; runs/ is kept
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
