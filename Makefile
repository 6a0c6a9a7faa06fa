# Everything you can do here. Each target sets up what it needs; the second time that costs nothing.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# the first Python 3.11 there is; another one: make PYTHON=/path/to/python3.11
PYTHON ?= $(shell for p in python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
SETUP = $(PYTHON) -m captionstream.local.setup
FAST_TESTS := tests/unit tests/contract tests/flow

.PHONY: help setup setup-dev setup-models demo up down test check lint bench verify parity lock clean python

help: ## this list
	@echo "make <target>:"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 16

python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 is needed and was not found."; \
		echo "→ Debian 12: apt-get install python3.11 python3.11-venv libpython3.11. Ubuntu: the same from the"; \
		echo "  deadsnakes archive. Anywhere: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11."; \
		exit 1; \
	fi

setup: python ## install what a local stack needs (.venv and .captionstream)
	@$(SETUP)

setup-dev: python ## the same and what tests and checks need
	@$(SETUP) --dev

demo: setup ## a whole stack, eighteen pictures, their captions
	@$(BIN)/captionstream demo

up: setup ## start a local stack and stay until Ctrl-C
	@$(BIN)/captionstream up

down: setup ## stop the local stack
	@$(BIN)/captionstream down

check: lint ## style, types, layers and the fast tests
	@echo "· fast tests"; $(BIN)/pytest $(FAST_TESTS) --numprocesses=4 --dist=worksteal --hypothesis-profile=quick

test: lint ## check, and the tests on a real Kafka and a real Triton
	@echo "· fast tests"; $(BIN)/pytest $(FAST_TESTS) tests/models tests/parity -m "not models" --numprocesses=4 --dist=worksteal
	@echo "· tests on real parts"; $(BIN)/pytest tests/stack tests/browser tests/corpora -m "not models"
	@echo "· kill -9 under load"; $(BIN)/pytest tests/faults

lint: setup-dev
	@echo "· style"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "· types"; $(BIN)/mypy
	@echo "· layers"; $(BIN)/lint-imports

bench: setup setup-models ## every goal of speed, as ratios of one run, beside a naive script
	@$(BIN)/captionstream bench $(BENCH)

verify: setup-dev ## the long proof: 500 pictures, evaluation, hostile images, a soak of 30 minutes (resumable)
	@$(BIN)/python -m tests.verify $(VERIFY)

setup-models: python ## what `captionstream models add` needs: torch and transformers (5.8 GB, once)
	@$(SETUP) --models

parity: setup-dev setup-models ## split vision-language models against the whole ones, token for token
	@.captionstream/models-venv/bin/python -m triton_models.vision_language.parity
	@echo "· the same through Kafka, Triton, encoder and generator"; $(BIN)/python -m tests.parity.end_to_end
	@echo "· tests of it"; .captionstream/models-venv/bin/python -m pytest tests/parity --ignore=tests/parity/test_end_to_end.py
	@$(BIN)/pytest tests/parity/test_end_to_end.py tests/models/test_split_models.py tests/stack -m models

lock: setup-dev ## write the lock files in requirements/ anew
	@$(BIN)/python -m captionstream.local.lock $(if $(UPGRADE),--upgrade)

clean: ## remove everything that was installed and every local stack's data
	@if [ -x $(BIN)/captionstream ]; then $(BIN)/captionstream down || true; fi
	@rm -rf .venv .captionstream .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@echo "✓ clean"
