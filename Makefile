# `make` lists what there is. CI runs these targets and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
ROOT := $(CURDIR)
TEST_MODELS := minilm-l6-v2 vision-lite whisper-base qwen2.5-coder-0.5b-instruct smollm2-135m-instruct kokoro-82m moderation-lite
PYTHON_PATHS := serve deployments graphs tests benchmarks
NODE := PATH="$(ROOT)/.venv/node:$$PATH"

.PHONY: help up test check setup setup-dev test-packages webclient openapi bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: setup ## Set everything up, start it, and keep it running until Ctrl-C
	@exec $(BIN)/polymodal up

test: setup-dev test-packages ## Set everything up and run every test, with coverage over all processes
	@$(BIN)/python -m deployments.prepare --models-dir=$${POLYMODAL_MODELS_DIR:-var/models} $(TEST_MODELS)
	@rm -f .coverage .coverage.*
	@COVERAGE_PROCESS_START="$(ROOT)/pyproject.toml" COVERAGE_FILE="$(ROOT)/.coverage" \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=85

check: setup-dev ## Formatting, lint, types and import contracts, of the server and the client
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PYTHON_PATHS)
	$(BIN)/lint-imports
	$(NODE) npm --prefix webclient run --silent lint
	$(NODE) npm --prefix webclient run --silent typecheck
	$(NODE) npm --prefix webclient run --silent test

setup: ## What running needs: the environment and the built browser client
	@.ci/bootstrap runtime

setup-dev: ## What testing needs as well
	@.ci/bootstrap dev

test-packages: ## The system packages that only tests need
	@.ci/test-packages

webclient: setup ## Build the browser client if it changed

openapi: setup-dev ## Write the OpenAPI file and the client's types from it
	@$(BIN)/polymodal openapi > webclient/openapi.json
	@$(NODE) npm --prefix webclient run --silent api

bench: setup-dev ## Run one benchmark: make bench NAME=…
	@$(BIN)/python -m benchmarks.scenarios.$(or $(NAME),$(error say which: make bench NAME=…)) $(ARGS)

clean: ## Remove what can be made again; data in var/ stays
	rm -rf .venv webclient/node_modules webclient/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -f .coverage .coverage.*
	find $(PYTHON_PATHS) -name __pycache__ -prune -exec rm -rf {} +
