# comeback: `make demo` shows it, `make test` proves it. Both set up what they need by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check simulate bench audit lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## a local stream, a local provider and some thousand users, in your terminal
	@$(BIN)/python -m worker.sandbox.demo $(if $(KEEP),--keep) $(if $(BACKENDS),--backends $(BACKENDS))

test: check ## everything that is checked before a change lands
	@$(BIN)/python tests/run.py

check: $(READY) ## style and types only
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy --no-error-summary

simulate: $(READY) ## the whole worker in virtual time, against faults: SEED= RUNS= DAYS=
	@$(BIN)/python -m tests.simulator --seed $(or $(SEED),0) --runs $(or $(RUNS),1000) --days $(or $(DAYS),90)

bench: $(READY) ## what it costs, as ratios with their goals: USERS= ONLY=
	@$(BIN)/python -m tests.bench.run --users $(or $(USERS),1000000) $(if $(ONLY),--only $(ONLY))

audit: ## ask for known weaknesses of what the lock names (needs a network)
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet pip-audit
	@$(VENV)/audit/bin/pip-audit --require-hashes --disable-pip -r requirements.lock

lock: ## renew the lock files (names, versions and hashes; no addresses)
	@$(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/pip install --quiet uv
	@for part in "" "-dev --group dev"; do set -- $$part; \
	  $(VENV)/uv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate --no-emit-index-url $${2:+$$2 $$3} \
	    --output-file requirements$$1.lock; done

clean: ## remove what the commands above made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("comeback needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with PYTHON=...") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
