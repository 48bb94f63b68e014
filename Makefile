# `make demo` and `make test` set everything up by themselves; run `make` for the list of targets.

SHELL := /bin/bash
PY := .venv/bin/python
BASE := .venv/.ready-base
READY := .venv/.ready
PLUGIN := deploy/cvat-ui-plugin

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types unit plugin evaluate soak audit readme-picture format clean

help: ## This list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## The environment in .venv (PYTHON=... chooses the interpreter of a new one).

$(BASE): pyproject.toml constraints.txt deploy/setup.sh deploy/install_torch.sh
	@bash deploy/setup.sh base
	@touch $@

$(READY): $(BASE)
	@bash deploy/setup.sh
	@touch $@

demo: $(BASE) ## The sample pictures and the local runtime with its page (PORT=... chooses the port).
	-@$(PY) -m training.data.samples
	@$(PY) -m serverless.local $(if $(PORT),--port $(PORT))

ifeq ($(DEVICE),)
test: lint types unit plugin ## Everything that must pass: lint, types, tests (DEVICE=cuda: the models' tests, on a GPU).
else
test: $(READY)
	@$(PY) -m pytest --device "$(DEVICE)" tests/c3det tests/serverless $(ARGS)
endif

lint: $(READY) ## Ruff: rules and format.
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY) ## Mypy on c3det, serverless, training and deploy.
	@$(PY) -m mypy
	@$(PY) -m mypy --explicit-package-bases deploy/*.py

unit: $(READY) ## Pytest (ARGS=... goes to pytest).
	@$(PY) -m pytest $(ARGS)

ifneq ($(and $(shell command -v node),$(shell command -v npm)),)
plugin: $(READY) $(PLUGIN)/node_modules/.package-lock.json ## The plugin of CVAT's page: lint, types, tests in Chromium.
	@cd $(PLUGIN) && npm run --silent lint && npm run --silent typecheck && npm test --silent && PYTHON="$(CURDIR)/$(PY)" npm run --silent e2e
else
plugin:
	@echo "The plugin of CVAT's page is NOT tested: node and npm are missing." >&2$(if $(CI),; exit 1)
endif

$(PLUGIN)/node_modules/.package-lock.json: $(PLUGIN)/package-lock.json
	@cd $(PLUGIN) && npm install --no-save
	@touch $@

evaluate: $(READY) ## The shipped weights on all pictures of both test sets (half an hour).
	@$(PY) -m training.evaluate --weights serverless/weights/starter.safetensors --out runs/evaluation.json

soak: $(READY) ## An hour of requests to the function: are memory and latency flat?
	@$(PY) -m serverless.bench --parts soak --seconds 3600 --out runs/soak.json

# The newest pip-audit, outside .venv: it is no part of what it looks at.
audit: ## The pinned versions against the known vulnerabilities (needs the network).
	@python3 -m venv build/audit
	@build/audit/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip-audit
	@build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

readme-picture: $(READY) ## The picture at the top of the README, by headless Chromium.
	@$(PY) -m tests.serverless.readme_picture

format: $(READY) ## Rewrites the code in ruff's format, with sorted imports.
	@$(PY) -m ruff check --select I --fix .
	@$(PY) -m ruff format .

clean: ## Removes .venv and the tools' caches.
	@rm -rf $(PLUGIN)/node_modules $(PLUGIN)/artefacts .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
