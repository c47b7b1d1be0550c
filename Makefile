# Handfast's tasks. `make` or `make help` lists them; every task builds .venv first where that is needed.

VENV := .venv
BIN := $(VENV)/bin
SOURCES := shared order_service stock_service payment_service coordinator cli infra tests
LOCKS := requirements.lock requirements-dev.lock
YAML := docker-compose.yml infra
SECRETS := postgres-password database-password debezium-password
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-postgres test-kafka test-cdc test-deployment check bench year reconcile chaos proof soak docs lock secrets clean

help: ## list the tasks
	@echo "Handfast: make <task> [ARGS=\"...\"]"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort \
		| while IFS="$$(printf '\t')" read -r task says; do printf '  %-13s %s\n' "$$task" "$$says"; done

setup: $(VENV)/.package ## build .venv from the lock file (again only when the lock or pyproject.toml changed)

demo: setup ## watch orders go through: confirmed, refused, expired, dead-lettered and replayed
	$(BIN)/handfast demo $(ARGS)

up: setup ## start the four services and the embedded broker; Ctrl-C stops them
	$(BIN)/handfast up $(ARGS)

# Most of the tests' time is waiting, for processes that start, are killed and come back, so that three at once
# keep two cores busy. A file stays in one process, whose tests share its stacks; those that take longest go first.
test: setup ## run the tests, three processes at once (ARGS="tests/unit -k fence" runs some, in one)
	$(BIN)/python -m pytest $(or $(ARGS),-n 3 --dist loadfile --no-loadscope-reorder)

# Everything that runs over a store, on PostgreSQL: the contract of the participants, what is hostile to programs,
# kills, crash points and chaos. What the command line alone does is the same there (ARGS=tests/e2e runs it, too).
STACKS_ON_POSTGRES := kills chaos crash_matrix tickets reconcile drops replays postgres \
	postgres_instances postgres_rolling
test-postgres: setup ## run the contract, the services and what kills them on a PostgreSQL of their own (minutes)
	$(BIN)/python -m pytest --postgres -k postgres $(or $(ARGS),-n 3 --dist loadfile \
		$(STACKS_ON_POSTGRES:%=tests/e2e/test_%.py) tests/contract tests/integration)

# Apache Kafka comes from Maven Central (mvn and Java 17 or newer), and runs wherever the embedded broker would.
test-kafka: setup ## run what uses a broker on Apache Kafka and PostgreSQL, both of their own (minutes)
	$(BIN)/python -m pytest --kafka --postgres -k "postgres or kafka or records" $(or $(ARGS),-n 3 --dist loadfile tests/integration/messaging tests/integration/hostile/test_records.py tests/e2e/test_kafka.py tests/e2e/test_kills.py tests/e2e/test_chaos.py)

# Kafka Connect and Debezium come from Maven Central as Kafka does.
test-cdc: setup ## have Debezium publish what the programs have to say, as docker-compose.yml does (minutes)
	$(BIN)/python -m pytest --postgres $(or $(ARGS),tests/cdc)

# Go brings what docker compose reads its files with, and pip the schemas of Kubernetes; kubectl has to be there.
test-deployment: setup ## hold what is deployed against its schemas, and run what docker-compose.yml describes
	$(BIN)/python -m pytest --postgres $(or $(ARGS),tests/deployment)

check: setup ## format, lint, types, architecture, YAML and lock files; changes nothing
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict $(YAML)
	@echo "lock files: nothing but pinned packages and their hashes"
	@! grep -nE '://|^ *-(-index|-extra|-find|-trusted|i|f)' $(LOCKS)

bench: setup ## measure orders per second, latency and CPU, beside a bare baseline in the same run
	$(BIN)/handfast bench $(ARGS)

year: setup ## put a shop's whole year (about 71,000 orders) through a fresh stack and check every one
	$(BIN)/python -m tests.e2e.jaffle $(ARGS)

reconcile: setup ## plant 500 faults among 100,000 transactions, and have `handfast reconcile` find and repair them
	$(BIN)/python -m tests.e2e.reconcile $(ARGS)

chaos: setup ## kill, stop and cut off a stack under load for five minutes, heal it and check every order
	$(BIN)/python -m tests.chaos.run $(ARGS)

proof: setup ## model, simulator, safeguards switched off, crash matrix: all of docs/proof.md but the chaos
	$(BIN)/python -m tests.proof $(ARGS)

soak: setup ## simulate for hours (ARGS="--hours 8" or "--orders 1000000"); goes on where it stopped
	$(BIN)/python -m tests.simulation.soak $(ARGS)

docs: setup ## write docs/settings.md and the model's tables anew, both from the code
	$(BIN)/python -m tests.unit.repo.settings_page
	$(BIN)/python -m tests.unit.repo.roles_page
	$(BIN)/python -m tests.model.tables

lock: setup ## resolve the lock files anew from pyproject.toml (needs uv: see the message)
	@uv=$$(command -v $(BIN)/uv || command -v uv) || { \
		echo "make lock needs uv on the PATH or in $(BIN): $(BIN)/pip install uv"; exit 1; }; \
	resolve() { "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links "$$@" pyproject.toml; }; \
	resolve -o requirements.lock && resolve --extra dev -o requirements-dev.lock

# Whoever runs in a container has to read them, so that only the directory is closed to others here. No line end:
# Debezium would take it for a part of the password.
secrets: ## make the passwords that docker-compose.yml mounts, those that are not there yet
	@mkdir -p -m 700 .secrets; for name in $(SECRETS); do test -s .secrets/$$name || { \
		python3 -c 'import secrets; print(secrets.token_urlsafe(24), end="")' > .secrets/$$name; \
		chmod 644 .secrets/$$name; echo "made .secrets/$$name"; }; done

clean: ## remove .venv, caches and reports (not your data in .handfast or .secrets)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info reports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.requirements: requirements-dev.lock
	@python=; for candidate in $(PYTHON) $(BIN)/python python3 python3.13 python3.12 python3.11; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "Handfast needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1)."; \
		echo "Install one, or say which to use: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; fi; \
	if [ "$$python" != "$(BIN)/python" ]; then \
		echo "building $(VENV) with $$($$python --version)"; $$python -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.package: $(VENV)/.requirements pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
