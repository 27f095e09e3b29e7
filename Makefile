# Everything is made below this folder (.tools, .venv); only package caches live elsewhere.
# On a bare machine python3 (3.11 or newer, with venv), make and a network are enough.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
OUT ?= .bench
SBOM ?= sbom.json
REQUIRED ?=
EXAMPLES ?= 1

UV := $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)
BIN := .venv/bin
READY := .venv/ready
PACKAGES := contracts service deploy/local_stack
SOURCES := contracts/src service/src deploy/local_stack/src tests .ci
MIGRATIONS = $(wildcard service/src/credit_service/postgres/migrations/*.sql)

GO := $(shell command -v go 2>/dev/null)

# What a caller's shell happens to carry must not leak into the environment made here.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV UV_PROJECT_ENVIRONMENT PIP_TARGET PIP_USER
export UV_PYTHON_DOWNLOADS := never
export PYTHONNOUSERSITE := 1

# Versions that are in the file already stay, so long as they do.
compile = $(UV) pip compile --universal --generate-hashes --no-annotate --no-header --group dev pyproject.toml \
  --no-emit-package credit-contracts --no-emit-package credit-service --no-emit-package credit-local-stack \
  --quiet -o $(1)

##@ Use it

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Make .venv with everything in it; does nothing when it is up to date

.PHONY: demo
demo: $(READY) ## Play a day of four customers through real Kafka and Postgres, and check the outcome
	$(BIN)/credits-stack run -- $(BIN)/python -m credit_service.cli.demo

.PHONY: stack
stack: $(READY) ## Run Postgres and Kafka in the foreground, their addresses in .env; Ctrl-C ends both
	$(BIN)/credits-stack up --env-file .env

##@ Check it

.PHONY: test
test: $(READY) ## Run the tests, on a local stack of their own
	$(BIN)/python -m pytest -n 4 --dist loadgroup

.PHONY: test-slow
test-slow: $(READY) ## Run the tests that kill servers, have servers of their own, or wait for long
	$(BIN)/python -m pytest -n 4 --dist loadgroup -m slow

.PHONY: test-all
test-all: test test-slow properties footprint image local-stack backlog ## Run all tests, but for the hours of `make chaos`

.PHONY: properties
properties: $(READY) ## Run the property tests with all their examples; EXAMPLES=20: with twenty times as many
	CREDITS_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n 2 --timeout=3600 tests/property \
	  tests/contract/test_compatibility.py tests/integration/ledger/test_model_on_the_stack.py

.PHONY: footprint
footprint: $(READY) ## Run the tests that measure memory and bytes
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/integration -m footprint

.PHONY: image
image: $(READY) ## Run the steps of the image on this machine, and what they make
	$(BIN)/python -m pytest tests/e2e -m image

.PHONY: local-stack
local-stack: $(READY) ## Run the tests that start, end and kill the local stack itself
	$(BIN)/python -m pytest tests/integration/local_stack/test_local_stack.py -m stack

.PHONY: chaos
chaos: $(READY) ## Run the tests that kill things, for longer than `make test-slow` does; CHAOS_EVENTS=20000: with more junk
	$(BIN)/python -m pytest tests/chaos -m chaos

.PHONY: backlog
backlog: $(READY) ## Hold fourteen months of 5,000 accounts, met in one go, against the model; BACKLOG_EVENTS=20000: of fewer
	$(BIN)/python -m pytest tests/chaos -m backlog

.PHONY: bench
bench: $(READY) ## Measure the speeds; OUT=folder gets results.json and the plots
	PYTHONPATH=tests $(BIN)/credits-stack run -- $(BIN)/python -m benchmarks.run --out "$(OUT)"

.PHONY: lint
lint: $(READY) ## Check style, types, the direction of dependencies, which are used, the contracts and the migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(foreach folder,$(PACKAGES),(cd $(folder) && "$(abspath $(BIN))"/deptry src) &&) $(BIN)/deptry tests .ci
	$(BIN)/python -m credit_contracts.schemas check
	$(if $(MIGRATIONS),$(BIN)/squawk $(MIGRATIONS))

.PHONY: deploy-check
deploy-check: $(READY) ## Lint and render the chart, test the alerts, read the compose file; without go skipped, REQUIRED=1: fails
	@deploy/tools/build "$(abspath .tools/go)" "$(GO)" || { \
	    [ $$? = 3 ] || exit 1; [ -n "$(REQUIRED)" ] || exit 0; \
	    echo 'deploy-check is required here: chart, alerts and compose file were not read' >&2; exit 1; }; \
	  CREDITS_DEPLOY_TOOLS=required $(BIN)/python -m pytest tests/unit/deploy -q

##@ What it is made of

.PHONY: locked
locked: $(UV) ## Check that requirements.lock is what `make lock` would write
	@mkdir -p .tools && cp requirements.lock .tools/requirements.lock
	@$(call compile,.tools/requirements.lock)
	@diff -u requirements.lock .tools/requirements.lock || { echo 'run make lock'; exit 1; }

.PHONY: sbom
sbom: $(READY) ## Write what the service installs at run time to SBOM=sbom.json, as CycloneDX
	$(BIN)/python .ci/sbom.py "$(SBOM)"

.PHONY: licences
licences: $(READY) ## List the licences of that, and fail on one without a reason in .ci/allowed.toml
	$(BIN)/python .ci/licences.py

.PHONY: audit
audit: $(READY) ## Look for known vulnerabilities in all that is locked, where the feed is reached
	$(BIN)/python .ci/audit.py

.PHONY: release-check
release-check: $(READY) ## Build wheels and source distributions into dist, and check that an index can show them
	rm -rf dist
	$(foreach folder,$(PACKAGES),$(UV) build --quiet --offline --no-sources --no-build-isolation --python $(BIN)/python \
	  --out-dir dist $(folder) &&) $(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

##@ Work on it

.PHONY: format
format: $(READY) ## Put the sources into the one form that lint accepts
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: $(UV) ## Bring requirements.lock up to what the pyprojects ask for
	$(call compile,requirements.lock)

.PHONY: clean
clean: ## Remove all that was made here
	rm -rf .venv .tools .bench dist sbom.json .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(PACKAGES) tests -name __pycache__ -prune -exec rm -rf {} +

# The stamp: made last, so that an interrupted setup is begun again.
$(READY): requirements.lock VERSION pyproject.toml $(PACKAGES:%=%/pyproject.toml) | $(UV)
	rm -f $@
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --offline --reinstall --no-deps --no-build-isolation $(PACKAGES:%=--editable %)
	touch $@

# uv with the version and the hashes that the lock has for it.
.tools/uv/bin/uv:
	rm -rf .tools/uv
	mkdir -p .tools
	awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > .tools/uv.lock
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .tools/uv.lock \
	  || { rm -rf .tools/uv; exit 1; }
