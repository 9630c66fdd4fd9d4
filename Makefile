# The commands of the house. Everything runs in .venv, which `setup` makes; on Windows see README.md.

PYTHON ?= python3
BIN := .venv/bin
SEKISHO := $(BIN)/sekisho

ifeq (bench,$(firstword $(MAKECMDGOALS)))
ONLY := $(wordlist 2,99,$(MAKECMDGOALS))
$(foreach name,$(ONLY),$(eval $(name): bench;@:))
endif

.PHONY: help setup up test lint report bench soak litellm docs

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1  \2/p' Makefile | awk '{printf "make %-8s", $$1; $$1=""; print}'

setup: ## Make or renew the environment; nothing happens when it is up to date.
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). On Debian and Ubuntu: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) tools/setup.py

up: setup ## From nothing to a served gate; later starts serve at once.
	@$(SEKISHO) up

lint: setup ## Style, types and the direction of imports.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: ## Lint, then every test: the fast ones first, two at a time; then those that train, one by one.
	@$(PYTHON) tools/setup.py --tests
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow"
	@$(BIN)/pytest -m slow

report: setup ## The whole report card, as a page and as JSON.
	@$(SEKISHO) report

bench: setup ## The benchmarks behind every figure in the documents; `make bench rubric` runs one.
	@failed=; for file in $(or $(ONLY:%=benchmarks/%.py),benchmarks/*.py); do echo "== $$file"; $(BIN)/python "$$file" || failed="$$failed $$file"; done; [ -z "$$failed" ] || { echo "Not as promised:$$failed" >&2; exit 1; }

MINUTES ?= 20

soak: setup ## Twenty MINUTES of mixed load with engine kills; a hundred requests of every kind to every operation of the OpenAPI document; a thousand new examples of every property; ten thousand histories of the lanes; a real `transformers serve`; 100,000 requests that try to load something; a novel; a thousand kill -9 of sixteen writers of a ledger; fifty of a loaded server; thirty of a training; a base in shards over two processes.
	@$(BIN)/python tools/soak.py $(MINUTES)
	@SOAK_HISTORIES=10000 $(BIN)/pytest --timeout 7200 tests/serve/test_schedule.py tests/serve/test_lanes.py
	@FAR_TRANSFORMERS=1 $(BIN)/pytest tests/serve/test_remote.py
	@$(BIN)/python benchmarks/pinned.py 100000
	@SOAK_OPENAPI=100 $(BIN)/pytest --timeout 3600 tests/web/test_openapi.py
	@HYPOTHESIS_PROFILE=new $(BIN)/pytest --timeout 3600 -n 2 -m "not slow"
	@$(BIN)/python benchmarks/summary.py 320000
	@SOAK_LEDGER_KILLS=1000 $(BIN)/pytest --timeout 7200 tests/ledger/test_processes.py
	@SOAK_SHARDS=1 $(BIN)/pytest --timeout 3600 -m slow tests/train/test_together.py
	@SOAK_KILLS=50 $(BIN)/pytest --timeout 3600 tests/e2e/test_kill.py
	@SOAK_TRAIN_KILLS=30 $(BIN)/pytest --timeout 3600 tests/train/test_fit.py -k random_moments

LITELLM := .venv-litellm

$(LITELLM)/bin/litellm:
	@$(PYTHON) -m venv $(LITELLM)
	@$(LITELLM)/bin/pip install --quiet "litellm[proxy]==1.106.2"

litellm: setup $(LITELLM)/bin/litellm ## LiteLLM, in an environment of its own: its client, and its proxy before two nodes.
	@FAR_LITELLM=$(CURDIR)/$(LITELLM)/bin/python $(BIN)/pytest --timeout 600 tests/clients/test_litellm.py

docs: setup ## Write the generated parts of README and docs again.
	@$(BIN)/python tools/docs.py
