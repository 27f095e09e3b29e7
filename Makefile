# Everything is installed below this folder (.tools, .venv); only package caches are elsewhere.
# It needs python3 (3.11 or newer, with venv), make and a network.

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

# Variables of the caller's shell must not affect the environment made here.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV UV_PROJECT_ENVIRONMENT PIP_TARGET PIP_USER
export UV_PYTHON_DOWNLOADS := never
export PYTHONNOUSERSITE := 1

# Versions that the file has already are kept while they satisfy the pyprojects.
compile = $(UV) pip compile --universal --generate-hashes --no-annotate --no-header --group dev pyproject.toml \
  --no-emit-package credit-contracts --no-emit-package credit-service --no-emit-package credit-local-stack \
  --quiet -o $(1)

##@ Use it

.PHONY: help
help: ## Show the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Install everything into .venv; does nothing when it is up to date

.PHONY: demo
demo: $(READY) ## Play a day of four customers on a real Kafka and a real Postgres, and check the outcome
	$(BIN)/credits-stack run -- $(BIN)/python -m credit_service.cli.demo

.PHONY: stack
stack: $(READY) ## Run Postgres and Kafka in the foreground, and write their addresses to .env; Ctrl-C ends both
	$(BIN)/credits-stack up --env-file .env

##@ Check it

.PHONY: test
test: $(READY) ## Run the tests on their own local stack
	$(BIN)/python -m pytest -n 4 --dist loadgroup

.PHONY: test-slow
test-slow: $(READY) ## Run the tests that kill servers, have servers of their own, or wait for long
	$(BIN)/python -m pytest -n 4 --dist loadgroup -m slow

.PHONY: test-all
test-all: test test-slow properties footprint image local-stack backlog ## Run all tests, but for the hours of `make chaos`

.PHONY: properties
properties: $(READY) ## Run the property tests with all examples; EXAMPLES=20: twenty times as many
	CREDITS_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n 2 --timeout=3600 tests/property \
	  tests/contract/test_compatibility.py tests/integration/ledger/test_model_on_the_stack.py

.PHONY: footprint
footprint: $(READY) ## Run the tests that measure memory and bytes
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/integration -m footprint

.PHONY: image
image: $(READY) ## Run the steps of the image on this machine, and test the result
	$(BIN)/python -m pytest tests/e2e -m image

.PHONY: local-stack
local-stack: $(READY) ## Run the tests that start, stop and kill the local stack itself
	$(BIN)/python -m pytest tests/integration/local_stack/test_local_stack.py -m stack

.PHONY: chaos
chaos: $(READY) ## Run the tests that kill processes and servers, longer than `make test-slow` does; CHAOS_EVENTS=20000: more junk
	$(BIN)/python -m pytest tests/chaos -m chaos

.PHONY: backlog
backlog: $(READY) ## Compare a backlog of fourteen months of 5,000 accounts with the model; BACKLOG_EVENTS=20000: fewer events
	$(BIN)/python -m pytest tests/chaos -m backlog

.PHONY: bench
bench: $(READY) ## Measure the speeds; results.json and the plots go to OUT=folder
	PYTHONPATH=tests $(BIN)/credits-stack run -- $(BIN)/python -m benchmarks.run --out "$(OUT)"

.PHONY: lint
lint: $(READY) ## Check style, types, the direction of imports, unused dependencies, the contracts and the migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(foreach folder,$(PACKAGES),(cd $(folder) && "$(abspath $(BIN))"/deptry src) &&) $(BIN)/deptry tests .ci
	$(BIN)/python -m credit_contracts.schemas check
	$(if $(MIGRATIONS),$(BIN)/squawk $(MIGRATIONS))

.PHONY: deploy-check
deploy-check: $(READY) ## Lint and render the chart, test the alerts, check the compose file; needs go, else skips (REQUIRED=1: fails)
	@deploy/tools/build "$(abspath .tools/go)" "$(GO)" || { \
	    [ $$? = 3 ] || exit 1; [ -n "$(REQUIRED)" ] || exit 0; \
	    echo 'deploy-check is required here: chart, alerts and compose file were not checked' >&2; exit 1; }; \
	  CREDITS_DEPLOY_TOOLS=required $(BIN)/python -m pytest tests/unit/deploy -q

##@ Dependencies and releases

.PHONY: locked
locked: $(UV) ## Check that requirements.lock is what `make lock` would write
	@mkdir -p .tools && cp requirements.lock .tools/requirements.lock
	@$(call compile,.tools/requirements.lock)
	@diff -u requirements.lock .tools/requirements.lock || { echo 'run make lock'; exit 1; }

.PHONY: sbom
sbom: $(READY) ## Write the packages that the service installs to SBOM=sbom.json, as CycloneDX
	$(BIN)/python .ci/sbom.py "$(SBOM)"

.PHONY: licences
licences: $(READY) ## List the licences of these packages, and fail on one that .ci/allowed.toml does not allow
	$(BIN)/python .ci/licences.py

.PHONY: audit
audit: $(READY) ## Search the locked packages for known vulnerabilities, if the feed can be reached
	$(BIN)/python .ci/audit.py

.PHONY: release-check
release-check: $(READY) ## Build wheels and source distributions into dist, and check that an index can show them
	rm -rf dist
	$(foreach folder,$(PACKAGES),$(UV) build --quiet --offline --no-sources --no-build-isolation --python $(BIN)/python \
	  --out-dir dist $(folder) &&) $(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

##@ Work on it

.PHONY: format
format: $(READY) ## Format the sources as lint requires
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: $(UV) ## Update requirements.lock to the pyprojects
	$(call compile,requirements.lock)

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf .venv .tools .bench dist sbom.json .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(PACKAGES) tests -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted setup starts again.
$(READY): requirements.lock VERSION pyproject.toml $(PACKAGES:%=%/pyproject.toml) | $(UV)
	rm -f $@
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --offline --reinstall --no-deps --no-build-isolation $(PACKAGES:%=--editable %)
	touch $@

# uv in the version, and with the hashes, of the lock.
.tools/uv/bin/uv:
	rm -rf .tools/uv
	mkdir -p .tools
	awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > .tools/uv.lock
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .tools/uv.lock \
	  || { rm -rf .tools/uv; exit 1; }
