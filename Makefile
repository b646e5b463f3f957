# Raw text to an aligned, evaluated model. `make demo` runs the whole chain on recipes/storyworld; `make help` lists the rest.
# Make is the DAG; the driver (python -m pipeline.run <stage>) decides whether a stage is done, resumes or starts anew.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

RECIPE ?= storyworld
RUNS ?= runs
PYTHON ?= python3
VENV ?= .venv

RUN_NAME := $(notdir $(patsubst %/,%,$(RECIPE)))
R := $(RUNS)/$(RUN_NAME)
FOLDER := $(firstword $(wildcard recipes/$(RECIPE)) $(RECIPE))
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
export HF_HUB_DISABLE_TELEMETRY = 1
export HF_HUB_DISABLE_UPDATE_CHECK = 1

STAGES := collect corpus tokenizer pretrain sft preferences reward dpo ppo evaluate report
.PHONY: help install demo all rlhf $(STAGES) verify summary trace chat push pull new gc lint lock test test-real test-kills bench-demo bench-pretrain

help:  ## this list
	@grep -hE '^[a-z][a-z -]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28
	@echo 'and one target a stage, with whatever it still needs: $(STAGES)'

# One attempt at a newer pip is not needed: the lock file pins everything, and pip of any Python 3.11 reads it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("groundup needs Python 3.11 or newer; name one with PYTHON=..") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(READY)  ## create the virtual environment and install what constraints.txt pins

demo: export HF_HUB_OFFLINE = 1
demo:  ## the whole chain on the embedded story world, then a table and the report
	@$(MAKE) --no-print-directory all RECIPE=storyworld
	@$(PY) -m pipeline.runs summary --recipe storyworld --runs $(RUNS)

all: report  ## every stage that RECIPE has
rlhf: preferences reward dpo ppo  ## preferences, reward model, alignment by DPO and PPO

# The DAG. What a stage reads stands here and in pipeline/<stage>/recipe.py; a test compares the two.
M = $(R)/$(1)/manifest.json
$(call M,corpus): $(call M,collect)
$(call M,tokenizer): $(call M,corpus)
$(call M,pretrain): $(call M,tokenizer)
$(call M,sft): $(call M,collect) $(call M,pretrain)
$(call M,preferences): $(call M,collect) $(call M,sft)
$(call M,reward): $(call M,sft) $(call M,preferences)
$(call M,dpo): $(call M,sft) $(call M,preferences)
$(call M,ppo): $(call M,collect) $(call M,sft) $(call M,reward)
$(call M,evaluate): $(call M,collect) $(call M,corpus) $(call M,tokenizer) $(call M,pretrain) $(call M,sft) $(call M,dpo) $(call M,ppo)
$(call M,report): $(foreach s,$(filter-out report,$(STAGES)),$(call M,$(s)))

define RULE
$(1): $(call M,$(1))  ## the stage $(1), and whatever it still needs
$(call M,$(1)): pipeline/$(1)/recipe.py $(wildcard $(FOLDER)/$(1).yaml) $(wildcard $(FOLDER)/recipe.yaml) | $(READY)
	@$(PY) -m pipeline.run $(1) --recipe $(RECIPE) --runs $(RUNS) $(if $(ACCEL),--accel $(ACCEL)) $(if $(filter $(1),$(MAKECMDGOALS)),,--if-any)
endef
$(foreach s,$(STAGES),$(eval $(call RULE,$(s))))

verify: $(READY)  ## recompute every sha256 and fingerprint of a run
	@$(PY) -m pipeline.runs verify --recipe $(RECIPE) --runs $(RUNS)
summary: $(READY)  ## the table of a finished run
	@$(PY) -m pipeline.runs summary --recipe $(RECIPE) --runs $(RUNS)
gc: $(READY)  ## list set-aside folders; YES=1 removes them
	@$(PY) -m pipeline.runs gc --runs $(RUNS) $(if $(YES),--yes)
chat: $(READY)  ## talk to the last aligned model of a run; STAGE=sft names another
	@$(PY) -m pipeline.talk --recipe $(RECIPE) --runs $(RUNS) $(if $(STAGE),--stage $(STAGE))
push: $(READY)  ## REPO=org/name: publish the last model, or STAGE=corpus, privately; PRIVATE=0 makes it public
	@$(PY) -m pipeline.hub.push --recipe $(RECIPE) --runs $(RUNS) --repo '$(REPO)' $(if $(STAGE),--stage $(STAGE)) $(if $(PRIVATE),--private '$(PRIVATE)')
pull: $(READY)  ## REPO=org/name[@revision]: bring a published artifact back into a run
	@$(PY) -m pipeline.hub.pull --recipe $(RECIPE) --runs $(RUNS) --repo '$(REPO)' $(if $(STAGE),--stage $(STAGE))
trace: $(READY)  ## DOC=<id>: every artifact of a run that holds a document
	@$(PY) -m pipeline.trace --recipe $(RECIPE) --runs $(RUNS) --document '$(DOC)'
new: $(READY)  ## NAME=mine DATA=~/docs: a recipe for your own folder of documents
	@$(PY) -m pipeline.new --name '$(NAME)' --data '$(DATA)'

lint: $(READY)  ## ruff check, ruff format --check, mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
test: $(READY)  ## the tests that need neither Debian packages nor several processes
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m 'not real and not kills and not gpu and not hub' $(ARGS)
APT := chromium
test-real: $(READY)  ## real engines: several processes, kills, Chromium. Debian packages: chromium
	@for package in $(APT); do dpkg -s $$package >/dev/null 2>&1 || { echo "make test-real needs the Debian packages: $(APT). Install them with: apt-get install -y $(APT)"; exit 1; }; done
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m real tests $(ARGS)
test-kills: $(READY)  ## training killed at 5 moments, dense, experts and packed; the result must be bit-equal
	HF_HUB_OFFLINE=1 $(PY) -m pytest -m kills tests $(ARGS)
bench-demo: $(READY)  ## the chain on SEEDS="0 1 2 3 4", figures with intervals to bench/demo.json
	HF_HUB_OFFLINE=1 $(PY) -m bench.demo --runs $(RUNS) --seeds $(or $(SEEDS),0 1 2 3 4)
bench-pretrain: $(READY)  ## tokens/s against a bare loop, transformers' Trainer and, with NANOGPT_DIR, nanoGPT; to bench/pretrain.json
	HF_HUB_OFFLINE=1 $(PY) -m bench.pretrain $(if $(NANOGPT_DIR),--nanogpt '$(NANOGPT_DIR)') $(ARGS)
lock: $(READY)  ## remake constraints.txt with pip-tools
	$(VENV)/bin/pip-compile --quiet --extra dev --strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe -o constraints.txt pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' constraints.txt
