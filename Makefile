# Everything a person types. `make demo` and `make test` work in a fresh clone with Python 3.11+ and make alone.
PYTHON ?= python3
VENV := .venv
TRAIN := .venv-train
BIN := $(VENV)/bin
# Test processes side by side; each has an Azurite and an MLflow server of its own.
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo up test check format bench docs lock reset clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two environments, as on Azure: the app with its laptop stack, and what a training job brings along.
$(VENV)/.installed: requirements-dev.txt requirements-runtime.txt local/azurite/package-lock.json
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --ignore-requires-python -r requirements-runtime.txt
	$(BIN)/python -m local.azurite install
	@touch $@

$(TRAIN)/.installed: requirements-train.txt
	$(PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/pip install --quiet -r requirements-train.txt
	@touch $@

install: $(VENV)/.installed $(TRAIN)/.installed ## Install both environments

demo: install ## Drop a manifest, watch it train, ask the model, let it sleep, wake it
	$(BIN)/python -m local demo

up: install ## Run the whole stack until Ctrl-C
	$(BIN)/python -m local up

test: install ## Run every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15

check: $(VENV)/.installed ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Print the figures that the README quotes
	$(BIN)/python -m benchmarks

lock: ## Resolve the pins anew from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --annotation-style line pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --annotation-style line -c requirements.txt --group dev pyproject.toml -o requirements-dev.txt

reset: ## Forget the laptop stack's state
	$(BIN)/python -m local reset --yes

clean: ## Remove both environments and all state
	rm -rf $(VENV) $(TRAIN) .local node_modules

docs: $(VENV)/.installed ## Write the manifest's JSON Schema anew
	$(BIN)/python -c "import json; from shared.runs.manifest import Manifest; print(json.dumps(Manifest.model_json_schema(), indent=2))" > docs/manifest.schema.json
