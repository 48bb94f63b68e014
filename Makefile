# `make demo` and `make test` set everything up by themselves; run `make` for the list of targets.

SHELL := /bin/bash
PY := .venv/bin/python
BASE := .venv/.ready-base
READY := .venv/.ready
PLUGIN := deploy/cvat-ui-plugin
NODE_MODULES := $(PLUGIN)/node_modules/.package-lock.json

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types unit test-fast test-slow test-browser test-gpu plugin
.PHONY: downloads slow-tests evaluate soak audit readme-picture format clean

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

LAYERS := lint types test-fast test-slow plugin test-browser

test: $(READY) ## Everything that must pass, layer by layer, with the seconds of each.
	@seconds=; for layer in $(LAYERS); do \
	    printf '\n== %s\n' "$$layer"; SECONDS=0; \
	    $(MAKE) --no-print-directory "$$layer" || exit; \
	    printf -v line '%-14s %5d s' "$$layer" "$$SECONDS"; seconds+=$$line$$'\n'; \
	done; printf '\n== Passed\n%s' "$$seconds"

lint: $(READY) ## Ruff: rules and format.
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY) ## Mypy on c3det, serverless, training and deploy.
	@$(PY) -m mypy
	@$(PY) -m mypy --explicit-package-bases deploy/*.py

unit: $(READY) downloads ## All tests of pytest (ARGS=... goes to pytest).
	@$(PY) -m pytest $(ARGS)

# A process for each core, up to four: each imports torch. The tests of a file share what they set up.
PARALLEL := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-fast: $(READY) downloads ## The fast tests: no browser, no training run.
	@$(PARALLEL) -m "not slow and not browser" $(ARGS)

test-slow: $(READY) downloads ## The slow tests, which need no browser.
	@$(PARALLEL) -m "slow and not browser" $(ARGS)

test-gpu: $(READY) downloads ## The tests of the models and of training on a GPU (DEVICE=... chooses one).
	@$(PY) -m pytest --device "$(or $(DEVICE),cuda)" tests/c3det tests/serverless \
	    tests/training/open $(ARGS)

ifneq ($(and $(shell command -v node),$(shell command -v npm)),)
plugin: $(READY) $(NODE_MODULES) ## The plugin of CVAT's page: lint, types, tests without a browser.
	@cd $(PLUGIN) && npm run --silent lint && npm run --silent typecheck && npm test --silent

test-browser: $(READY) downloads $(NODE_MODULES) ## Both pages, in Chromium.
	@$(PY) -m pytest -m browser $(ARGS)
	@cd $(PLUGIN) && PYTHON="$(CURDIR)/$(PY)" npm run --silent e2e
else
NO_NODE = @echo "The plugin of CVAT's page is NOT tested: node and npm are missing." >&2$(if $(CI),; exit 1)

plugin:
	$(NO_NODE)

test-browser: $(READY) downloads
	@$(PY) -m pytest -m browser $(ARGS)
	$(NO_NODE)
endif

downloads: $(READY)
	@$(PY) -m tests.downloads

slow-tests: $(READY) downloads ## Measures which tests are slow, and writes them to tests/slow.txt.
	@$(PY) -m pytest -m "not browser" --record-slow

$(NODE_MODULES): $(PLUGIN)/package-lock.json
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
