# The two that matter on a fresh machine: `make demo` and `make test`.
# PYTHON=python3.13 chooses the interpreter, which then gets a virtual environment of its own.

ifndef VENV
ifdef PYTHON
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
else
VENV := .venv
endif
endif
RUN := $(VENV)/bin/
BASE := $(VENV)/.base
FULL := $(VENV)/.full
MODEL := .cache/demo/model
INTEROP := .cache/interop-venv/.installed
MODELS := .cache/models
COMMA := ,
export PYTHON REGISTRY OPTIONS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips in one environment trip over each other, and nothing here gains from running abreast.
.NOTPARALLEL:
.PHONY: help demo demo-model test interop check format cloud story bench clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Variables: PYTHON=python3.13; for demo REGISTRY=host:port; for test and bench ARGS="…"'

demo: $(BASE) $(MODEL) ## pack, tag, pull and compare a real model; REGISTRY=host:port too
	@$(RUN)python scripts/demo.py

demo-model: $(MODEL) ## only get the demo's model into .cache/demo/model

test: $(FULL) $(MODEL) $(MODELS) $(if $(CI),$(INTEROP)) ## run all tests, against real registries where they can be had
	$(RUN)python -m pytest -o faulthandler_timeout=120 $(ARGS)

interop: $(FULL) $(INTEROP) ## try other people's tools, and write docs/interop.md anew
	$(RUN)python -m pytest -q tests/live/interop -k "not page" $(ARGS)
	$(RUN)python -m tests.live.interop.page

check: $(FULL) ## ruff, mypy and the architecture test
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)python -m pytest -q tests/test_architecture.py

format: $(FULL) ## put the code into ruff's format
	$(RUN)ruff check --fix-only .
	$(RUN)ruff format .

cloud: $(FULL) ## start a local Oracle Cloud to try the commands against
	@$(RUN)python -m tests.cloud .cache/cloud

story: $(FULL) $(MODEL) ## tell the story of a fallback bucket, command by command
	@$(RUN)python -m tests.cloud.story .cache/story

bench: $(FULL) ## compare transfers with the oras CLI; see benchmarks/README.md
	@$(RUN)python -m benchmarks $(ARGS)

clean: ## remove everything that make made
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache demo build dist

# Stamps: a second run sets nothing up again.
$(BASE): pyproject.toml scripts/setup-venv.sh
	@scripts/setup-venv.sh $(VENV) ''
	@touch $@

$(FULL): $(BASE)
	@scripts/setup-venv.sh $(VENV) test,check$(if $(CI),$(COMMA)pulumi$(COMMA)formats)
	@touch $@

# One for all Pythons: the programs in it are run, not imported.
$(INTEROP): scripts/interop-requirements.txt | $(BASE)
	@$(RUN)python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(MODEL): | $(BASE)
	@$(RUN)python scripts/demo_model.py

$(MODELS): | $(BASE)
	@$(RUN)python scripts/real_models.py
