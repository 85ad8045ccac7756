# Every target does the set-up it needs by itself; `make demo` is the place to begin.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint format lock schema bench bench-revert bench-judgement bench-redaction bench-load bench-chatops clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: $(READY)  ## a .venv with the command rollback-bot in it

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Rollback Bot needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the locked dependencies into .venv (once, about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)   ## play the whole incident on this machine, without any account (ARGS="--scenario …")
	@$(BIN)/rollback-bot demo $(ARGS)

# Three at once on two cores: the stories through real processes wait half of their time.
test: $(READY)   ## every test that takes seconds, and the stories through real processes
	$(PYTEST) -n 3 --dist worksteal -m "not long" --durations=15 $(ARGS)

test-long: $(READY) ## the long forms: hundreds of random histories, every kill point
	$(PYTEST) -n 2 --dist worksteal $(ARGS)

lint: $(READY)   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:            ## resolve requirements.lock anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra demo --extra dev pyproject.toml -o requirements.lock

schema: $(READY) ## write docs/rollback.schema.json from the models
	$(BIN)/rollback-bot schema > docs/rollback.schema.json

bench: bench-revert bench-judgement bench-redaction bench-load bench-chatops ## all benches

bench-revert: $(READY) ## the reverter beside other ways (ARGS="--path CLONE": on a real clone too)
	$(BIN)/python -m bench.revert $(ARGS)

bench-judgement: $(READY) ## the failure budget beside the rules of peers
	$(BIN)/python -m bench.judgement $(ARGS)
	$(BIN)/python -m bench.judgement_speed

bench-redaction: $(READY) ## redaction on cases, ordinary lines and hostile ones
	$(BIN)/python -m bench.redaction $(ARGS)

bench-load: $(READY) ## signed webhooks at a fixed arrival rate, beside Probot where Node is there
	$(BIN)/python -m bench.load $(ARGS)
	$(BIN)/python -m bench.guards

bench-chatops: $(READY) ## from a command's comment to its acknowledgement, over the real processes
	$(BIN)/python -m bench.chatops $(ARGS)

clean:           ## remove what make and the tests made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
